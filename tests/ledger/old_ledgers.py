"""Ledgers as earlier versions left them, in the middle of their work."""

from sqlalchemy import Connection, text

from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.step import Stage, StepSpec
from lora_ci.ledger.database import as_text
from lora_ci.ledger.engine import bare_engine, migrate

AT = "2026-11-25T22:58:18.900388+00:00"
EVENT = (
    '{"kind":"push","repo":"team/loras","head":"h","base":null,"range_why":"","ref":null,'
    '"actor":null,"trust":"trusted","number":null,"tag":null,"message":"","approved_by":null,'
    '"passed_checks":[]}'
)
PASSED = (
    '{"outcome":"passed","metrics":{},"artifacts":[],"findings":[],"timings_s":{},"details":{}}'
)
# LoRA, state, attempts, handle, result: what an executor called what ran, or was about to.
STEPS = (
    ("waits", "waiting", 0, None, None),
    ("again", "waiting", 2, None, None),
    ("starts", "running", 1, "starting", None),
    ("runs", "running", 2, "123:456", None),
    ("here", "running", 1, "inline", None),
    ("done", "ended", 1, "99:1", PASSED),
)


def fingerprint(lora: str) -> str:
    return make_fingerprint(Stage.TRAIN, {"lora": lora}).value


def make_old_ledger(url: str, version: str) -> None:
    """A ledger of a schema, with rows of every kind that it knew."""
    engine = bare_engine(url)
    with engine.begin() as connection:
        migrate(connection, version)
        _fill_runs(connection)
        if version >= "0002":
            _fill_bot(connection)
        if version >= "0003":
            _insert(
                connection, "vote", fingerprint="f" * 64, pair="a" * 64, voter="Ann", lora="done",
                against="released", choice="new", side="left", seed=2**63 - 1, at=AT,
            )  # fmt: skip
    engine.dispose()


def _fill_runs(connection: Connection) -> None:
    for run_id in ("run-1", "run-2"):
        _insert(connection, "run", id=run_id, event=EVENT, started_at=AT)
    for lora, state, attempts, handle, result in STEPS:
        spec = StepSpec(
            stage=Stage.TRAIN, lora=lora, fingerprint=fingerprint(lora), inputs={}, params={}
        )
        _insert(
            connection, "step", run_id="run-1", lora=lora, stage="train",
            fingerprint=fingerprint(lora), parts=f'{{"lora":"{lora}"}}', git_commit="c",
            spec=as_text(spec), state=state, attempts=attempts, handle=handle, result=result,
        )  # fmt: skip
    _insert(
        connection, "record", fingerprint=fingerprint("done"), lora="done", stage="train",
        parts='{"lora":"done"}', result=PASSED, outcome="passed", run_id="run-1", git_commit="c",
        finished_at=AT,
    )  # fmt: skip


def _fill_bot(connection: Connection) -> None:
    job = {
        "delivery": "d-1", "repo": "team/loras", "head": "h" * 40, "wanted": "{}", "attempts": 1,
        "due_at": AT, "created_at": AT,
    }  # fmt: skip
    _insert(
        connection, "delivery", id="d-1", digest="d" * 64, event="push", received_at=AT, due_at=AT,
        payload=b"\x00{}", state="waiting", attempts=0, unheard=0,
    )  # fmt: skip
    _insert(connection, "job", **job, number=7, state="running", handle="1:2")
    _insert(connection, "job", **job, state="waiting")
    approval = {"repo": "team/loras", "number": 7, "sha": "h" * 40, "person": "ann", "at": AT}
    _insert(connection, "approval", **approval)


def _insert(connection: Connection, table: str, **values: object) -> None:
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)
