"""The first schema: run, step, record."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("view", sa.Text),
    )
    op.create_index("run_started", "run", ["started_at"])
    op.create_table(
        "step",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(64), sa.ForeignKey("run.id"), nullable=False),
        sa.Column("lora", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("git_commit", sa.String(64), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("handle", sa.String(128)),
        sa.Column("result", sa.Text),
    )
    op.create_index("step_key", "step", ["run_id", "lora", "stage"], unique=True)
    op.create_index("step_state", "step", ["state"])
    op.create_table(
        "record",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("lora", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("git_commit", sa.String(64), nullable=False),
        sa.Column("finished_at", sa.String(40), nullable=False),
    )
    op.create_index("record_latest", "record", ["lora", "stage", "outcome", "finished_at"])
