"""Opens the database and brings its schema up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
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
# What libpq is told where the URL says nothing else: a server that is gone is not waited for long.
POSTGRESQL = {
    "application_name": "lora-ci",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# A process that was stopped inside a transaction holds nobody up for ever.
SESSION = (
    f"SET lock_timeout = {BUSY_TIMEOUT_MS}",
    f"SET idle_in_transaction_session_timeout = {2 * BUSY_TIMEOUT_MS}",
)
# Of those who open an old ledger at once, one upgrades it: any number of ours alone.
UPGRADING = 0x6C6F7261
DAMAGED = (
    "next: mkdir -p {folder}/damaged && mv {place}* {folder}/damaged/; the same command makes "
    "a new one, and finished steps are not done again"
)
# The files beside it have its rights as they were when SQLite made them.
WRITABLE = "next: ls -ld {folder} {place}*; all must be yours to write"
# What to do, by what SQLite says; the first that fits.
HINTS = {
    "not a database": DAMAGED,
    "malformed": DAMAGED,
    "no such": DAMAGED,
    "locked": "next: lora-ci status; another lora-ci may be at work, try again when it is done",
    "readonly": WRITABLE,
    "unable to open": WRITABLE,
    "disk": "next: df -h {folder}; ulimit -f; the same command goes on where it stopped",
}
ENTER = (
    "next: psql {server} {database}; are user and password right, and is each `@ : / %` of the "
    "password percent-encoded (`%40` for `@`)?"
)
# The same for PostgreSQL; for what it says in another language, the last one.
POSTGRESQL_HINTS = {
    "authentication failed": ENTER,
    "no password supplied": ENTER,
    "role ": ENTER,
    "pg_hba": ENTER,
    'database "': "next: createdb {server} {database}",
    "already exists": "next: createdb {server} NAME; give lora-ci a database of its own",
    "permission denied": "next: psql {server} {database} -c '\\d'; the user must own the tables",
    "lock timeout": HINTS["locked"],
    "read-only": "next: `?target_session_attrs=read-write` at the URL's end; this one is a copy",
    "too many clients": "next: psql {server} {database} -c 'SHOW max_connections'; raise it",
    "No space left": "next: df -h on the server; the same command goes on where it stopped",
    "": "next: pg_isready {server}; the same command goes on where it stopped",
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
    address = _address(url)
    try:
        # A connection may have been cut while a step ran for an hour.
        engine = create_engine(address, pool_pre_ping=address.get_backend_name() != "sqlite")
    except ArgumentError as error:
        raise _no_address() from error
    except ImportError as error:
        message = f"the ledger's URL needs a driver that is not installed: {error.name}"
        hint = "expected one that this Python has"
        if address.get_backend_name() == "postgresql":
            hint = "next: pip install 'lora-ci[postgres]'"
        raise UsageError(message, hint=hint) from error
    event.listen(engine, "handle_error", _explain)
    if engine.dialect.name == "sqlite":
        _tune_sqlite(engine)
    elif engine.dialect.name == "postgresql":
        _tune_postgresql(engine)
    return engine


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _no_address() from error
    if address.get_backend_name() not in ("postgres", "postgresql"):
        return address
    # Other tools write it without the driver, or with theirs.
    return address.set(drivername="postgresql+psycopg", query={**POSTGRESQL, **address.query})


def _no_address() -> UsageError:
    hint = "expected such as postgresql+psycopg://user:password@host/name"
    return UsageError("the ledger's URL is no address of a database", hint=hint)


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
        if connection.get_execution_options().get(READS):
            # It takes no lock yet, so nothing can go wrong: through SQLAlchemy it is slower.
            connection.connection.cursor().execute("BEGIN")
        else:
            # Taking the write lock first avoids the upgrade of a read lock, which can deadlock.
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _tune_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection, _record) -> None:  # type: ignore[no-untyped-def]
        for setting in SESSION:
            connection.execute(setting)
        connection.commit()


def _explain(context: ExceptionContext) -> None:
    """Turns what a database says into an error with the next command; duplicates stay.

    A connection that is found to be cut is made anew, and nobody need know.
    """
    duplicate = isinstance(context.sqlalchemy_exception, DuplicateKey)
    if context.engine is None or context.is_pre_ping or duplicate:
        return
    url, said = context.engine.url, str(context.original_exception)
    if url.get_backend_name() == "sqlite":
        place, words = str(url.database), said.splitlines()[0]
        hint = next((hint for part, hint in HINTS.items() if part in words), HINTS["disk"])
        hint = hint.format(place=place, folder=Path(place).parent)
    else:
        place, words = shown(url), "; ".join(line.strip(" \t-") for line in said.splitlines())
        hint = next(hint for part, hint in POSTGRESQL_HINTS.items() if part in words)
        hint = hint.format(server=_options(url), database=url.database)
    message = f"the ledger {place} cannot be used: {words}"
    # Anything else would be the same however long one waits.
    away = isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError)
    kind = LedgerAwayError if away else InfrastructureError
    raise kind(message, hint=hint) from context.original_exception


def shown(url: URL) -> str:
    """The address without what may be secret in it."""
    query = {key: value for key, value in url.query.items() if key in ("host", "port")}
    return url.set(query=query).render_as_string()


def _options(url: URL) -> str:
    """The server and the user, as PostgreSQL's own commands want them."""
    host, port = url.host or url.query.get("host"), url.port or url.query.get("port")
    options = {"-h": host, "-p": port, "-U": url.username}
    return " ".join(f"{name} {value}" for name, value in options.items() if value)


def schema_version(connection: Connection) -> str | None:
    """The version of the schema; None where there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine, version: str | None) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
        if schema_version(connection) == SCHEMA_VERSION:
            return
        try:
            migrate(connection)
        except UnknownSchemaError as error:
            hint = "next: pip install --upgrade lora-ci"
            if version and not version.isdecimal():
                hint = "next: give lora-ci a database of its own; this is another program's"
            raise InfrastructureError(
                f"the ledger has schema {version}, which this lora-ci does not know", hint=hint
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
