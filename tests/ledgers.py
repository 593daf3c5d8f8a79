"""Empty ledgers, migrated once for all tests of a process."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from lora_ci.ledger.engine import open_engine


def new_ledger(folder: Path) -> str:
    """The URL of an empty ledger in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(_template().name) / "ledger.db", folder / "ledger.db")
    return f"sqlite:///{folder / 'ledger.db'}"


@cache
def _template() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory()
    engine = open_engine(f"sqlite:///{folder.name}/ledger.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    return folder
