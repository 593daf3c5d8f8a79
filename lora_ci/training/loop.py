"""The training loop, top to bottom.

A step is a function of its number and of the state: the batch, the noise and all that chance
decides are drawn from (seed, step), so a training that was killed goes on to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lora_ci.core.errors import Interrupted
from lora_ci.core.finding import Finding
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.objective import objective_of
from lora_ci.formats.adapter import Adapter
from lora_ci.training.adapter import Taught, as_adapter, teach
from lora_ci.training.backward import Learner
from lora_ci.training.compiling import compile_blocks
from lora_ci.training.curves import Curves
from lora_ci.training.divergence import diverged, diverged_in_validation
from lora_ci.training.gradients import Gradients, gradients_of
from lora_ci.training.keeping import Keeping
from lora_ci.training.material import Material
from lora_ci.training.memory import Rung, less_memory
from lora_ci.training.optimizers import make_optimizer, rate_now, set_rates
from lora_ci.training.precision import SKIPS_ALLOWED, loss_scale
from lora_ci.training.sampling import Sampler
from lora_ci.training.state import State
from lora_ci.training.team import Team
from lora_ci.training.tracking import Trackers
from lora_ci.training.validation import validation_loss

# Steps between two looks at what a GPU computed: it waits for us at each.
LOOK_EVERY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Whom a training tells, who stops it, where its state is kept."""

    keeping: Keeping
    progress: Callable[[int, int, str], None]
    stop: Callable[[], bool]
    trackers: Trackers = field(default_factory=Trackers)
    sampler: Sampler | None = None
    team: Team

    def findings(self) -> tuple[Finding, ...]:
        """What went wrong beside the training."""
        sampled = self.sampler.findings if self.sampler else ()
        return (*self.trackers.findings, *sampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The adapter and how it came about.

    `steps_here` of the `steps` were taken by this process; the others stood in a checkpoint.
    `left_out` changed nothing, as the loss scale was too high for fp16.
    """

    adapter: Adapter
    curves: Curves
    steps: int
    steps_here: int
    left_out: int
    rung: Rung
    findings: tuple[Finding, ...]


def train(
    model: BaseModel, material: Material, settings: TrainSettings, around: Surroundings
) -> Trained:
    """Trains on from where an earlier attempt, or a training with a smaller budget, ended.

    Raises:
        InputError: the loss is no number any more, or a setting does not fit the base.
        InfrastructureError: memory is too little, or the disk refuses a checkpoint.
        Interrupted: a stop was asked for; a checkpoint was written first.
    """
    team, total = around.team, settings.total_steps(material.epoch_images)
    mine = team.rows(settings.batch_size)
    taught = teach(model, settings)
    state = fresh_state(model, taught, settings, rows=mine.stop - mine.start)
    findings = [*taught.findings, *around.keeping.restore(state, total)]
    if settings.compile:
        findings += compile_blocks(model)
    resumed = state.step
    learner = Learner(
        model=model, objective=objective_of(model), settings=settings, texts=taught.texts
    )
    if state.rung.checkpointing:
        learner.recompute_activations()
    gradients = gradients_of(taught.parameters.values(), settings.batch_size)
    seen = Seen(
        material=material,
        settings=settings,
        trackers=around.trackers,
        skips_allowed=min(SKIPS_ALLOWED, total),
    )
    if around.sampler and state.step == 0:
        around.sampler.make(state)

    for step in range(resumed, total):
        batch = material.batch(step).rows(mine)
        learner.backward(batch, gradients.losses[mine], gradients, state)
        gradients.share(team, stop=around.stop())
        norm = gradients.clip(settings.max_grad_norm, state.scale.scale)
        set_rates(state.optimizer, step, total, settings)
        if not state.scale.used or state.scale.heed(finite=math.isfinite(norm.item())):
            state.optimizer.step()
            state.follow(settings.ema_decay)
        state.step = step + 1
        seen.add(state, gradients, norm)

        last = state.step == total
        stopping = (gradients.asked_to_stop if team.size > 1 else around.stop()) and not last
        saves = state.step % settings.checkpoint_every == 0 and not last
        if saves or stopping or last or state.step % seen.every(model.device) == 0:
            seen.look(state)
        around.progress(state.step, total, state.curves.note())
        show(learner, state, material, around, last=last)
        if saves or stopping:
            around.keeping.save(state)
        if stopping:
            done = f"{state.step:,} of {total:,} training steps"
            raise Interrupted(f"stopped after {done}; a checkpoint is kept")

    findings += around.keeping.end(state)
    if material.validation and total % settings.validate_every:
        validate(learner, state, material, around)
    around.trackers.finish()
    with state.served():
        adapter = as_adapter(model, taught, settings)
    return Trained(
        adapter=adapter,
        curves=state.curves.whole(total, rate_now(state.optimizer)),
        steps=total,
        steps_here=total - resumed,
        left_out=state.scale.left_out,
        rung=state.rung,
        findings=(
            *findings,
            *less_memory(state.wanted, state.rung, mine.stop - mine.start),
            *around.findings(),
        ),
    )


def fresh_state(model: BaseModel, taught: Taught, settings: TrainSettings, rows: int) -> State:
    """The state before the first step, for a process that has `rows` images of each batch."""
    average = None
    if settings.ema_decay is not None:
        average = {name: p.detach().clone() for name, p in taught.parameters.items()}
    rung = Rung(
        rows=max(1, -(-rows // settings.gradient_accumulation)),
        checkpointing=settings.gradient_checkpointing,
    )
    return State(
        parameters=taught.parameters,
        optimizer=make_optimizer(taught.parameters, settings),
        scale=loss_scale(model.dtype),
        rung=rung,
        wanted=rung,
        average=average,
    )


def show(
    learner: Learner, state: State, material: Material, around: Surroundings, *, last: bool
) -> None:
    """Validates and makes pictures, where it is time for them; the state stays as it is."""
    if material.validation and state.step % learner.settings.validate_every == 0:
        validate(learner, state, material, around)
    if around.sampler and (last or state.step % around.sampler.every == 0):
        around.sampler.make(state)


def validate(learner: Learner, state: State, material: Material, around: Surroundings) -> None:
    """Measures the loss on the held-out pictures. Raises InputError where it is no number."""
    loss = validation_loss(learner, state, material.validation, around.team)
    if not math.isfinite(loss):
        raise diverged_in_validation(state.step, learner.settings)
    state.curves.validation.append((state.step, loss))
    around.trackers.log(state.step, {"validation_loss": loss})


@dataclass(slots=True, kw_only=True)
class Seen:
    """What steps computed and nobody has looked at yet, on the device: losses [b] and norm."""

    material: Material
    settings: TrainSettings
    trackers: Trackers
    skips_allowed: int
    waiting: list[tuple[int, float, torch.Tensor]] = field(default_factory=list)

    def every(self, device: torch.device) -> int:
        """Steps between two looks; a CPU has computed them already."""
        return 1 if device.type == "cpu" else LOOK_EVERY

    def add(self, state: State, gradients: Gradients, norm: torch.Tensor) -> None:
        """Takes what the state's last step computed."""
        values = torch.cat([gradients.losses, norm[None]])
        self.waiting.append((state.step, rate_now(state.optimizer), values))

    def look(self, state: State) -> None:
        """Moves all of it into the curves. Raises InputError where it is no number."""
        rows = torch.stack([values for _, _, values in self.waiting]).tolist()
        for (step, rate, _), (*losses, norm) in zip(self.waiting, rows, strict=True):
            finite = math.isfinite(sum(losses)) and math.isfinite(norm)
            if not finite and (not state.scale.used or state.scale.skipped >= self.skips_allowed):
                names = self.material.batch(step - 1).names
                raise diverged(step, losses, names, self.settings)
            point = state.curves.add(
                step, (sum(losses) / len(losses), norm) if finite else None, rate
            )
            if point:
                shown = {"loss": point.loss, "gradient_norm": point.gradient_norm}
                self.trackers.log(step, {**shown, "learning_rate": point.learning_rate})
        self.waiting.clear()
