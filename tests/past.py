"""Records as real steps leave them, as many as are wanted."""

from datetime import UTC, datetime, timedelta

from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_bytes
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage, StepResult

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_record(
    number: int = 0,
    *,
    lora: str = "mei",
    stage: Stage = Stage.TRAIN,
    outcome: Outcome = Outcome.PASSED,
    content: str | None = None,
    finished_at: str | None = None,
    details: object = None,
) -> Record:
    """A record that ended `number` minutes after the start; `content` is what it was made of."""
    made_of = content if content is not None else str(number)
    fingerprint = make_fingerprint(stage, {"lora": lora, "dataset": made_of})
    sha256 = sha256_bytes(f"{lora} {stage} {number}".encode())
    artifact = Artifact(name="a.bin", sha256=sha256, size_bytes=1, media_type="x/y")
    at = (START + timedelta(minutes=number)).isoformat(timespec="microseconds")
    return Record(
        fingerprint=fingerprint.value,
        stage=stage,
        lora=lora,
        parts=dict(fingerprint.parts),
        result=StepResult(
            outcome=outcome,
            artifacts=(artifact,),
            timings_s={"total": 1.5},
            details={"more": details} if details is not None else {},
        ),
        run_id=f"run-{number}",
        commit=f"{number:040x}",
        finished_at=finished_at or at,
    )
