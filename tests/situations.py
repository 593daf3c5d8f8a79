"""What a pull request can look like to lora-ci: one comment for each situation worth looking at."""

from collections.abc import Callable
from dataclasses import replace

from lora_ci.app.sweep import EXHAUSTIVE, sweeps_of
from lora_ci.config.load import load_config
from lora_ci.config.settle import make_suggestion
from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.errors import InfrastructureError, LoraCIError
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action, Estimate, Saving, Sharing, Variant
from lora_ci.core.run import Earlier, RunView, StepView
from lora_ci.core.settings import Policy
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.plan.budget import Budget, over_budget
from lora_ci.plan.training_rules import CONTINUES
from lora_ci.plan.trust import decide_right
from lora_ci.report.comment import render_comment, render_refusal
from lora_ci.report.plan_comment import render_plan_markdown
from lora_ci.report.release_notes import render_release_notes, with_yank_banner
from tests.views import (
    HEAD,
    PAST,
    blocked_step,
    deploy_step,
    ended_step,
    make_decision,
    make_view,
    optimize_step,
    priced,
    qa_details,
    qa_step,
    queued_step,
    reused,
    running_step,
    to_come,
    train_step,
    validate_step,
    whole_chain,
)

REPORT = "https://loras.example/reports/20261124-120000-abcd1234.html"
GRID = "https://loras.example/pictures/{}.png"
BASE = "b81c0de" + "0" * 33
GPU_STAGES = (Stage.TRAIN, Stage.QA, Stage.OPTIMIZE)
MINUTES = {Stage.VALIDATE: 0.05, Stage.TRAIN: 41.3, Stage.QA: 7.9, Stage.OPTIMIZE: 14.2}
DATA = DatasetChange(
    dataset="datasets/mei",
    total=172,
    added=tuple(f"{i:03}.{kind}" for i in range(6) for kind in ("png", "txt")),
    modified=("017.txt", "018.txt", "019.txt"),
)
CHANGES = ChangeSet(
    base=BASE,
    head=HEAD,
    range_why="where it left main",
    datasets=(DATA,),
    configs={".lora-ci.yml": ("loras.mei.train.rank", "loras.mei.train.steps")},
)
NO_CHANGES = replace(CHANGES, datasets=(), configs={}, code=("README.md", "notes/ideas.md"))


def view(*steps: StepView, changes: ChangeSet = CHANGES, **of_event: object) -> RunView:
    return make_view(*map(timed, steps), changes=changes, **of_event)


def timed(step: StepView) -> StepView:
    """The step as a machine with a GPU would have done it."""
    seconds = MINUTES.get(step.decision.stage)
    if step.result is None or seconds is None or step.result.outcome is Outcome.ERROR:
        return step
    result = replace(step.result, timings_s={"train": seconds * 58, "total": seconds * 60})
    return replace(priced(step), result=result)


def finding(rule: str, severity: Severity, message: str, hint: str | None = None, **at: object):
    return Finding(rule=rule, severity=severity, message=message, hint=hint, **at)


def going_on(given: RunView) -> RunView:
    return replace(given, outcome=None)


def nothing_to_do() -> RunView:
    return view(*(reused(s) for s in whole_chain()), changes=NO_CHANGES)


def forgot_dvc_push() -> RunView:
    message = "dataset: unknown: the manifest of `datasets/mei` (4a1c…09.dir) was not pushed"
    missing = finding(
        "inputs.dataset", Severity.ERROR, message,
        "next: dvc push datasets/mei.dvc, on the machine that has it",
        file=".lora-ci.yml", line=4,
    )  # fmt: skip
    unknown = "manifest 4a1c…09.dir was not pushed: next: dvc push, where the dataset was added"
    dataset = DatasetChange(dataset="datasets/mei", total=0, unknown=unknown)
    stages = (Stage.VALIDATE, *GPU_STAGES)
    return view(
        *(blocked_step("mei", stage, message) for stage in stages),
        findings=(missing,),
        changes=replace(CHANGES, datasets=(dataset,), configs={}),
    )


def validation_failed() -> RunView:
    return view(
        validate_step(errors=14), *(blocked_step("mei", s, "validate failed") for s in GPU_STAGES)
    )


def training_queued() -> RunView:
    return going_on(
        view(
            validate_step(),
            queued_step("mei", Stage.TRAIN, "dataset: 6 images added, 3 captions edited"),
            to_come("mei", Stage.QA),
            to_come("mei", Stage.OPTIMIZE),
        )
    )


