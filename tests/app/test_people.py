"""What people chose is shown with the run, whenever it is shown."""

from lora_ci.app.git_source import open_git_source
from lora_ci.app.publish import publish
from lora_ci.app.wiring import open_deps
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.votes import Choice, Vote, side_of
from lora_ci.qa.blind import blind_of
from tests.builders import RepoBuilder
from tests.reviewed import judged_step
from tests.views import make_view


def test_votes_given_after_the_run_stand_in_its_report(tmp_path, monkeypatch):
    repo = RepoBuilder(tmp_path)
    repo.commit()
    deps = open_deps(open_git_source(repo.root))
    step, _ = judged_step()
    view = make_view(step)
    page = deps.state / "forge" / "reports" / f"{view.run_id}.html"
    publish(view, deps)
    assert "People" not in page.read_text()
    assert step.result
    assert step.decision.fingerprint
    choices = (Choice.NEW, Choice.NEW, Choice.OTHER, Choice.NONE)
    for pair, choice in zip(blind_of(step.result).pairs, choices, strict=False):
        vote = Vote(
            fingerprint=step.decision.fingerprint.value, pair=pair.id, voter="Zoë Unmistakable",
            lora="mei", against=pair.against, choice=choice, side=side_of(1, pair.id), seed=1,
        )  # fmt: skip
        deps.ledger.cast(vote)
    publish(view, deps)
    text = page.read_text()
    assert "People" in text
    assert "4 votes" in text
    # Names stay in the ledger.
    assert "Unmistakable" not in "".join(
        path.read_text(errors="replace") for path in deps.state.rglob("*")
        if path.is_file() and path.suffix in (".html", ".md", ".json")
    )  # fmt: skip

    def away(ledger, fingerprint=None):
        raise InfrastructureError("the ledger is away")

    monkeypatch.setattr(type(deps.ledger), "votes", away)
    page.unlink()
    notes = publish(view, deps).notes
    assert any("votes" in note.message for note in notes)
    assert page.exists()
