"""What comes of a matrix in a run: scores of any metric, its change, and where that is shown."""

from dataclasses import replace

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.publish import publish
from lora_ci.app.sweep import EXHAUSTIVE, LOSS, Search, last_stage, sweeps_of, with_sweeps
from lora_ci.app.wiring import open_deps
from lora_ci.core.event import EventKind, Trust
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from tests.builders import RepoBuilder
from tests.github_world import open_world
from tests.situations import MATRIX, matrix


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    repo = RepoBuilder(tmp_path / "work")
    repo.write(".lora-ci.yml", MATRIX)
    repo.commit()
    return repo


def view_of(repo: RepoBuilder, **of_event: object):
    view = replace(matrix(), sweeps=())
    head = repo.git("rev-parse", "HEAD")
    return replace(view, event=replace(view.event, head=head, **of_event))


def swept(repo: RepoBuilder, **of_event: object):
    view = view_of(repo, **of_event)
    done = with_sweeps(view, open_git_source(repo.root), EXHAUSTIVE)
    (sweep,) = done.sweeps
    return done, sweep


def with_train(view, metrics):
    """The view with other metrics of trainings: `metrics(name)`, None where it failed."""
    steps = []
    for step in view.steps:
        if step.decision.stage is Stage.TRAIN:
            found = metrics(step.decision.lora)
            result = StepResult(outcome=Outcome.FAILED)
            if found is not None:
                result = replace(step.result, metrics={**step.result.metrics, **found})
            step = replace(step, result=result)  # noqa: PLW2901
        steps.append(step)
    return replace(view, steps=tuple(steps))


def test_the_best_is_found_and_its_change_is_that_of_the_file(repo):
    _, sweep = swept(repo)
    assert sweep.best == "mei.rank-32.optimizer-adamw.epochs-20"
    assert len(sweep.standings) == 12
    assert (sweep.suggestion.first_line, sweep.suggestion.last_line) == (6, 9)
    assert sweep.suggestion.lines == (
        "    train:",
        "      rank: 32",
        "      optimizer: adamw",
        "      epochs: 20",
    )


@pytest.mark.parametrize(
    ("metric", "expected", "interval"),
    [
        ("score.identity", 0.832, True),
        ("identity", 0.71, False),
        ("leakage", 0.04, False),
        ("nothing", None, False),
    ],
)
def test_any_metric_of_qa_can_be_what_the_best_is_best_in(repo, metric, expected, interval):
    (sweep,) = sweeps_of(view_of(repo), Search(metric=metric))
    best = sweep.standings[0]
    assert best.score == (expected and pytest.approx(expected))
    assert (best.low is not None) == interval
    assert sweep.lower_is_better == (metric == "leakage")


def test_a_metric_that_nobody_measured_is_answered_with_those_that_were(repo):
    (sweep,) = sweeps_of(view_of(repo), Search(metric="identiti"))
    assert sweep.best is None
    assert "what was: identity, leakage, power, score.identity" in sweep.why


def judged_by(view, ruler):
    """The view with other rulers of its judgements: `ruler(name)`, None for none."""

    def renamed(step):
        if step.decision.stage is not Stage.QA:
            return step
        details = {**step.result.details, "ruler": ruler(step.decision.lora)}
        return replace(step, result=replace(step.result, details=details))

    return replace(view, steps=tuple(map(renamed, view.steps)))


def test_figures_of_different_rulers_are_never_compared(repo):
    view = judged_by(view_of(repo), lambda name: "1" * 64 if "rank-16" in name else "2" * 64)
    done = with_sweeps(view, open_git_source(repo.root), EXHAUSTIVE)
    (sweep,) = done.sweeps
    assert (sweep.best, sweep.suggestion) == (None, None)
    assert all(standing.score is None for standing in sweep.standings)
    assert "2 different rulers" in sweep.why
    assert sweep.unsuggested == "there is no best"
    # One that nobody names is another one.
    some = judged_by(view_of(repo), lambda name: None if "prodigy" in name else "1" * 64)
    assert sweeps_of(some, EXHAUSTIVE)[0].best is None
    # What a training measures itself has no ruler.
    assert sweeps_of(view, Search(metric=LOSS))[0].best
    same = judged_by(view, lambda _: "2" * 64)
    assert sweeps_of(same, EXHAUSTIVE)[0].best == "mei.rank-32.optimizer-adamw.epochs-20"


def test_by_loss_the_held_out_loss_counts_where_all_have_one(repo):
    assert (last_stage(LOSS), last_stage("identity")) == (Stage.TRAIN, Stage.QA)
    view = view_of(repo)
    search = Search(metric=LOSS)
    held_out = with_train(view, lambda name: {"validation_loss": 0.3 + 0.1 * ("16" in name)})
    (sweep,) = sweeps_of(held_out, search)
    assert (sweep.metric, sweep.standings[0].score) == ("validation_loss", 0.3)
    assert "32" in sweep.best
    some = with_train(view, lambda name: {"validation_loss": 0.1} if "16" in name else {})
    assert sweeps_of(some, search)[0].metric == "loss_last"


