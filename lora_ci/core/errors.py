"""Errors and exit codes.

LoraCIError
├── UsageError           2  the command line or the config is wrong
├── InputError           1  the user's data is wrong; the step `failed`
│   └── IntegrityError   1  bytes are not what their digest or signature says
├── InfrastructureError  4  the machine, network or disk failed; the step is an `error`, retried
└── Interrupted        130  a signal asked us to stop; a second call goes on

An uncaught exception is a bug of ours and exits with 4, never 1: 1 would blame the user.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from pathlib import Path

from lora_ci.core.finding import Finding, Severity


class ExitCode(IntEnum):
    """What the process says to its caller."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INFRASTRUCTURE = 4
    INTERRUPTED = 130


class LoraCIError(Exception):
    """Root of all expected errors. `findings` say what is wrong, where and what to do.

    Without findings of its own an error is one: of the `rule`, or its class's, at the `file`.
    """

    exit_code = ExitCode.INFRASTRUCTURE
    rule = "lora-ci.error"
    severity = Severity.ERROR

    def __init__(
        self,
        message: str,
        *,
        rule: str | None = None,
        file: str | None = None,
        hint: str | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__(message)
        self.findings = findings or (
            Finding(
                rule=rule or self.rule,
                severity=self.severity,
                message=message,
                file=file,
                hint=hint,
            ),
        )


class UsageError(LoraCIError):
    """The command line or the config is wrong."""

    exit_code = ExitCode.USAGE
    rule = "lora-ci.usage"


class InputError(LoraCIError):
    """The user's data is wrong: dataset, weights, captions."""

    exit_code = ExitCode.FAILED
    rule = "lora-ci.input"


class IntegrityError(InputError):
    """Bytes are not what their digest or signature says."""

    rule = "lora-ci.integrity"


class InfrastructureError(LoraCIError):
    """The machine, the network or the disk failed; trying again may help."""

    rule = "lora-ci.infrastructure"


class LedgerAwayError(InfrastructureError):
    """The ledger's database cannot be used now; it may come back."""

    rule = "lora-ci.ledger-away"


class Interrupted(LoraCIError):  # noqa: N818 - an outcome's name, not a fault
    """A signal asked us to stop; what was finished is kept."""

    exit_code = ExitCode.INTERRUPTED
    rule = "lora-ci.interrupted"
    severity = Severity.WARNING


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MACHINE = (
    *FULL,
    errno.EACCES,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
)


def machine_error(error: OSError, place: object = None) -> InfrastructureError | None:
    """The machine's fault in plain words; None for numbers that a bug of ours gives as well.

    `place` is told where the error does not name a file itself.
    """
    if error.errno not in MACHINE:
        return None
    where, words = error.filename or place, os.strerror(error.errno)
    message = f"{where}: {words}" if where else words
    rule, hint = "machine.refused", f"next: ls -ld {_there(where)}; is it yours to read and write?"
    if error.errno in FULL:
        rule = "machine.disk-full"
        hint = "next: make room (df -h, ulimit -f); the same command goes on where it stopped"
    return InfrastructureError(message, rule=rule, hint=hint)


def _there(place: object) -> str:
    """The place, or the lowest folder above it that can be seen."""
    path = Path(str(place or "."))
    return str(next((p for p in (path, *path.parents) if os.path.lexists(p)), path))
