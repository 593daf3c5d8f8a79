"""The folder of one step: spec, progress, result. Files appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lora_ci.core.digest import canonical_json, sha256_bytes
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Progress, StepResult, StepSpec

# Of spec.json and result.json: raise it when a field changes its meaning or goes away.
FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
LAST_BYTES = 4096
# The time before the lines that we print about a step (strftime), and how to know them.
TOLD_AT = "%Y-%m-%dT%H:%M:%SZ"
TOLD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")
# The folder in a step's scratch that people look at afterwards.
LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """A result with the digest of its own canonical JSON: a torn file is never adopted."""

    format: int
    fingerprint: str
    digest: str
    result: StepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What is read first: files from before there were formats have none."""

    format: int = 0


@dataclass(frozen=True, slots=True)
class StepFolder:
    """Reads and writes the files of a step."""

    path: Path

    @property
    def workdir(self) -> Path:
        """Scratch that outlives a killed attempt."""
        return self.path / "work"

    @property
    def log(self) -> Path:
        """What the step's process printed."""
        return self.path / "log.txt"

    def write_spec(self, spec: StepSpec) -> None:
        """Makes the folder and its spec, which every attempt is given anew."""
        self.path.mkdir(parents=True, exist_ok=True)
        stored = {"format": FORMAT, **msgspec.to_builtins(spec)}
        write_whole(self.path / "spec.json", canonical_json(stored), durable=False)

    def read_spec(self) -> StepSpec:
        """The spec. Raises InfrastructureError if it is not readable, or of another format."""
        path = self.path / "spec.json"
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InfrastructureError(f"{path}: larger than {MAX_BYTES} bytes")
            data = path.read_bytes()
            check_format(path, data)
            return msgspec.json.decode(data, type=StepSpec)
        except (OSError, msgspec.DecodeError) as error:
            raise InfrastructureError(f"{path}: no readable step ({error})") from error

    def write_result(self, fingerprint: str, result: StepResult) -> None:
        """Seals and writes the result."""
        digest = sha256_bytes(canonical_json(result))
        sealed = _Sealed(format=FORMAT, fingerprint=fingerprint, digest=digest, result=result)
        write_whole(self.path / "result.json", canonical_json(sealed))

    def read_result(self, fingerprint: str) -> StepResult | None:
        """The result of this fingerprint; None if there is none, it is not whole, or it is huge.

        Raises InfrastructureError for one of another format.
        """
        path = self.path / "result.json"
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            data = path.read_bytes()
            check_format(path, data)
            sealed = msgspec.json.decode(data, type=_Sealed)
        except (OSError, msgspec.DecodeError):
            return None
        whole = sha256_bytes(canonical_json(sealed.result)) == sealed.digest
        return sealed.result if whole and sealed.fingerprint == fingerprint else None

    def last_result_age_s(self, now: float) -> float | None:
        """How old the file of the result is at a time (seconds since 1970); None without one."""
        try:
            return now - (self.path / "result.json").stat().st_mtime
        except OSError:
            return None

    def last_sign_age_s(self, now: float) -> float | None:
        """How old the last sign of life is at a time; None where no attempt gave one."""
        written = []
        for file in (self.path / "result.json", self.path / "progress.json", self.log):
            with suppress(OSError):
                written.append(file.stat().st_mtime)
        return now - max(written) if written else None

    def drop_result(self) -> None:
        """Forgets a result that is to be made again."""
        (self.path / "result.json").unlink(missing_ok=True)

    def drop_scratch(self) -> None:
        """Removes what only an attempt needs: checkpoints are large. Logs stay."""
        for path in self.workdir.iterdir() if self.workdir.is_dir() else ():
            if path.name == LOGS or path.suffix == ".log":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The last line that the step's process printed; empty if it printed nothing.

        Lines with the time are our own: what stands before them was no end.
        """
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LAST_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line for line in reversed(lines) if line.strip()), "")
        return "" if TOLD.match(last) else last.strip()

    def write_progress(self, progress: Progress) -> None:
        """Replaces the progress."""
        write_whole(self.path / "progress.json", msgspec.json.encode(progress), durable=False)

    def read_progress(self) -> Progress | None:
        """The newest progress, if there is any."""
        try:
            return msgspec.json.decode((self.path / "progress.json").read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return None


def check_format(path: Path, data: bytes) -> None:
    """Lets the format of this version pass.

    Raises:
        InfrastructureError: another version of lora-ci wrote it, in another format.
        msgspec.DecodeError: it is not JSON.
    """
    found = msgspec.json.decode(data, type=_Head).format
    if found == FORMAT:
        return
    if found > FORMAT:
        message = f"{path}: format {found}, from a newer lora-ci; this one reads {FORMAT}"
        raise InfrastructureError(message, hint="next: pip install --upgrade lora-ci")
    message = f"{path}: format {found}, from an older lora-ci; this one reads {FORMAT}"
    hint = f"next: rm {path}; the same command makes it anew"
    raise InfrastructureError(message, hint=hint)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a file in one move, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
