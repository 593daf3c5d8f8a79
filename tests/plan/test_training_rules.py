"""Which settings move a training's fingerprint, and which trainings a longer one can continue."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Lora, Source
from lora_ci.core.settings import TrainSettings
from lora_ci.plan import training_rules as rules
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import prefix_of, train_fingerprint, validate_fingerprint

INPUT = InputFacts(path="d", tracked_by="dvc", content_id="id", entries=())
FACTS = LoraFacts(dataset=INPUT, base_model=INPUT, sources=(INPUT,), repeats=(1,))
# Two values of each setting, of which at least one is not the default.
OTHER: dict[str, tuple[object, ...]] = {
    "backend": ("native", "sd-scripts"),
    "backend_version": (None, "v1"),
    "backend_folder": (None, "/opt/x"),
    "backend_arguments": ({}, {"a": 1}),
    "command": ((), ("x",)),
    "method": ("lora", "dora"),
    "rank": (16, 8),
    "alpha": (16.0, 8.0),
    "rank_stabilized": (False, True),
    "ranks": ({}, {"attn2": 4}),
    "alphas": ({}, {"attn2": 4.0}),
    "modules": (("attention",), ("attention", "feed-forward")),
    "text_encoder": (False, True),
    "text_encoder_learning_rate": (None, 1e-5),
    "learning_rate": (1e-4, 1e-3),
    "optimizer": ("adamw", "prodigy", "schedule-free-adamw", "adamw8bit", "adafactor"),
    "weight_decay": (0.01, 0.0),
    "schedule": ("cosine", "constant", "cosine-with-restarts"),
    "restarts": (1, 3),
    "warmup_steps": (0, 5),
    "batch_size": (4, 8),
    "gradient_accumulation": (1, 2),
    "gradient_checkpointing": (False, True),
    "precision": ("auto", "fp32"),
    "compile": (False, True),
    "images_seen": (None, 100),
    "epochs": (None, 7),
    "steps": (None, 9),
    "shards": (1, 3),
    "resolution": (512, 100),
    "buckets": (True, False),
    "bucket_step": (64, 32),
    "crop": ("center", "random"),
    "flip": (False, True),
    "caption_dropout": (0.1, 0.0),
    "shuffle_captions": (False, True),
    "keep_tags": (1, 2),
    "prior_weight": (1.0, 0.5),
    "min_snr_gamma": (5.0, None),
    "noise_offset": (0.0, 0.05),
    "max_grad_norm": (1.0, 2.0),
    "ema_decay": (None, 0.99),
    "validation_share": (0.0, 0.1),
    "validate_every": (100, 7),
    "sample_prompts": (("{trigger}",), ("x",)),
    "sample_every": (None, 5),
    "trackers": (("tensorboard",), ()),
    "seed": (0, 1),
    "checkpoint_every": (250, 5),
}
NO_RESULT = {
    "backend_folder", "gradient_accumulation", "gradient_checkpointing", "compile",
    "validate_every", "sample_prompts", "sample_every", "trackers", "checkpoint_every",
}  # fmt: skip
# The settings beside which a field has no effect; written once more, without the rules.
IDLE = {
    "learning_rate": lambda t: t.optimizer == "prodigy",
    "text_encoder_learning_rate": lambda t: t.optimizer == "prodigy" or not t.text_encoder,
    "schedule": lambda t: t.optimizer == "schedule-free-adamw",
    "restarts": lambda t: (
        t.schedule != "cosine-with-restarts" or t.optimizer == "schedule-free-adamw"
    ),
    "keep_tags": lambda t: not t.shuffle_captions,
    "prior_weight": lambda t: t.regularization is None,
    "bucket_step": lambda t: not t.in_buckets,
    "buckets": lambda t: t.resolution < 2 * t.bucket_step,
    "backend_version": lambda t: True,
    "backend_arguments": lambda t: True,
}


def lora_of(**train: object) -> Lora:
    return Lora(
        name="mei", dataset=(Source(path="d"),), base_model="m", trigger="mei",
        train=TrainSettings(**train),
    )  # fmt: skip


def fingerprint(**train: object) -> str:
    return train_fingerprint(lora_of(**train), FACTS).value


def is_idle(name: str, train: TrainSettings) -> bool:
    if name in NO_RESULT or (name == "command" and train.backend != "command"):
        return True
    return train.backend == "native" and name in IDLE and IDLE[name](train)


def test_every_setting_is_among_those_that_are_flipped():
    # The folder of regularization images counts by its content, which is a fact.
    assert OTHER.keys() == {f.name for f in fields(TrainSettings)} - {"regularization"}


@given(
    beside=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in OTHER.items()}),
    name=st.sampled_from(sorted(OTHER)),
    regularization=st.sampled_from([None, "r"]),
)
def test_flipping_what_matters_moves_training_alone_and_what_does_not_moves_nothing(
    beside, name, regularization
):
    one = lora_of(**beside, regularization=regularization)
    for value in OTHER[name]:
        if value == beside[name]:
            continue
        other = replace(one, train=replace(one.train, **{name: value}))
        same = train_fingerprint(one, FACTS) == train_fingerprint(other, FACTS)
        # A field that decides about others' effect may take both along.
        idle = is_idle(name, one.train) and is_idle(name, other.train)
        assert same == idle, (name, beside[name], value)
        assert validate_fingerprint(one, FACTS) == validate_fingerprint(other, FACTS)


PRODIGY = {"optimizer": "prodigy"}
FREE = {"optimizer": "schedule-free-adamw"}
SHUFFLED = {"shuffle_captions": True}
SQUARES = {"buckets": False}
FOREIGN = {"backend": "sd-scripts"}


@pytest.mark.parametrize(
    ("rule", "beside", "without", "name", "value"),
    [
        (rules.prodigy_finds_its_rate, PRODIGY, {}, "learning_rate", 0.5),
        (rules.schedule_free_has_no_schedule, FREE, {}, "schedule", "linear"),
        (rules.restarts_need_their_schedule, {}, {"schedule": "cosine-with-restarts"},
         "restarts", 4),
        (rules.text_encoder_rate_needs_it_taught, {}, {"text_encoder": True},
         "text_encoder_learning_rate", 0.5),
        (rules.kept_tags_need_shuffling, {}, SHUFFLED, "keep_tags", 4),
        (rules.prior_needs_regularization, {}, {"regularization": "r"}, "prior_weight", 0.5),
        (rules.squares_need_no_buckets, SQUARES, {}, "bucket_step", 8),
        (rules.written_default_budget, {}, {"epochs": 3}, "images_seen", 4000),
        (rules.command_needs_its_backend, {}, {"backend": "command"}, "command", ("x",)),
    ],
)  # fmt: skip
def test_each_rule_puts_its_setting_aside_and_only_where_it_holds(
    rule, beside, without, name, value
):
    idle = TrainSettings(**beside, **{name: value})
    assert getattr(rule(idle), name) == getattr(TrainSettings(), name)
    kept = TrainSettings(**without, **{name: value})
    assert rule(kept) == kept
    assert fingerprint(**beside, **{name: value}) == fingerprint(**beside)
    if name != "images_seen":
        assert fingerprint(**without, **{name: value}) != fingerprint(**without)


def test_a_resolution_too_small_for_buckets_is_as_if_there_were_none():
    small = fingerprint(resolution=64)
    assert small == fingerprint(resolution=64, buckets=False)
    assert small == fingerprint(resolution=64, bucket_step=40)
    assert small != fingerprint(resolution=64, bucket_step=32)


def test_what_other_backends_do_with_a_setting_is_not_known():
    assert fingerprint(**FOREIGN, **PRODIGY, learning_rate=0.5) != fingerprint(**FOREIGN, **PRODIGY)
    assert fingerprint(**FOREIGN, backend_version="v2") != fingerprint(**FOREIGN)
    assert fingerprint(backend_version="v2") == fingerprint()


def test_settings_that_are_marked_change_no_result():
    assert set(rules.without_result()) == NO_RESULT


@settings(max_examples=30)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in OTHER.items()}))
def test_canonical_settings_are_canonical(values):
    made = rules.canonical(TrainSettings(**values))
    assert rules.canonical(made) == made


BUDGETS = ({"images_seen": 100}, {"epochs": 10}, {"epochs": 20}, {"steps": 7}, {})


@pytest.mark.parametrize("schedule", [{"schedule": "constant"}, FREE])
def test_budgets_alone_do_not_part_trainings_that_can_be_continued(schedule):
    prefixes = {prefix_of(lora_of(**schedule, **budget), FACTS) for budget in BUDGETS}
    assert len(prefixes) == 1
    assert None not in prefixes
    assert prefix_of(lora_of(**schedule, rank=8), FACTS) not in prefixes
    other_data = replace(FACTS, dataset=replace(INPUT, content_id="other"))
    assert prefix_of(lora_of(**schedule), other_data) not in prefixes


@pytest.mark.parametrize("schedule", ["cosine", "cosine-with-restarts", "linear"])
def test_a_schedule_that_looks_at_the_budget_continues_nothing_and_says_so(schedule):
    lora = lora_of(schedule=schedule)
    assert prefix_of(lora, FACTS) is None
    assert (
        rules.why_never_continued(lora.train) == f"the schedule `{schedule}` depends on the budget"
    )


def test_another_trainer_continues_nothing():
    lora = lora_of(backend="ai-toolkit", schedule="constant")
    assert prefix_of(lora, FACTS) is None
    assert "starts every training anew" in rules.why_never_continued(lora.train)


def test_what_has_no_effect_does_not_part_prefixes_either():
    one, other = (
        prefix_of(lora_of(**PRODIGY, schedule="constant", learning_rate=rate), FACTS)
        for rate in (1e-5, 1e-3)
    )
    assert one == other