def just_queued() -> RunView:
    return going_on(
        view(queued_step("mei", Stage.VALIDATE), *(to_come("mei", s) for s in GPU_STAGES))
    )


def training() -> RunView:
    return going_on(
        view(
            validate_step(),
            running_step("mei", Stage.TRAIN, 270, 600, "loss 0.2171"),
            to_come("mei", Stage.QA),
            to_come("mei", Stage.OPTIMIZE),
            *(reused(s) for s in whole_chain("kit")),
        )
    )


def passed() -> RunView:
    return view(*whole_chain())


def dataset_changed() -> RunView:
    """Figures of the compared commit are on record: most got better, one rule is new."""
    validated, *rest = whole_chain()
    assert validated.result
    now = replace(
        validated.result,
        metrics=validated.result.metrics | {"effective_images": 37.4, "tokens_max": 71},
        details={"statistics": {"rules": {"duplicate.near": 1, "caption.bom": 1}}},
    )
    was = Earlier(
        lora="mei",
        metrics={
            "images": 77,
            "errors": 0,
            "warnings": 4,
            "effective_images": 30.16,
            "tokens_max": 60,
        },
        rules={"duplicate.near": 3, "image.blurred": 1},
    )
    return replace(view(replace(validated, result=now), *rest), earlier=(was,))


def failed_gate() -> RunView:
    return view(
        validate_step(),
        train_step(),
        qa_step(details=qa_details([], shift=-0.15)),
        blocked_step("mei", Stage.OPTIMIZE, "qa failed in run 20261124-120000-abcd1234"),
    )


def inconclusive() -> RunView:
    details = qa_details([], shift=-0.11)
    total = details["overall"]["score"]
    why = f"{total:.2f} ({total - 0.03:.2f} to {total + 0.03:.2f}) is not surely 0.8 or more"
    details["gates"][0] |= {"outcome": "inconclusive", "why": why}
    details["looks"] = [
        {"seeds": seeds, "error": error, "outcome": "inconclusive"}
        for seeds, error in ((2, 0.02), (4, 0.03))
    ]
    details["settle"] = [
        "`qa.seeds: 16`: at this spread of the scores, so many would tell",
        "or a stronger adapter: flexibility 0.72 holds the mean down",
    ]
    warning = finding(
        "qa.gate-inconclusive",
        Severity.WARNING,
        f"gate `overall >= 0.8` inconclusive: {why}; weakest: flexibility 0.72",
        "an unmeasured or unsure gate is no pass: see the report for what is missing",
    )
    qa = ended_step(qa_step(), Outcome.INCONCLUSIVE, warning, **details)
    blocked = blocked_step("mei", Stage.OPTIMIZE, "qa inconclusive in run 20261124-120000-abcd1234")
    return view(validate_step(), train_step(), qa, blocked)


def broke_down() -> RunView:
    message = "/mnt/loras/.lora-ci/steps: No space left on device"
    hint = "next: make room (df -h, ulimit -f); the same command goes on where it stopped"
    full = finding("machine.disk-full", Severity.ERROR, message, hint)
    train = ended_step(train_step(), Outcome.ERROR, full)
    return view(validate_step(), train, to_come("mei", Stage.QA), to_come("mei", Stage.OPTIMIZE))


def interrupted() -> RunView:
    train = ended_step(train_step(), Outcome.INTERRUPTED)
    return view(validate_step(), train, to_come("mei", Stage.QA), to_come("mei", Stage.OPTIMIZE))


def fork_waits() -> RunView:
    foreign = {"trust": Trust.UNTRUSTED, "actor": "stranger"}
    event = Event(kind=EventKind.PULL_REQUEST, repo="r", head=HEAD, **foreign)
    why = decide_right(event, Policy()).why
    given = view(validate_step(), *(blocked_step("mei", s, why) for s in GPU_STAGES), **foreign)
    return replace(given, plan=replace(given.plan, awaits_approval=True))


def over_the_budget() -> RunView:
    cost = Estimate(low=8.5, high=11.0, basis=PAST[Stage.TRAIN].basis)
    why = over_budget(cost, Budget(per_run=4))
    given = view(validate_step(), *(blocked_step("mei", s, why) for s in GPU_STAGES))
    return replace(given, plan=replace(given.plan, awaits_approval=True, estimate=cost))


