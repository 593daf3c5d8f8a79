"""Opens the database and brings its schema up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.core.errors import InfrastructureError, LedgerAwayError, UsageError
from lora_ci.ledger.tables import SCHEMA_VERSION

# Of a connection that writes nothing.
READS = "lora_ci_reads"
BUSY_TIMEOUT_MS = 30_000
# It waits for the disk now and then instead of at each commit. What a power cut takes is found to
# be missing, and asked for or made again; a killed process loses nothing.
PRAGMAS = (
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "journal_mode=WAL",
    "foreign_keys=ON",
    "synchronous=NORMAL",
)
DAMAGED = (
    "next: mkdir -p {folder}/damaged && mv {place}* {folder}/damaged/; the same command makes "
    "a new one, and finished steps are not done again"
)
# What to do, by what SQLite says; the first that fits.
HINTS = {
    "not a database": DAMAGED,
    "malformed": DAMAGED,
    "no such": DAMAGED,
    "locked": "next: lora-ci status; another lora-ci may be at work, try again when it is done",
    "readonly": "next: ls -ld {folder} {place}; both must be yours to write",
    "unable to open": "next: ls -ld {folder} {place}; both must be yours to write",
    "disk": "next: df -h {folder}; ulimit -f; the same command goes on where it stopped",
}


def open_engine(url: str) -> Engine:
    """An engine on a database at the current schema. SQLite runs in WAL mode.

    Raises UsageError for what is no address of a database: it is not told, as it may hold a
    password.
    """
    engine = bare_engine(url)
    with engine.connect() as connection:
        version = schema_version(connection)
    if version != SCHEMA_VERSION:
        _migrate(engine, version)
    return engine


def bare_engine(url: str) -> Engine:
    """An engine on a database as it is, of whatever schema. Raises UsageError."""
    try:
        engine = create_engine(url)
    except ArgumentError as error:
        hint = "expected such as postgresql+psycopg://user:password@host/name"
        raise UsageError("the ledger's URL is no address of a database", hint=hint) from error
    except ImportError as error:
        message = f"the ledger's URL needs a driver that is not installed: {error.name}"
        raise UsageError(message, hint="expected one that this Python has") from error
    event.listen(engine, "handle_error", _explain)
    if engine.dialect.name == "sqlite":
        _tune_sqlite(engine)
    return engine


def _tune_sqlite(engine: Engine) -> None:
    database = engine.url.database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def configure(connection, _record) -> None:  # type: ignore[no-untyped-def]
        # The driver's own transaction handling would begin too late: we say BEGIN ourselves.
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Taking the write lock first avoids the upgrade of a read lock, which can deadlock.
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _explain(context: ExceptionContext) -> None:
    """Turns what a database says into an error with the next command; duplicates stay."""
    if context.engine is None or isinstance(context.sqlalchemy_exception, DuplicateKey):
        return
    url, words = context.engine.url, str(context.original_exception).splitlines()[0]
    place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
    message = f"the ledger {place} cannot be used: {words}"
    hint = next((hint for part, hint in HINTS.items() if part in words), HINTS["disk"])
    hint = hint.format(place=place, folder=Path(str(place)).parent)
    raise LedgerAwayError(message, hint=hint) from context.original_exception


def schema_version(connection: Connection) -> str | None:
    """The version of the schema; None where there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine, version: str | None) -> None:
    with engine.begin() as connection:
        if schema_version(connection) == SCHEMA_VERSION:
            return
        try:
            migrate(connection)
        except UnknownSchemaError as error:
            raise InfrastructureError(
                f"the ledger has schema {version}, which this lora-ci does not know",
                hint="next: pip install --upgrade lora-ci",
            ) from error


class UnknownSchemaError(ValueError):
    """There is no way from the schema that is there to the one that is wanted."""


def migrate(connection: Connection, version: str = SCHEMA_VERSION) -> None:
    """Brings the schema to a version, in the transaction of the connection.

    Raises UnknownSchemaError. Alembic is only loaded here, where there is something to do.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "lora_ci:ledger/migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, version)
    except CommandError as error:
        raise UnknownSchemaError(str(error)) from error
