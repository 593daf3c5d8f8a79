"""The tables (SQLAlchemy Core). Migrations make them; a test says that both agree."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = "0005"

metadata = MetaData()

run = Table(
    "run",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("event", Text, nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("outcome", String(16)),
    Column("view", Text),
    # Who moves the run on, and a number that grows as long as it does.
    Column("owner", String(128)),
    Column("beat", Integer, nullable=False, server_default="0"),
    Index("run_started", "started_at"),
)

step = Table(
    "step",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(64), ForeignKey("run.id"), nullable=False),
    Column("lora", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("parts", Text, nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("repo", String(255), nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("gpus", Integer, nullable=False, server_default="0"),
    Column("vram_gib", Float, nullable=False, server_default="0"),
    Column("folder", Text, nullable=False, server_default=""),
    Column("queued_at", String(40), nullable=False, server_default=""),
    Column("due_at", String(40), nullable=False, server_default=""),
    Column("ended_at", String(40)),
    Column("stopping", Text),
    Column("result", Text),
    Index("step_key", "run_id", "lora", "stage", unique=True),
    Index("step_queue", "state", "priority", "repo", "id"),
    Index("step_work", "fingerprint", "state"),
)

# One execution of a step. Its key names it at the executor, which starts no key twice.
attempt = Table(
    "attempt",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("step_id", Integer, ForeignKey("step.id"), nullable=False),
    Column("executor", String(32), nullable=False),
    Column("handle", String(128)),
    Column("place", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("ended_at", String(40)),
    Column("outcome", String(16)),
    Column("gpu_s", Float, nullable=False, server_default="0"),
    Column("log_sha256", String(64)),
    Index("attempt_state", "state"),
    Index("attempt_step", "step_id"),
)

# What one process at a time does. The number grows as long as the holder lives; `terms` are the
# options by which it does so.
lease = Table(
    "lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("beat", Integer, nullable=False),
    Column("terms", Text),
)

# GPU-seconds by repository and day, so that fairness and budgets need not look at all attempts.
usage = Table(
    "usage",
    metadata,
    Column("repo", String(255), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("gpu_s", Float, nullable=False),
)

# Machines that run steps, as they were last seen; `state` is what an operator wants of them.
runner = Table(
    "runner",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("inventory", Text, nullable=False),
    Column("seen_at", String(40), nullable=False),
    Column("why", Text),
)

# Artifacts that no clean-up takes away.
pin = Table(
    "pin",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("why", Text, nullable=False),
    Column("at", String(40), nullable=False),
)

record = Table(
    "record",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("lora", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("parts", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("finished_at", String(40), nullable=False),
    Column("repo", String(255), nullable=False, server_default=""),
    Index("record_latest", "lora", "stage", "outcome", "finished_at"),
)

# What the bot was told, in order of arrival. The payload is kept until something was done about it.
delivery = Table(
    "delivery",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("digest", String(64), unique=True),
    Column("event", String(64), nullable=False),
    Column("received_at", String(40), nullable=False),
    Column("due_at", String(40), nullable=False),
    Column("payload", LargeBinary),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("unheard", Integer, nullable=False),
    Column("note", Text),
    Index("delivery_state", "state", "seq"),
)

# What the bot runs: one process after the other for each pull request.
job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("delivery", String(64), nullable=False),
    Column("repo", String(255), nullable=False),
    Column("started_as", String(255)),
    Column("number", Integer),
    Column("head", String(64), nullable=False),
    Column("wanted", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stopping", Text),
    Column("handle", String(128)),
    Column("run_id", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("due_at", String(40), nullable=False),
    Column("note", Text),
    Column("created_at", String(40), nullable=False),
    Column("ended_at", String(40)),
    Index("job_state", "state", "id"),
    Index("job_pull", "repo", "number"),
    Index("job_head", "repo", "head"),
)

approval = Table(
    "approval",
    metadata,
    Column("repo", String(255), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sha", String(64), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("at", String(40), nullable=False),
)

# What people chose, blind, between pictures of a judgement: the last vote of a person on a pair.
vote = Table(
    "vote",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("pair", String(64), primary_key=True),
    Column("voter", String(64), primary_key=True),
    Column("lora", String(64), nullable=False),
    Column("against", String(16), nullable=False),
    Column("choice", String(16), nullable=False),
    Column("side", String(16), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("at", String(40), nullable=False),
)