def test_a_training_that_failed_is_never_the_best(repo):
    broken = with_train(
        view_of(repo), lambda name: None if "epochs-20" in name else {"loss_last": 0.2}
    )
    (sweep,) = sweeps_of(broken, Search(metric=LOSS))
    failed = [s for s in sweep.standings if s.outcome is Outcome.FAILED]
    assert len(failed) == 4
    assert sweep.standings[-4:] == tuple(failed)
    assert "4 could not be measured" in sweep.why


def test_what_went_on_or_was_stopped_has_no_best(repo):
    source = open_git_source(repo.root)
    for outcome in (None, Outcome.INTERRUPTED):
        view = replace(view_of(repo), outcome=outcome)
        assert with_sweeps(view, source, EXHAUSTIVE).sweeps == ()
    blocked = replace(view_of(repo), steps=view_of(repo).steps[:1])
    assert with_sweeps(blocked, source, EXHAUSTIVE).sweeps == ()


def test_of_a_matrix_that_was_done_in_part_nobody_knows_the_best(repo):
    view = view_of(repo)
    part = replace(view.plan, variants=view.plan.variants[:3])
    assert sweeps_of(replace(view, plan=part), EXHAUSTIVE) == ()
    (found,) = sweeps_of(replace(view, plan=part), Search(early=True))
    assert len(found.standings) == 3


def test_where_a_machine_failed_the_best_is_told_and_not_suggested(repo):
    view = replace(view_of(repo), outcome=Outcome.ERROR)
    (sweep,) = with_sweeps(view, open_git_source(repo.root), EXHAUSTIVE).sweeps
    assert sweep.best
    assert "one of them may be better" in sweep.unsuggested


def test_a_foreign_push_gets_no_suggestion_and_the_reason_is_told(repo):
    _, sweep = swept(repo, trust=Trust.UNTRUSTED, approvals=("ann",))
    assert sweep.suggestion is None
    assert sweep.unsuggested == "a foreign push gets no suggestions"


def test_a_config_that_says_something_else_by_now_gets_none(repo):
    repo.write(".lora-ci.yml", MATRIX.replace("[16, 32]", "[16, 8]"))
    repo.commit()
    _, sweep = swept(repo)
    assert sweep.unsuggested == "the config is not that of a commit"


@pytest.mark.slow
def test_on_a_pull_request_the_change_stands_at_its_lines_and_in_the_comment(repo, tmp_path):
    with open_world(tmp_path) as world:
        head = world.commit({".lora-ci.yml": MATRIX})
        number = world.pull(head=head)
        view, _ = swept(repo)
        view = replace(view, event=replace(view.event, head=head, number=number))
        deps = replace(open_deps(open_git_source(repo.root)), forge=world.forge())
        for _ in range(2):
            assert publish(view, deps).notes == ()
        (shown,) = world.repo.review_comments.values()
        assert (shown.path, shown.start_line, shown.line) == (".lora-ci.yml", 6, 9)
        assert "```suggestion\n    train:\n      rank: 32\n" in shown.body
        (comment,) = world.repo.comments_on(number)
        assert "```diff" in comment.body


def test_elsewhere_nothing_is_written_at_lines(repo):
    view, sweep = swept(repo)
    deps = open_deps(open_git_source(repo.root))
    tag = {"kind": EventKind.TAG, "tag": "mei@v1"}
    for of_event in ({"trust": Trust.UNTRUSTED}, {"kind": EventKind.MANUAL}, tag):
        publish(replace(view, event=replace(view.event, **of_event), sweeps=(sweep,)), deps)
    assert not (deps.state / "forge" / "suggestions").exists()
    publish(view, deps)
    assert (deps.state / "forge" / "suggestions" / "7" / "mei.md").exists()


def test_a_variant_in_shards_takes_their_time_and_fails_with_one_of_them():
    given = replace(matrix(), sweeps=())
    first, second = (v.lora for v in given.plan.variants[:2])

    def in_shards(step, outcomes):
        """The training as a merge, where all its parts passed, and the parts."""
        whole = all(outcome is Outcome.PASSED for outcome in outcomes)
        merged = replace(step, result=replace(step.result, timings_s={"total": 1.0}))
        parts = [
            StepView(
                decision=replace(step.decision, lora=f"{step.decision.lora}.shard-{n}-of-2"),
                result=StepResult(outcome=outcome, timings_s={"total": 100.0}),
            )
            for n, outcome in enumerate(outcomes, 1)
        ]
        return [*parts, merged if whole else replace(step, result=None)]

    passed, failed = (Outcome.PASSED, Outcome.PASSED), (Outcome.PASSED, Outcome.FAILED)
    steps = []
    for step in given.steps:
        name, stage = step.decision.lora, step.decision.stage
        if stage is Stage.TRAIN and name in (first, second):
            steps += in_shards(step, passed if name == first else failed)
        elif name != second or stage is Stage.VALIDATE:
            steps.append(step)
    (sweep,) = sweeps_of(replace(given, steps=tuple(steps)), EXHAUSTIVE)
    found = {standing.lora: standing for standing in sweep.standings}
    assert len(found) == 12
    assert found[first].took_s >= 201.0
    assert (found[second].outcome, found[second].score) == (Outcome.FAILED, None)
    assert found[second].took_s >= 200.0
