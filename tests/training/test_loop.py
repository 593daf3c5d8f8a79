"""The loop on tiny models of every family: what settings mean, and what bad ones are told."""

import errno
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lora_ci.core.errors import InfrastructureError, InputError, Interrupted
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.attach import attach
from lora_ci.diffusion.conditioning import encode_texts
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.load import load_base
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.read import read_adapter
from lora_ci.training import backward, continued, loop
from lora_ci.training.adapter import as_adapter, teach
from lora_ci.training.backward import Learner
from lora_ci.training.checkpoint import load_checkpoint, save_checkpoint
from lora_ci.training.sampling import sampler_of
from tests.tiny_sd import write_dataset
from tests.training.forked import ADAPTER, Place

pytestmark = pytest.mark.slow

PLAIN = TrainSettings(
    rank=4, alpha=2.0, learning_rate=3e-3, batch_size=4, steps=6, resolution=16, seed=3,
    schedule="constant", checkpoint_every=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_sd):
    root = tmp_path_factory.mktemp("loop")
    dataset = write_dataset(root / "dataset")
    count = iter(range(1000))

    def place(base=tiny_sd, **more) -> Place:
        return Place(
            base=base, dataset=dataset, work=root / f"w{next(count)}", cache=root / "cache", **more
        )

    return place


def weights(place: Place) -> torch.Tensor:
    """All tensors of the adapter that was written, in one."""
    layers = read_adapter(place.work / ADAPTER).layers
    return torch.cat([t.flatten() for layer in layers.values() for t in (layer.down, layer.up)])


def farthest(one: Place, other: Place) -> float:
    return float((weights(one) - weights(other)).abs().max())


# What comes out


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl", "tiny_flux"])
@pytest.mark.parametrize(
    "more",
    [{}, {"method": "dora"}, {"rank_stabilized": True, "modules": ("attention", "feed-forward")},
     {"text_encoder": True}],
    ids=["lora", "dora", "rslora", "text-encoder"],
)  # fmt: skip
def test_the_exported_adapter_does_what_the_taught_model_does(world, request, family, more):
    base = request.getfixturevalue(family)
    settings = replace(PLAIN, **more, steps=3, ranks={"to_k": 2}, alphas={"to_q": 5.0})
    place = world(base)
    trained = place.train(settings)
    names = trained.adapter.layers
    assert any(name.startswith("text_encoder") for name in names) == settings.text_encoder
    assert {names[n].rank for n in names if "to_k" in n} == {2}
    # The model as it was taught, against the base with the file attached.
    taught_base, clean = load_base(base), load_base(base)
    taught = teach(taught_base, settings)
    _set_layers(taught_base, trained.adapter, settings)
    effects = compare_effect(trained.adapter, as_adapter(taught_base, taught, settings))
    assert all(effect.same for effect in effects)
    attach(clean, read_adapter(place.work / ADAPTER))
    with torch.no_grad():
        wanted, found = _answer(taught_base), _answer(clean)
        untouched = _answer(load_base(base))
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max()
    assert (found - untouched).abs().max() > 1e-3 * wanted.abs().max()


def _set_layers(model, adapter, settings):
    """Writes the layers of an adapter into a model that was just made ready to be taught."""
    for component in (model.family.denoiser, *model.family.taught_texts):
        for name, module in model.models[component].named_modules():
            layer = adapter.layers.get(f"{component}.{name.removeprefix('text_model.')}")
            if layer is not None:
                module.lora_A["lora"].weight.data.copy_(layer.down)
                module.lora_B["lora"].weight.data.copy_(layer.up)
                if layer.magnitude is not None:
                    vector = module.lora_magnitude_vector["lora"].weight
                    vector.data.copy_(layer.magnitude.view_as(vector))


def _answer(model) -> torch.Tensor:
    """What a denoiser says of fixed noise."""
    from lora_ci.diffusion.conditioning import sizes_of

    noise = torch.randn(
        1, model.family.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1)
    )
    told = encode_texts(model, ["mei, a square"])
    if model.family.name == "sdxl":
        told = replace(told, sizes=sizes_of((16, 16), (0, 0), (16, 16)))
    flow = model.family.objective == "flow"
    return denoise(model, noise, torch.tensor([0.5] if flow else [300]), told)


