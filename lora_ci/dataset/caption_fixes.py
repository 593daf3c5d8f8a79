"""Faults of caption files that can be mended without changing a word."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.captions import SIDECARS
from lora_ci.core.errors import InputError
from lora_ci.dataset.caption_files import MAX_BYTES, read_bytes

BLANKS = " \t"
# Blanks, ends of lines and byte order marks, of which joined files have several.
BEGINS = " \t\r\n\ufeff"
SEEN = str.maketrans({"\ufeff": "\\ufeff", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A caption file, its bytes, and those it should have."""

    name: str
    before: bytes
    after: bytes

    def diff(self) -> str:
        """Lines that go and come; what cannot be seen is written out, blanks at ends as `·`."""
        lines = difflib.unified_diff(
            _seen(self.before), _seen(self.after), self.name, self.name, lineterm="", n=0
        )
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Puts a new file in the place of the old one, in one moment, with its rights.

        Raises:
            InputError: the file changed meanwhile.
        """
        path = folder / self.name
        if read_bytes(path, MAX_BYTES) != self.before:
            raise InputError(
                f"{self.name} changed while it was mended", hint="next: the same again"
            )
        # A file out of DVC's cache may be read-only; its new place is in the work tree.
        mode = stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".mended-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.after)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def find_fixes(folder: Path, images: Iterable[str], names: Collection[str]) -> Iterator[Fix]:
    """What can be mended of the text files beside the images; of others nothing is touched."""
    known = frozenset(names)
    stems = dict.fromkeys(image.rpartition(".")[0] for image in images)
    for name in (stem + suffix for stem in stems for suffix in SIDECARS):
        if name in known:
            before = read_bytes(folder / name, MAX_BYTES)
            after = mended(before) if before is not None else None
            if before is not None and after is not None and after != before:
                yield Fix(name=name, before=before, after=after)


def mended(data: bytes) -> bytes | None:
    """The caption without byte order mark, line ends of Windows and blanks at ends.

    None for what is no UTF-8 text, or nothing but blanks. The same again changes nothing more.
    """
    try:
        text = data.decode().lstrip(BEGINS)
    except UnicodeDecodeError:
        return None
    if "\0" in text or not text.strip():
        return None
    lines = [line.strip(BLANKS) for line in re.split(r"\r\n|\r|\n", text)]
    end = "\n" if not lines[-1] else ""
    return ("\n".join(lines).strip("\n") + end).encode()


def _seen(data: bytes) -> list[str]:
    shown = []
    for line in data.decode("utf-8", "backslashreplace").split("\n"):
        bare = line.rstrip(" ")
        text = bare + "·" * (len(line) - len(bare))
        shown.append("".join(c if c.isprintable() else _code(c) for c in text.translate(SEEN)))
    return shown


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()
