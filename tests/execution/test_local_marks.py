"""Ledgers of two repositories give the same keys; on one machine their attempts stay apart."""

import time
from pathlib import Path

import pytest

from lora_ci.core.step import Stage, StepSpec
from lora_ci.execution.executor import Attempt, Phase
from lora_ci.execution.local import LocalExecutor
from lora_ci.steps.folder import StepFolder

pytestmark = pytest.mark.slow


def sleeping(folder: StepFolder, store: Path, cache: Path) -> list[str]:
    return ["sleep", "60"]


def test_clearing_one_attempt_leaves_that_of_another_ledger_alone(tmp_path):
    executor = LocalExecutor(tmp_path, tmp_path, command=sleeping)
    spec = StepSpec(stage=Stage.TRAIN, lora="mei", fingerprint="f", inputs={}, params={})
    folders = [StepFolder(tmp_path / name) for name in ("mine", "theirs")]
    for folder in folders:
        folder.path.mkdir()
    mine, theirs = (
        executor.submit(Attempt(key="step-1-1", folder=folder, spec=spec)) for folder in folders
    )
    try:
        assert wait_for_end(executor, mine, lambda: executor.cancel(mine, hard=True))
        assert executor.phases([theirs])[theirs] is Phase.RUNNING
    finally:
        assert wait_for_end(executor, theirs, lambda: executor.clear(theirs))
    assert not Path(f"/proc/{theirs.partition(':')[0]}").exists()


def wait_for_end(executor: LocalExecutor, handle: str, end) -> bool:
    deadline = time.monotonic() + 20
    end()
    while executor.phases([handle])[handle] is not Phase.ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True