def test_parts_of_a_batch_make_the_same_step(world):
    whole, parts, twice = world(), world(), world()
    settings = replace(PLAIN, batch_size=5)
    whole.train(settings)
    parts.train(replace(settings, gradient_accumulation=3))
    twice.train(replace(settings, gradient_checkpointing=True))
    assert farthest(whole, parts) <= 1e-5
    assert farthest(whole, twice) <= 1e-5
    shorter = world()
    shorter.train(replace(settings, steps=5))
    assert farthest(whole, shorter) > 1e-4


def test_the_running_mean_is_one_of_all_steps(world):
    last, mean = world(), world()
    last.train(PLAIN)
    mean.train(replace(PLAIN, ema_decay=0.9999))
    # It lies between the start, which does nothing, and the end.
    assert 0 < norm_of(mean) < norm_of(last)


def norm_of(place: Place) -> float:
    layers = read_adapter(place.work / ADAPTER).layers.values()
    return math.sqrt(sum(float(layer.delta().square().sum()) for layer in layers))


def test_optimizers_and_rates_each_learn(world):
    idle = world()
    idle.train(replace(PLAIN, learning_rate=1e-9))
    for optimizer in ("adamw", "prodigy", "schedule-free-adamw", "adafactor"):
        place = world()
        place.train(replace(PLAIN, optimizer=optimizer, steps=12))
        assert norm_of(place) > 20 * norm_of(idle), optimizer


def test_text_encoders_learn_at_their_own_rate(world):
    place = world()
    settings = replace(PLAIN, text_encoder=True, text_encoder_learning_rate=1e-9)
    layers = place.train(settings).adapter.layers
    texts = [layer for name, layer in layers.items() if name.startswith("text_encoder.")]
    others = [layer for name, layer in layers.items() if name.startswith("unet.")]
    assert texts
    assert max(float(layer.delta().abs().max()) for layer in texts) < 1e-6
    assert min(float(layer.delta().abs().max()) for layer in others) > 1e-6


# Going on


@pytest.mark.parametrize("more", [{}, {"optimizer": "schedule-free-adamw"}, {"ema_decay": 0.9}])
def test_a_longer_budget_goes_on_to_the_bytes_of_one_go(world, more):
    settings = replace(PLAIN, **more, validation_share=0.3, validate_every=4)
    short, long, at_once = world(prefix=str(more)), world(prefix=str(more)), world()
    short.train(replace(settings, steps=7))
    went_on = long.train(replace(settings, steps=13))
    whole = at_once.train(replace(settings, steps=13))
    assert (went_on.steps, went_on.steps_here, whole.steps_here) == (13, 6, 13)
    assert long.digest() == at_once.digest()
    assert went_on.curves.details() == whole.curves.details()
    again = world(prefix=str(more)).train(replace(settings, steps=7))
    assert again.steps_here == 0


def test_an_end_that_is_damaged_is_not_gone_on_from(world):
    short, long, at_once = world(prefix="torn"), world(prefix="torn"), world()
    short.train(PLAIN)
    for path in (short.cache / "states" / "torn").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert long.train(replace(PLAIN, steps=8)).steps_here == 8
    at_once.train(replace(PLAIN, steps=8))
    assert long.digest() == at_once.digest()


def test_a_stop_keeps_a_checkpoint_and_is_gone_on_from(world):
    whole, stopped = world(), world()
    whole.train(PLAIN)
    done = []
    with pytest.raises(Interrupted, match="after 4 of 6 training steps"):
        stopped.train(PLAIN, progress=lambda n, *_: done.append(n), stop=lambda: 3 in done)
    assert stopped.train(PLAIN).steps_here == 2
    assert stopped.digest() == whole.digest()


def test_a_damaged_checkpoint_is_told_and_costs_only_time(world):
    whole, damaged = world(), world()
    whole.train(PLAIN)
    seldom = replace(PLAIN, checkpoint_every=2)
    done = []
    with pytest.raises(Interrupted):
        damaged.train(seldom, progress=lambda n, *_: done.append(n), stop=lambda: 4 in done)
    newest = max((damaged.work / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:100])
    trained = damaged.train(seldom)
    assert [f.rule for f in trained.findings] == ["train.checkpoint-damaged"]
    assert trained.steps_here == 2
    assert damaged.digest() == whole.digest()


