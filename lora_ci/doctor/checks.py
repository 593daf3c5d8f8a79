"""Which checks there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lora_ci.app.records import STATE
from lora_ci.core.clock import SystemClock
from lora_ci.doctor.checked import Check
from lora_ci.doctor.gpu import check_driver, check_memory
from lora_ci.doctor.host import check_clock, check_token, check_webhook
from lora_ci.doctor.machine import Machine
from lora_ci.doctor.repository import check_config, check_data, check_records, reader
from lora_ci.doctor.server import Serving, check_executor, server_checks
from lora_ci.doctor.tools import check_disk, check_git, check_state, check_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the machine is to do: `root` is the repository, `gpu` that it must have one.

    With `serving` it runs the bot, and needs no repository of its own. `executor` is where steps of
    the repository's runs are to be.
    """

    root: Path
    gpu: bool
    api_url: str
    repo: str | None
    token: str | None = field(repr=False)
    webhook: str | None
    records: str | None
    serving: Serving | None = None
    executor: str = "inline"


def checks_of(machine: Machine, wanted: Wanted) -> dict[str, Check]:
    """The checks by name, in the order they are told."""
    if wanted.serving:
        return _server_checks(machine, wanted, wanted.serving)
    root, state = wanted.root, wanted.root / STATE
    return {
        "versions": check_versions,
        "git": partial(check_git, machine),
        "config": partial(check_config, root),
        "data": partial(check_data, root),
        "disk": partial(check_disk, machine, state),
        "state": partial(check_state, machine, state),
        "driver": partial(check_driver, machine, needed=wanted.gpu),
        "memory": partial(check_memory, machine, reader(root), needed=wanted.gpu),
        "token": partial(check_token, machine, wanted.api_url, wanted.repo, wanted.token),
        "clock": partial(
            check_clock, machine, wanted.api_url, asked=bool(wanted.repo or wanted.token)
        ),
        "webhook": partial(check_webhook, machine, wanted.webhook),
        "records": partial(check_records, machine, root, wanted.records),
        "executor": partial(check_executor, machine, wanted.executor),
    }


def _server_checks(machine: Machine, wanted: Wanted, serving: Serving) -> dict[str, Check]:
    return {
        "versions": check_versions,
        "git": partial(check_git, machine),
        **server_checks(machine, serving, SystemClock()),
        "driver": partial(check_driver, machine, needed=wanted.gpu),
        "token": partial(check_token, machine, wanted.api_url, wanted.repo, wanted.token),
        "clock": partial(check_clock, machine, wanted.api_url, asked=True),
        "webhook": partial(check_webhook, machine, wanted.webhook),
    }