def deployed() -> RunView:
    chain = (*(reused(s) for s in whole_chain()), deploy_step())
    # The tag of a comment's `deploy`: the pull request that it was asked on is told.
    return view(*chain, tag="mei@v1.1.0", changes=NO_CHANGES, number=7)


def several() -> RunView:
    failing = qa_step("kit", qa_details([], shift=-0.15))
    return view(
        *whole_chain("mei"),
        validate_step("kit"),
        train_step("kit"),
        failing,
        blocked_step("kit", Stage.OPTIMIZE, "qa failed in run 20261124-120000-abcd1234"),
        validate_step("leo", errors=12),
        *(blocked_step("leo", stage, "validate failed") for stage in GPU_STAGES),
    )


def many_loras() -> RunView:
    """Of 40 LoRAs a style moved that 14 are trained on; one of these does not pass."""
    steps: list[StepView] = []
    for i in range(40):
        name = f"character-{i:02}"
        if i == 7:
            steps += [validate_step(name), train_step(name)]
            steps += [qa_step(name, qa_details([], shift=-0.15))]
            steps += [blocked_step(name, Stage.OPTIMIZE, "qa failed")]
        elif i % 3 == 1:
            steps += whole_chain(name, details=qa_details([], shift=-i / 1000))
        else:
            steps += map(reused, whole_chain(name))
    config = {".lora-ci.yml": tuple(f"loras.character-{i:02}.init_from" for i in range(1, 40, 3))}
    return view(*steps, changes=replace(CHANGES, datasets=(), configs=config))


def beyond_the_limit() -> RunView:
    words = "a very long file name that says the same again and again " * 6
    steps: list[StepView] = []
    for i in range(120):
        steps += [validate_step(f"character-{i:03}", words + str(i), errors=3)]
        steps += [blocked_step(f"character-{i:03}", s, words) for s in GPU_STAGES]
    return view(*steps)


def config_error() -> LoraCIError:
    text = (
        b"version: 1\nloras:\n  mei:\n    dataset: datasets/mei\n    train: {rnak: 8, steps: -5}\n"
    )
    try:
        load_config(text)
    except LoraCIError as error:
        return error
    raise AssertionError("this config has faults")


def host_away() -> LoraCIError:
    message = "the DVC remote `storage` (s3://loras) does not answer: connection timed out"
    return InfrastructureError(message, hint="next: dvc status --cloud, which shows why")


def skipped() -> RunView:
    given = make_view(changes=NO_CHANGES)
    return replace(given, plan=replace(given.plan, skipped="its message says [skip lora-ci]"))


def nobody_may_approve() -> RunView:
    event = Event(kind=EventKind.PULL_REQUEST, repo="r", head=HEAD, trust=Trust.UNTRUSTED)
    why = decide_right(event, Policy(forks="validate")).why
    steps = (blocked_step("mei", s, why) for s in GPU_STAGES)
    return view(validate_step(), *steps, trust=Trust.UNTRUSTED)


MATRIX = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    matrix:
      train.rank: [16, 32]  # 64 needs more memory
      train.epochs: [10, 15, 20]
      train.optimizer: [adamw, prodigy]
"""
SETTLED = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train:
      rank: 32
      epochs: 20
      optimizer: adamw
"""


def configuration(rank: int, epochs: int, optimizer: str) -> tuple[Variant, tuple[StepView, ...]]:
    """One of a matrix, whose score rises with all that it takes."""
    name = f"mei.rank-{rank}.optimizer-{optimizer}.epochs-{epochs}"
    values = {"train.rank": rank, "train.optimizer": optimizer, "train.epochs": epochs}
    shift = rank / 1000 + epochs / 500 - 0.12 - 0.05 * (optimizer == "prodigy")
    train = train_step(name)
    metrics = {**train.result.metrics, "images_seen": 160.0 * epochs}
    train = replace(train, result=replace(train.result, metrics=metrics))
    steps = (validate_step(name), train, qa_step(name, qa_details([], shift=shift)))
    return Variant(lora=name, of="mei", values=values), steps


def matrix() -> RunView:
    found = [
        configuration(rank, epochs, optimizer)
        for rank in (16, 32)
        for optimizer in ("adamw", "prodigy")
        for epochs in (10, 15, 20)
    ]
    given = view(*(step for _, steps in found for step in steps))
    saving = Saving(rule=CONTINUES, trainings=8)
    sharing = Sharing(of="mei", configurations=12, trainings=4, saved=(saving,))
    plan = replace(given.plan, variants=tuple(v for v, _ in found), sharing=(sharing,))
    given = replace(given, plan=plan)
    (sweep,) = sweeps_of(given, EXHAUSTIVE)
    return replace(given, sweeps=(replace(sweep, suggestion=make_suggestion(MATRIX, SETTLED)),))


