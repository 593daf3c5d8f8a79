"""Every file of a dataset, shown to scanners of files; what is known of the same bytes is kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding
from lora_ci.dataset.known import KnownAnswers
from lora_ci.dataset.rules import finding

# ClamAV's own bound of a stream; more is nowhere near a training picture or its caption.
MAX_FILE_BYTES = 100 * 2**20


class FileScanner(Protocol):
    """Looks into the bytes of files of any kind."""

    @property
    def name(self) -> str:
        """How people call it."""
        ...

    def identity(self) -> str | None:
        """All that its answers depend on: its version, its signatures or rules.

        None where it does not say, so that no answer can be kept. Raises InfrastructureError.
        """
        ...

    def scan(self, data: bytes) -> tuple[str, ...]:
        """Names of what it found; () for a clean file.

        Raises InfrastructureError where it cannot tell: that is never a clean file.
        """
        ...


def scan_files(
    folder: Path,
    names: Sequence[str],
    scanners: Iterable[FileScanner],
    cache: Path | None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> list[Finding]:
    """What the scanners find in the files of a folder. Links and special files are not opened.

    Bytes that the same scanner called clean before, by what `cache` keeps, are not shown again.

    Raises:
        InfrastructureError: a scanner cannot tell, or a file cannot be read.
    """
    findings = []
    asked = [(s, KnownAnswers(cache=cache, identity=s.identity())) for s in scanners]
    for number, name in enumerate(names if asked else (), 1):
        data = _read(folder / name)
        if data is not None:
            digest = sha256_bytes(data)
            for scanner, known in asked:
                if known.get(digest) is None:
                    if found := scanner.scan(data):
                        findings.append(_finding(scanner.name, found, name))
                    else:
                        known.put(digest, {})
        progress(number, len(names), "files scanned")
    return findings


def _finding(scanner: str, found: Sequence[str], file: str) -> Finding:
    message = f"{scanner} finds {', '.join(found[:5])} in it"
    hint = "do not open it: remove it here and in DVC's remote, and ask who added it"
    return finding("scan.found", message, file=file, hint=hint)


def _read(path: Path) -> bytes | None:
    """The bytes of a file; None for what is no regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not path.is_symlink() and path.is_file():
            message = f"{path}: {os.strerror(error.errno or 0)}: it was not scanned"
            raise InfrastructureError(message, rule="scan.fails") from error
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        message = f"{path.name} has more than {MAX_FILE_BYTES >> 20} MiB: it was not scanned"
        hint = "remove it, or set `validate.antivirus: off` and no `validate.yara`"
        raise InfrastructureError(message, rule="scan.too-large", hint=hint)
    return data
