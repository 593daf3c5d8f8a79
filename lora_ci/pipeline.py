"""The whole way as one Python call, for people without git: `lora_ci.pipeline.run`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lora_ci.core.run import RunView
    from lora_ci.core.step import Stage

    Progress = Callable[[str, Stage, int, int, str], None]


def run(
    config_path: str | PathLike[str],
    dataset_path: str | PathLike[str],
    *,
    lora: str | None = None,
    state: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RunView:
    """Validates, trains and judges a LoRA from folders; a second call does nothing twice.

    The folder `dataset_path` stands in for the dataset of the LoRA called `lora` (or of the only
    one). Other paths in the config start from the config file's folder, where `.lora-ci/` keeps
    the results (or in `state`). `progress(lora, stage, done, total, note)` is called as a step
    goes on.

    Returns:
        What came of every stage, `failed`, `error` and `interrupted` (a signal) included.

    Raises:
        UsageError: the config cannot be used, or does not say which LoRA is meant.
        InfrastructureError: the folders could not be read, or results not be kept.
    """
    from lora_ci.app.folder_source import read_source
    from lora_ci.app.handle import handle
    from lora_ci.app.records import STATE
    from lora_ci.app.wiring import Places, open_deps
    from lora_ci.core.errors import machine_error

    config = Path(config_path)
    place = Path(state) if state else config.resolve().parent / STATE
    try:
        source = read_source(config, Path(dataset_path), lora=lora, state=place)
        deps = open_deps(source, places=Places(state=place), watch=progress or (lambda *_: None))
        source.remember(place)
        try:
            return handle(source.event(), deps)
        finally:
            deps.ledger.close()
    except OSError as error:
        expected = machine_error(error)
        if expected is None:
            raise
        raise expected from error