def test_a_checkpoint_of_other_parameters_is_told_and_costs_only_time(world):
    whole, upgraded = world(), world()
    whole.train(PLAIN)
    done = []
    with pytest.raises(Interrupted):
        upgraded.train(PLAIN, progress=lambda n, *_: done.append(n), stop=lambda: 4 in done)
    folder = upgraded.work / "checkpoints"
    kept = load_checkpoint(folder, upgraded.fingerprint).checkpoint
    renamed = {name.replace("lora_A", "lora_down"): t for name, t in kept.tensors.items()}
    save_checkpoint(folder, upgraded.fingerprint, replace(kept, tensors=renamed))
    trained = upgraded.train(PLAIN)
    assert [f.rule for f in trained.findings] == ["train.checkpoint-other"]
    assert trained.steps_here == trained.steps
    assert upgraded.digest() == whole.digest()


# Memory


@pytest.fixture
def little_memory(monkeypatch):
    """Says that memory is out where more rows than fit are computed without checkpointing."""

    def hold(rows: int, rows_checkpointed: int, error: Exception) -> None:
        before = Learner.row_losses
        checkpointing = Learner.recompute_activations
        on: list[bool] = []

        def row_losses(self, batch, gamma):
            if len(batch.latents) > (rows_checkpointed if on else rows):
                raise error
            return before(self, batch, gamma)

        def recompute(self):
            on.append(True)
            checkpointing(self)

        monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
        monkeypatch.setattr(backward.Learner, "recompute_activations", recompute)

    return hold


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_out_of_memory_steps_down_and_the_result_stays(world, little_memory, error):
    whole, tight = world(), world()
    whole.train(PLAIN)
    little_memory(rows=3, rows_checkpointed=1, error=error)
    trained = tight.train(PLAIN)
    assert (trained.rung.rows, trained.rung.checkpointing) == (1, True)
    (told,) = [f for f in trained.findings if f.rule == "train.less-memory"]
    assert "gradient_checkpointing: true and gradient_accumulation: 4" in told.message
    assert farthest(whole, tight) <= 1e-5


def test_out_of_memory_in_validation_steps_down_too(world, monkeypatch):
    settings = replace(PLAIN, validation_share=0.3, validate_every=2)
    whole, tight = world(), world()
    wanted = whole.train(settings)
    before = Learner.row_losses

    def row_losses(self, batch, gamma):
        if len(batch.latents) > 2 and not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return before(self, batch, gamma)

    monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
    trained = tight.train(settings)
    assert (trained.rung.rows, [f.rule for f in trained.findings]) == (2, ["train.less-memory"])
    found = [loss for _, loss in trained.curves.validation]
    assert found == pytest.approx([loss for _, loss in wanted.curves.validation], rel=1e-4)
    assert farthest(whole, tight) <= 1e-5


def test_checkpointing_alone_is_the_first_rung_and_resume_keeps_it(world, little_memory):
    tight = world()
    little_memory(rows=3, rows_checkpointed=4, error=torch.OutOfMemoryError("out of memory"))
    done = []
    with pytest.raises(Interrupted):
        tight.train(PLAIN, progress=lambda n, *_: done.append(n), stop=lambda: 3 in done)
    trained = tight.train(PLAIN)
    assert (trained.rung.rows, trained.rung.checkpointing) == (4, True)
    (told,) = trained.findings
    assert told.message == "memory ran out: went on with gradient_checkpointing: true"


def test_settings_that_save_memory_count_from_the_next_attempt_on(world):
    """Who was killed for his memory, without a word, sets them and goes on."""
    place, done = world(), []
    with pytest.raises(Interrupted):
        place.train(PLAIN, progress=lambda n, *_: done.append(n), stop=lambda: 3 in done)
    frugal = replace(PLAIN, gradient_checkpointing=True, gradient_accumulation=2)
    trained = place.train(frugal)
    assert (trained.steps_here, trained.findings) == (2, ())
    assert (trained.rung.rows, trained.rung.checkpointing) == (2, True)


def test_an_end_that_the_disk_refuses_loses_no_training(world, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "step-00000006.safetensors")

    plain, unlucky = world(), world(prefix="full")
    plain.train(PLAIN)
    monkeypatch.setattr(continued, "write_state", full)
    trained = unlucky.train(PLAIN)
    assert [f.rule for f in trained.findings] == ["train.end-not-kept"]
    assert unlucky.digest() == plain.digest()