def matrix_going_on() -> RunView:
    return going_on(replace(matrix(), sweeps=()))


SHARDS = tuple(f"mei.shard-{number}-of-3" for number in (1, 2, 3))


def merged() -> StepView:
    """What shards were put together to; it took seconds of a CPU."""
    metrics = {"shards": 3, "rank": 48, "images": 80, "steps": 600, "images_seen": 2400}
    done = StepResult(
        outcome=Outcome.PASSED, metrics=metrics, timings_s={"merge": 2.9, "total": 3.4}
    )
    return StepView(
        decision=make_decision("mei", Stage.TRAIN, why="merges 3 shards; dataset: 3 modified"),
        result=done,
    )


def shards_passed() -> RunView:
    before = [validate_step(), *(train_step(name) for name in SHARDS)]
    after = [qa_step(), optimize_step()]
    return make_view(*map(timed, before), merged(), *map(timed, after), changes=CHANGES)


def shards_training() -> RunView:
    waits = make_decision("mei", Stage.TRAIN, Action.WAIT, "waits for 2 of 3 shards")
    return going_on(
        view(
            validate_step(),
            train_step(SHARDS[0]),
            running_step(SHARDS[1], Stage.TRAIN, 90, 200, "loss 0.2171"),
            priced(queued_step(SHARDS[2], Stage.TRAIN, "dataset: 6 images added")),
            StepView(decision=waits),
            to_come("mei", Stage.QA),
            to_come("mei", Stage.OPTIMIZE),
        )
    )


def shard_failed() -> RunView:
    diverged = finding(
        "train.diverged", Severity.ERROR, "the loss is no number any more after step 112",
        "next: a lower `train.learning_rate`",
    )  # fmt: skip
    bad = ended_step(train_step(SHARDS[1]), Outcome.FAILED, diverged)
    why = "shard 2 of 3: train failed in run 20261124-120000-abcd1234"
    return view(
        validate_step(),
        train_step(SHARDS[0]),
        bad,
        train_step(SHARDS[2]),
        *(blocked_step("mei", stage, why) for stage in GPU_STAGES),
    )


def of_run(make: Callable[[], RunView]) -> Callable[[], str]:
    def render() -> str:
        given = make()
        grids = {lora: GRID.format(lora) for lora in given.loras()}
        return render_comment(given, REPORT if given.outcome else None, grids)

    return render


def plan_of_a_queued_run() -> str:
    given = just_queued()
    return render_plan_markdown(given.plan)


def notes_of_a_release() -> str:
    return render_release_notes(deployed(), "mei", REPORT)


COMMENTS: dict[str, Callable[[], str]] = {
    "nothing-to-do": of_run(nothing_to_do),
    "config-error": lambda: render_refusal(config_error(), HEAD),
    "host-away": lambda: render_refusal(host_away(), HEAD),
    "skipped": of_run(skipped),
    "forgot-dvc-push": of_run(forgot_dvc_push),
    "validation-failed": of_run(validation_failed),
    "just-queued": of_run(just_queued),
    "training-queued": of_run(training_queued),
    "training": of_run(training),
    "passed": of_run(passed),
    "dataset-changed": of_run(dataset_changed),
    "failed-gate": of_run(failed_gate),
    "inconclusive": of_run(inconclusive),
    "broke-down": of_run(broke_down),
    "interrupted": of_run(interrupted),
    "fork-waits": of_run(fork_waits),
    "nobody-may-approve": of_run(nobody_may_approve),
    "over-the-budget": of_run(over_the_budget),
    "deployed": of_run(deployed),
    "several": of_run(several),
    "many-loras": of_run(many_loras),
    "matrix": of_run(matrix),
    "matrix-going-on": of_run(matrix_going_on),
    "shards-training": of_run(shards_training),
    "shards-passed": of_run(shards_passed),
    "shard-failed": of_run(shard_failed),
    "beyond-the-limit": of_run(beyond_the_limit),
}
# Markdown that is no comment, so has no verdict on top.
OTHERS: dict[str, Callable[[], str]] = {
    "plan": plan_of_a_queued_run,
    "release-notes": notes_of_a_release,
    "yanked": lambda: with_yank_banner(
        notes_of_a_release(), "trained on pictures that were taken back"
    ),
}
