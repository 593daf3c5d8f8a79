"""The tables (SQLAlchemy Core). Migrations make them; a test says that both agree."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = "0003"

metadata = MetaData()

run = Table(
    "run",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("event", Text, nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("outcome", String(16)),
    Column("view", Text),
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
    Column("attempts", Integer, nullable=False, default=0),
    Column("handle", String(128)),
    Column("result", Text),
    Index("step_key", "run_id", "lora", "stage", unique=True),
    Index("step_state", "state"),
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
