"""The machine as checks see it: programs, HTTP, disks, the clock, what is installed."""

from __future__ import annotations

import ast
import http.client
import importlib.util
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from lora_ci.core.errors import InfrastructureError

# Below the limit of a check, so that what hangs is ended and told by its name.
TIMEOUT_S = 8.0
MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system; some have no fixed number of inodes, then `inodes` is 0."""

    free_bytes: int
    free_inodes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Torch:
    """PyTorch as installed; `cuda` is the CUDA it was built for, None for the CPU alone."""

    version: str
    cuda: str | None


class Machine(Protocol):
    """What checks ask; tests answer as other machines would."""

    def run(self, *command: str) -> Ran | None:
        """Runs a program without a prompt; None if there is none. Raises InfrastructureError."""
        ...

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """An HTTP answer of any status, no redirect followed. Raises InfrastructureError."""
        ...

    def disk(self, folder: Path) -> Disk:
        """The file system that holds the folder."""
        ...

    def mounts(self) -> str:
        """What is mounted where. Source: proc(5), mountinfo."""
        ...

    def now(self) -> datetime:
        """Aware time."""
        ...

    def torch(self) -> Torch | None:
        """PyTorch, if it is installed."""
        ...


class ThisMachine:
    """The real one."""

    def run(self, *command: str) -> Ran | None:
        quiet = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        }
        if shutil.which(command[0]) is None:
            return None
        # Of its own, so that what it has started ends with it.
        process = subprocess.Popen(
            command,
            env=quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, 9)
            process.communicate()
            message = f"`{command[0]}` did not end within {TIMEOUT_S:.0f} s"
            hint = f"next: try it by hand: {command[0]}"
            raise InfrastructureError(message, hint=hint) from late
        return Ran(process.returncode, out, err)

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310
        try:
            with OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return _read(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return _read(refused)
        except (OSError, ValueError, http.client.HTTPException) as problem:
            reason = getattr(problem, "reason", None) or problem
            place = url.partition("?")[0]
            message = f"{place} gives no answer: {reason}"
            hint = "next: is the address right, and is a proxy or a firewall between?"
            raise InfrastructureError(message, hint=hint) from problem

    def disk(self, folder: Path) -> Disk:
        found = os.statvfs(folder)
        return Disk(
            free_bytes=found.f_bavail * found.f_frsize,
            free_inodes=found.f_favail,
            inodes=found.f_files,
        )

    def mounts(self) -> str:
        try:
            return Path("/proc/self/mountinfo").read_text(errors="replace")
        except OSError:
            return ""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def torch(self) -> Torch | None:
        found = importlib.util.find_spec("torch")
        if found is None or found.origin is None:
            return None
        # Importing it takes longer than all the checks.
        file = Path(found.origin).with_name("version.py")
        named = {
            target.id: node.value
            for node in ast.walk(ast.parse(file.read_text()))
            for target in _targets(node)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        }
        version, cuda = (
            value.value if isinstance(value := named.get(name), ast.Constant) else None
            for name in ("__version__", "cuda")
        )
        return Torch(str(version), str(cuda) if cuda else None)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a token would go along."""

    def redirect_request(self, *_: object) -> None:
        return None


OPENER = urllib.request.build_opener(_Stay)


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError) -> Answer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status or 0, headers, answer.read(MAX_BODY_BYTES))


def _targets(node: ast.AST) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [*targets, node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target for target in targets if isinstance(target, ast.Name)]
