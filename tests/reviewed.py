"""A state folder with judgements that people can be asked about, made of real pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Stage, StepSpec
from lora_ci.core.votes import Choice, Vote, side_of
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.qa.blind import Blind, blind_of
from lora_ci.store.local import LocalStore
from tests.ledgers import new_ledger
from tests.views import PICTURES, exhibits, make_view, qa_details, qa_step

PROMPTS = ["mochi, cat face", "mochi in the snow", "mochi <b>&\u202e"]
LIKENESS = {"adapter": 0.7, "released": 0.6, "base": 0.1}


def judged_step(
    lora: str = "mei",
    *,
    prompts: list[str] = PROMPTS,
    seeds: int = 2,
    kinds: tuple[str, ...] = ("base", "adapter", "released", "reference"),
    trigger: str | None = "mochi",
) -> tuple[StepView, dict[str, bytes]]:
    """A judged adapter, and its pictures by artifact name; each is another file."""
    labels = [
        {**label, "likeness": LIKENESS.get(label["kind"])}
        for label in exhibits(prompts, seeds)
        if label["kind"] in kinds
    ]
    files = sorted(PICTURES.glob("mochi*/*.png"))
    # Bytes after the end of a PNG are ignored; they make every file another one.
    pictures = {
        label["artifact"]: files[i % len(files)].read_bytes() + f"{lora} {i}".encode()
        for i, label in enumerate(labels)
    }
    details = {**qa_details(labels), "trigger": trigger}
    step = qa_step(lora, details=details, files=pictures)
    made = make_fingerprint(Stage.QA, {"lora": lora, "of": repr(sorted(pictures))})
    return replace(step, decision=replace(step.decision, fingerprint=made)), pictures


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The folder, opened."""

    state: Path
    ledger: Ledger
    store: LocalStore

    def record(self, *judged: tuple[StepView, dict[str, bytes]], run_id: str = "run-1") -> RunView:
        """Puts a run that ended into the folder."""
        for _, pictures in judged:
            for data in pictures.values():
                path = self.state / "picture"
                path.write_bytes(data)
                self.store.put(path)
                path.unlink()
        view = replace(make_view(*(step for step, _ in judged)), run_id=run_id)
        self.ledger.start_run(run_id, view.event)
        self.ledger.save_view(view)
        return view

    def judge(
        self, number: int, *, liked: int, pairs: int, embedder: str = "classic:", **metrics: float
    ) -> str:
        """Puts a judgement on record, and Ann's votes on it; the fingerprint."""
        step, _ = judged_step(
            f"lora-{number}", prompts=[f"mochi {i}" for i in range(pairs)], seeds=1
        )
        assert step.result
        assert step.decision.fingerprint
        details = {**step.result.details, "embedder": embedder}
        result = replace(step.result, metrics=metrics, details=details)
        spec = StepSpec(
            stage=Stage.QA, lora=step.decision.lora, inputs={}, params={},
            fingerprint=step.decision.fingerprint.value,
        )  # fmt: skip
        run_id = f"run-{number}"
        self.ledger.start_run(run_id, make_view().event)
        self.ledger.queue.add(run_id, step.decision, spec, commit="c")
        (row,) = self.ledger.queue.unfinished(run_id)
        assert self.ledger.queue.settle(row, result)
        for i, pair in enumerate(blind_of(result).pairs):
            choice = Choice.NEW if i < liked else Choice.OTHER
            vote = Vote(
                fingerprint=spec.fingerprint, pair=pair.id, voter="Ann", lora=spec.lora,
                against=pair.against, choice=choice, side=side_of(1, pair.id), seed=1,
            )  # fmt: skip
            self.ledger.cast(vote)
        return spec.fingerprint


def new_reviewed(state: Path) -> Reviewed:
    """An empty folder."""
    return Reviewed(
        state, open_ledger(new_ledger(state), SystemClock()), LocalStore(state / "objects")
    )


def blind_step(**of: object) -> Blind:
    """What can be shown of a judged adapter."""
    step, _ = judged_step(**of)  # type: ignore[arg-type]
    assert step.result
    return blind_of(step.result)
