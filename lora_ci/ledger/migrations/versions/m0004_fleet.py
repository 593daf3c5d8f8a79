"""Steps as a queue of many repositories: attempt, lease, usage, runner, pin."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("run") as run:
        run.add_column(sa.Column("owner", sa.String(128)))
        run.add_column(sa.Column("beat", sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("record") as record:
        record.add_column(sa.Column("repo", sa.String(255), nullable=False, server_default=""))
    # SQLite makes the table of steps anew, which nothing may refer to then.
    op.execute(
        "CREATE TEMPORARY TABLE step_running AS "
        "SELECT step.id, step.attempts, step.handle, run.started_at "
        "FROM step JOIN run ON run.id = step.run_id WHERE step.state = 'running'"
    )
    op.drop_index("step_state", "step")
    with op.batch_alter_table("step") as step:
        step.add_column(sa.Column("failures", sa.Integer, nullable=False, server_default="0"))
        step.add_column(sa.Column("repo", sa.String(255), nullable=False, server_default=""))
        step.add_column(sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
        step.add_column(sa.Column("gpus", sa.Integer, nullable=False, server_default="0"))
        step.add_column(sa.Column("vram_gib", sa.Float, nullable=False, server_default="0"))
        step.add_column(sa.Column("folder", sa.Text, nullable=False, server_default=""))
        step.add_column(sa.Column("queued_at", sa.String(40), nullable=False, server_default=""))
        step.add_column(sa.Column("due_at", sa.String(40), nullable=False, server_default=""))
        step.add_column(sa.Column("ended_at", sa.String(40)))
        step.add_column(sa.Column("stopping", sa.Text))
        step.drop_column("handle")
    _note_folders()
    op.create_index("step_queue", "step", ["state", "priority", "repo", "id"])
    op.create_index("step_work", "step", ["fingerprint", "state"])
    op.create_table(
        "attempt",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("step_id", sa.Integer, sa.ForeignKey("step.id"), nullable=False),
        sa.Column("executor", sa.String(32), nullable=False),
        sa.Column("handle", sa.String(128)),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("ended_at", sa.String(40)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("gpu_s", sa.Float, nullable=False, server_default="0"),
        sa.Column("log_sha256", sa.String(64)),
    )
    op.create_index("attempt_state", "attempt", ["state"])
    op.create_index("attempt_step", "attempt", ["step_id"])
    # What runs goes on: its handle is that of an attempt from now on.
    op.execute(
        "INSERT INTO attempt (key, step_id, executor, handle, place, state, started_at) "
        "SELECT 'step-' || id || '-' || attempts, id, "
        "CASE WHEN handle = 'inline' THEN 'inline' ELSE 'local' END, "
        "CASE WHEN handle = 'starting' THEN NULL ELSE handle END, "
        "'{}', 'open', started_at FROM step_running"
    )
    op.execute("DROP TABLE step_running")
    op.create_table(
        "lease",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("repo", sa.String(255), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("gpu_s", sa.Float, nullable=False),
    )
    op.create_table(
        "runner",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("inventory", sa.Text, nullable=False),
        sa.Column("seen_at", sa.String(40), nullable=False),
        sa.Column("why", sa.Text),
    )
    op.create_table(
        "pin",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )


def _note_folders() -> None:
    """Steps had their folders beside the ledger's file; of a server's nothing is known."""
    engine = op.get_bind().engine
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    steps = Path(engine.url.database).absolute().parent / "steps"
    where = "UPDATE step SET folder = :steps || '/' || substr(fingerprint, 1, 32)"
    op.get_bind().execute(sa.text(f"{where} WHERE state <> 'ended'"), {"steps": str(steps)})
