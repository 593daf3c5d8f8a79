"""Does sharing change the answer? A matrix of 81 configurations: as 21 trainings, and each alone.

The matrix is the usual one, ranks 16, 32, 64, three learning rates, AdamW, AdamW8bit and Prodigy,
10, 15 and 20 epochs, on the emoji world: learning rates are 30 times as high, as its base is small.
First `lora-ci sweep` does it as planned, and once more with early stopping; then every
configuration is trained from its first step, with nothing shared but encoded pictures and captions.
The metric is the loss on held-out pictures, which must come out the same to the last bit.

OMP_NUM_THREADS=1 python -m tools.emoji_world.sweep --folder /tmp/sweep
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.app.git_source import GitSource, open_git_source
from lora_ci.app.handle import handle
from lora_ci.app.plan_event import plan_event
from lora_ci.app.scope import Scope
from lora_ci.app.specs import make_spec
from lora_ci.app.sweep import LOSS, Search
from lora_ci.app.wiring import Deps, Places, open_deps
from lora_ci.automl.asha import ladder_of
from lora_ci.automl.choose import choose, ranked
from lora_ci.cli.sweep import early
from lora_ci.core.event import Event, EventKind
from lora_ci.core.run import RunView
from lora_ci.core.step import Stage
from lora_ci.core.sweep import Standing, Sweep
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

WORLD = Path(__file__).parents[2] / "examples" / "emoji"
CONFIG = """\
version: 1
loras:
  fluent3d:
    type: style
    dataset: dataset
    base_model: base
    train: {{schedule: {schedule}, batch_size: 4, resolution: 64, validation_share: 0.25,
      validate_every: 1000, checkpoint_every: 1000, trackers: [], min_snr_gamma: null}}
    matrix:
      train.rank: {ranks}
      train.learning_rate: [3e-4, 1.5e-3, 3e-3]
      train.optimizer: [adamw, adamw8bit, prodigy]
      train.epochs: {epochs}
"""
NAME = "fluent3d"
ETA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the matrix was done: what it came to, and the processor's seconds that it took."""

    name: str
    trainings: int
    steps: int
    took_s: float
    standings: tuple[Standing, ...]

    @property
    def best(self) -> Standing:
        """The best configuration."""
        found, _ = choose(self.standings)
        assert found is not None, "nothing was measured"
        return found


