"""What the command line asks of the git host, and what it tells it."""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lora_ci.app.commands import Run
from lora_ci.app.scope import UnknownLora
from lora_ci.cli.events import add_event_arguments, open_event
from lora_ci.cli.hub import Hub
from lora_ci.cli.main import main
from lora_ci.cli.run import asked_of, executor_name
from lora_ci.core.errors import UsageError
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.step import Outcome
from lora_ci.forge.payload import Announced
from tests.builders import RepoBuilder

CONFIG = "version: 1\nloras: {}\n"
ASKED = Run(event=Announced(kind=EventKind.PULL_REQUEST, repo="a/b", head="a" * 40, number=7))


@pytest.mark.parametrize(
    ("error", "outcome", "told"),
    [
        (KeyError("s3cret"), Outcome.ERROR, "lora-ci crashed: KeyError"),
        (PermissionError(13, "", "objects"), Outcome.ERROR, "objects: Permission denied"),
        (UsageError("no LoRA `x`"), Outcome.FAILED, "no LoRA `x`"),
    ],
)
def test_no_check_is_left_waiting_whatever_went_wrong(error, outcome, told):
    shown = []
    forge = SimpleNamespace(
        upsert_comment=lambda number, body: shown.append(body), publish_check=shown.append
    )
    with pytest.raises(type(error)), Hub(forge=forge).refusing(ASKED):
        raise error
    body, check = shown
    assert (check.outcome, check.title) == (outcome, told)
    assert "s3cret" not in body + check.summary


def test_a_slip_in_a_comment_is_answered_there_and_changes_no_result():
    replies = {}
    host = SimpleNamespace(reply=lambda number, key, body: replies.update({(number, key): body}))
    slip = UnknownLora("no LoRA `x` is in the config of this commit", hint="name one of: mei, leo")
    hub = Hub(forge=SimpleNamespace(), host=host)
    for asked in (replace(ASKED, key="99"), ASKED, None):
        with pytest.raises(UnknownLora), hub.refusing(asked):
            raise slip
    assert replies == {
        (7, "99"): "Nothing runs: no LoRA `x` is in the config of this commit; "
        "name one of: mei, leo."
    }


def test_the_host_is_asked_for_checks_only_where_a_policy_wants_some(tmp_path):
    repo = RepoBuilder(tmp_path)
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    parser = argparse.ArgumentParser()
    add_event_arguments(parser)
    args = parser.parse_args(["--repo", str(repo.root), "--default-branch", "main"])
    asked_for = []
    host = SimpleNamespace(passed_checks=lambda head: asked_for.append(head) or ("lint",))
    assert open_event(args, None, host)[0].passed_checks == ()
    assert asked_for == []
    repo.write(".lora-ci.yml", CONFIG + "policy: {required_checks: [lint]}\n")
    head = repo.commit()
    assert open_event(args, None, host)[0].passed_checks == ("lint",)
    assert asked_for == [head]


def test_jobs_are_for_a_repository_on_the_host(tmp_path, capsys):
    repo = RepoBuilder(tmp_path)
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    assert main(["run", "--repo", str(repo.root), "--executor", "actions"]) == 2
    assert "next: --forge github" in capsys.readouterr().err
    assert executor_name("actions") == "actions"
    with pytest.raises(argparse.ArgumentTypeError, match="slurm=PARTITION or actions"):
        executor_name("actions=acme/loras")


@pytest.mark.parametrize("asked", [None, replace(ASKED, loras=("mei",), key="99")])
def test_a_job_is_told_the_commit_who_let_it_run_and_no_comment_to_answer(asked):
    event = Event(
        kind=EventKind.PULL_REQUEST, repo="a/b", head="b" * 40, base="c" * 40, number=7,
        trust=Trust.UNTRUSTED, approvals=("leo",),
    )  # fmt: skip
    since = datetime(2026, 1, 31, tzinfo=UTC)
    told = asked_of(event, asked, since)
    assert (told.event.head, told.event.number, told.event.kind) == ("b" * 40, 7, event.kind)
    assert (told.event.trust, told.approved_by) == (Trust.UNTRUSTED, ("leo",))
    assert (told.retrain, told.asked_at) == (True, since.isoformat())
    assert (told.loras, told.key) == ((), None)
    assert asked_of(event, asked).retrain is False