def test_the_end_of_the_ladder_is_an_error_with_what_to_set(world, little_memory):
    little_memory(rows=0, rows_checkpointed=0, error=torch.OutOfMemoryError("out of memory"))
    with pytest.raises(InfrastructureError, match="ran out of memory") as caught:
        world().train(PLAIN)
    assert "train.resolution" in caught.value.findings[0].hint


def test_another_runtime_error_is_no_matter_of_memory(world, little_memory):
    little_memory(rows=0, rows_checkpointed=0, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        world().train(PLAIN)


# A loss that is no number


def test_a_picture_that_alone_has_no_number_is_named(world, monkeypatch):
    before = Learner.row_losses

    def row_losses(self, batch, gamma):
        bad = torch.tensor([name == "02.png" for name in batch.names])
        return torch.where(bad, torch.nan, before(self, batch, gamma))

    monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
    place = world()
    with pytest.raises(InputError, match=r"for 02\.png alone") as caught:
        place.train(PLAIN)
    assert caught.value.findings[0].rule == "train.diverged"


def test_the_last_good_checkpoint_outlives_a_divergence(world, monkeypatch):
    settings = replace(PLAIN, checkpoint_every=1, precision="fp32", batch_size=3)
    before = Learner.row_losses
    calls = []

    def row_losses(self, batch, gamma):
        calls.append(1)
        return before(self, batch, gamma) * (math.inf if len(calls) == 5 else 1.0)

    monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
    place, whole = world(), world()
    with pytest.raises(InputError, match="at step 5") as caught:
        place.train(settings)
    assert "train.learning_rate" in caught.value.findings[0].hint
    assert (
        max(p.name for p in (place.work / "checkpoints").iterdir()) == "step-00000004.safetensors"
    )
    monkeypatch.undo()
    place.train(settings)
    whole.train(settings)
    assert place.digest() == whole.digest()


def test_weights_that_only_the_last_step_breaks_are_no_adapter(world):
    """No further step would tell."""
    settings = replace(PLAIN, steps=1, validation_share=0.3, alpha=1e12, learning_rate=10.0)
    with pytest.raises(InputError, match=r"held-out pictures .* after step 1") as caught:
        world().train(settings)
    assert caught.value.findings[0].rule == "train.diverged"


def test_looking_seldom_as_on_a_gpu_saves_nothing_bad_and_tells_the_same(world, monkeypatch):
    settings = replace(PLAIN, checkpoint_every=4, steps=20)
    often, seldom, bad = world(), world(), world()
    wanted = often.train(settings)
    monkeypatch.setattr(loop.Seen, "every", lambda self, device: 10)
    found = seldom.train(settings)
    assert found.curves.details() == wanted.curves.details()
    assert seldom.digest() == often.digest()
    before = Learner.row_losses
    calls = []

    def row_losses(self, batch, gamma):
        calls.append(1)
        return before(self, batch, gamma) * (math.nan if len(calls) == 6 else 1.0)

    monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
    with pytest.raises(InputError, match="no number any more at step 6"):
        bad.train(settings)
    assert [p.name for p in (bad.work / "checkpoints").iterdir()] == ["step-00000004.safetensors"]


def test_half_precision_leaves_out_steps_that_overflow_and_goes_on(world, monkeypatch):
    before = Learner.row_losses
    calls = []

    def row_losses(self, batch, gamma):
        calls.append(1)
        return before(self, batch, gamma) * (math.inf if len(calls) in (2, 3) else 1.0)

    monkeypatch.setattr(backward.Learner, "row_losses", row_losses)
    trained = world().train(replace(PLAIN, precision="fp16", steps=10))
    ((step, loss),) = trained.curves.details()["loss"]
    assert step == 10
    assert math.isfinite(loss)


def test_half_precision_that_never_recovers_is_told(world, monkeypatch):
    before = Learner.row_losses
    monkeypatch.setattr(
        backward.Learner,
        "row_losses",
        lambda self, batch, gamma: before(self, batch, gamma) * math.nan,
    )
    for steps in (40, 3):
        with pytest.raises(InputError) as caught:
            world().train(replace(PLAIN, precision="fp16", steps=steps))
        assert "bf16" in caught.value.findings[0].hint


def test_a_machine_with_another_precision_goes_on_with_its_own_loss_scale(world):
    """`precision: auto` is fp32 on one machine and fp16 on the next."""
    place, done = world(), []
    with pytest.raises(Interrupted):
        place.train(PLAIN, progress=lambda n, *_: done.append(n), stop=lambda: 2 in done)
    place.train(replace(PLAIN, precision="fp16", checkpoint_every=1))
    kept = load_checkpoint(place.work / "checkpoints", place.fingerprint).checkpoint
    assert (kept.step, kept.notes["scale"]["used"]) == (5, True)


# What is watched


def samples_of(place: Place) -> list[Path]:
    return sorted(place.work.glob("samples/*/*.png"))


def test_watching_changes_nothing_and_shows_the_base_first(world):
    plain, watched = world(), world(sampler=sampler_of)
    settings = replace(PLAIN, optimizer="schedule-free-adamw", validation_share=0.3)
    plain.train(replace(settings, validate_every=100))
    with_samples = replace(
        settings, sample_every=4, validate_every=1, sample_prompts=("{trigger}", "a dog")
    )
    trained = watched.train(with_samples)
    assert watched.digest() == plain.digest()
    assert [step for step, _ in trained.curves.validation] == [1, 2, 3, 4, 5, 6]
    names = [path.name for path in samples_of(watched)]
    wanted = [f"sample-{step:06d}-{n}.png" for step in (0, 4, 6) for n in (0, 1)]
    assert names == wanted
    first, _, later, *_ = samples_of(watched)
    assert first.read_bytes() != later.read_bytes()


def test_pictures_of_other_prompts_from_before_a_stop_are_not_shown(world):
    place, done = world(sampler=sampler_of), []
    settings = replace(PLAIN, sample_every=1, sample_prompts=("a dog", "a cat"))
    with pytest.raises(Interrupted):
        place.train(settings, progress=lambda n, *_: done.append(n), stop=lambda: 2 in done)
    model = load_base(place.base)
    assert len(sampler_of(model, settings, "mei", place.work).made()) == 8
    place.train(settings := replace(settings, sample_every=4, sample_prompts=("a car",)))
    names = [path.name for path in sampler_of(model, settings, "mei", place.work).made()]
    assert names == ["sample-000004-0.png", "sample-000006-0.png"]


def test_pictures_that_memory_is_too_little_for_are_left_out(world, monkeypatch):
    from lora_ci.diffusion.generate import DiffusersGenerator

    def full(self, requests):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    plain, watched = world(), world(sampler=sampler_of)
    plain.train(PLAIN)
    monkeypatch.setattr(DiffusersGenerator, "generate", full)
    trained = watched.train(replace(PLAIN, sample_every=2))
    assert [f.rule for f in trained.findings] == ["train.no-samples"]
    assert samples_of(watched) == []
    assert watched.digest() == plain.digest()


def test_settings_that_do_not_fit_the_base_are_told(world):
    with pytest.raises(InputError, match="ends in `to_qq`") as caught:
        world().train(replace(PLAIN, modules=("to_qq",)))
    assert "feed-forward" in caught.value.findings[0].hint
    with pytest.raises(InputError, match=r"`train\.ranks`.*`atn2`"):
        world().train(replace(PLAIN, ranks={"atn2": 4}))
    wide = world().train(replace(PLAIN, rank=64, steps=1))
    (finding,) = [f for f in wide.findings if f.rule == "train.rank"]
    assert "rank 64 is above the own rank 16" in finding.message


def test_an_optimizer_that_is_not_installed_names_its_package(world):
    with pytest.raises(InfrastructureError, match="bitsandbytes") as caught:
        world().train(replace(PLAIN, optimizer="adamw8bit"))
    assert "pip install 'lora-ci[adamw8bit]'" in caught.value.findings[0].hint


def test_without_a_compiler_it_trains_as_ever_and_says_so(world, monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease install one.")

    plain, compiled = world(), world()
    plain.train(PLAIN)
    monkeypatch.setattr(torch, "compile", missing)
    trained = compiled.train(replace(PLAIN, compile=True))
    assert [f.rule for f in trained.findings] == ["train.not-compiled"]
    assert "Failed to find C compiler." in trained.findings[0].message
    assert farthest(plain, compiled) <= 1e-6
