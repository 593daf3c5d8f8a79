"""Empty ledgers, migrated once for all tests of a process."""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

Kind = Literal["sqlite", "postgresql"]
# The databases that a ledger may be in; the fixtures `ledger_kind` and `ledger_url` are each.
KINDS = (
    "sqlite",
    pytest.param("postgresql", marks=(pytest.mark.slow, pytest.mark.needs_postgres)),
)


def new_ledger(folder: Path, kind: Kind = "sqlite") -> str:
    """The URL of an empty ledger, in a folder if it is a file."""
    if kind == "postgresql":
        from tests.postgres import new_migrated_database

        return new_migrated_database()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(_template().name) / "ledger.db", folder / "ledger.db")
    return f"sqlite:///{folder / 'ledger.db'}"


def drop_ledger(url: str) -> None:
    """Ends the use of a ledger: on a server another test gets it, a file goes with its folder."""
    if not url.startswith("sqlite"):
        from tests.postgres import give_back

        give_back(url)


def new_database(folder: Path, kind: Kind = "sqlite") -> str:
    """The URL of a database with nothing in it."""
    if kind == "postgresql":
        from tests import postgres

        return postgres.new_database()
    return f"sqlite:///{folder / 'ledger.db'}"


def drop_database(url: str) -> None:
    """Removes what `new_database` made."""
    if not url.startswith("sqlite"):
        from tests import postgres

        postgres.drop_database(url)


@cache
def _template() -> tempfile.TemporaryDirectory:
    from lora_ci.ledger.engine import open_engine  # every test process reads this file

    folder = tempfile.TemporaryDirectory()
    engine = open_engine(f"sqlite:///{folder.name}/ledger.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    return folder