def main() -> None:
    """Prints the three ways side by side, and whether their answers are the same."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="is made anew")
    parser.add_argument("--pictures", type=int, default=32, help="of the style (default: 32)")
    parser.add_argument("--ranks", default="[16, 32, 64]")
    parser.add_argument("--epochs", default="[10, 15, 20]")
    parser.add_argument("--schedule", default="constant")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    text = CONFIG.format(schedule=given.schedule, ranks=given.ranks, epochs=given.epochs)
    source = make_repository(given.folder / "repository", text, given.pictures)
    event = Event(kind=EventKind.MANUAL, repo="emoji", head=source.repo.commit("HEAD"))
    shared, deps = as_planned(source, event, given.folder / "planned")
    stopped = stopped_early(source, event, given.folder / "early")
    alone = each_alone(source, event, deps, given.folder / "alone")
    for way in (shared, stopped, alone):
        values = ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in way.best.values.items())
        counts = f"{len(way.standings):>3} configurations {way.trainings:>3} trainings"
        cost = f"{way.steps:>6} steps {way.took_s:>7.1f} s of CPU"
        print(f"{way.name:<14} {counts} {cost}  best: {values} ({way.best.score:.6f})")
    scores = {s.lora: s.score for s in alone.standings}
    apart = [s.lora for s in shared.standings if scores[s.lora] != s.score]
    print(f"scores that differ: {len(apart)} of {len(scores)}")
    print(f"same best: {shared.best.lora == alone.best.lora}; early: {stopped.best.lora}")
    print(
        f"each alone takes {alone.steps / shared.steps:.2f} times the steps and "
        f"{alone.took_s / shared.took_s:.2f} times the CPU"
    )


def make_repository(folder: Path, config: str, pictures: int) -> GitSource:
    """A repository with the base, some pictures of the style and the config."""
    shutil.copytree(WORLD / "base", folder / "base")
    (folder / "dataset").mkdir()
    for picture in sorted((WORLD / "pictures" / NAME).glob("*.png"))[:pictures]:
        shutil.copy(picture, folder / "dataset")
        shutil.copy(picture.with_suffix(".txt"), folder / "dataset")
    (folder / ".lora-ci.yml").write_text(config)
    who = ["-c", "user.name=Emoji", "-c", "user.email=emoji@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-qm", "Begin"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    return open_git_source(folder)


def variants(source: GitSource, event: Event) -> frozenset[str]:
    """The names of all configurations."""
    loras = source.written(event).config.loras.values()
    return frozenset(lora.name for lora in loras if lora.variant_of)


def as_planned(source: GitSource, event: Event, state: Path) -> tuple[Way, Deps]:
    """All configurations through the ordinary flow, which shares what it can."""
    deps = open_deps(source, places=Places(state=state))
    scope = Scope(loras=variants(source, event), last=Stage.TRAIN)
    started = time.process_time()
    view = handle(event, deps, scope=scope, search=Search(metric=LOSS))
    return way_of("as planned", view, time.process_time() - started), deps


def stopped_early(source: GitSource, event: Event, state: Path) -> Way:
    """Longer budgets for the best of the shorter ones only."""
    deps = open_deps(source, places=Places(state=state))
    loras = source.written(event).config.loras.values()
    ladder = ladder_of([lora for lora in loras if lora.variant_of])
    assert ladder is not None, "one budget"
    scope = Scope(loras=ladder.first(), last=Stage.TRAIN)
    started = time.process_time()
    view = handle(event, deps, scope=scope, search=early(ladder, LOSS, ETA))
    return way_of("stopped early", view, time.process_time() - started)


def way_of(name: str, view: RunView, took_s: float) -> Way:
    """What a run came to; steps are those that its trainings took themselves."""
    (sweep,) = view.sweeps
    return Way(
        name=name,
        trainings=view.plan.sharing[0].trainings,
        steps=steps_taken(sweep),
        took_s=took_s,
        standings=sweep.standings,
    )


def steps_taken(sweep: Sweep) -> int:
    """Of each chain of trainings, the steps of its longest: the others are a part of it."""
    chains: dict[tuple[object, ...], float] = {}
    for standing in sweep.standings:
        values = dict(standing.values)
        del values["train.epochs"]
        if values["train.optimizer"] == "prodigy":
            del values["train.learning_rate"]
        key = tuple(values.items())
        chains[key] = max(chains.get(key, 0.0), standing.images_seen or 0.0)
    return round(sum(chains.values()) / 4)


def each_alone(source: GitSource, event: Event, deps: Deps, folder: Path) -> Way:
    """Every configuration from its first step, with the encoded pictures of the first way."""
    cache = folder / "cache"
    for shared in ("latents", "captions"):
        shutil.copytree(deps.state / "cache" / shared, cache / shared)
    scope = Scope(loras=variants(source, event), last=Stage.TRAIN)
    plan, gathered = plan_event(event, source, deps.records, deps.clock, scope)
    store, found = LocalStore(folder / "objects"), []
    started = time.process_time()
    for variant in plan.variants:
        decision = plan.of(variant.lora)[1]
        spec = make_spec(decision, plan, gathered, deps)
        # Without a prefix it neither starts from another's end nor leaves its own.
        spec = replace(spec, params={**spec.params, "prefix": None})
        place = StepFolder(folder / "steps" / variant.lora)
        place.write_spec(spec)
        result = exec_step(place, store, cache)
        print(f"{len(found) + 1:>3} {variant.lora} {result.outcome}", flush=True)
        found.append(
            Standing(
                lora=variant.lora,
                values=variant.values,
                score=result.metrics.get("validation_loss"),
                outcome=result.outcome,
                images_seen=result.metrics.get("images_seen"),
            )
        )
    return Way(
        name="each alone",
        trainings=len(found),
        steps=round(sum(s.images_seen or 0.0 for s in found) / 4),
        took_s=time.process_time() - started,
        standings=ranked(found, lower_is_better=True),
    )


if __name__ == "__main__":
    main()
