"""DVC's pointers: `x.dvc` files and the outputs in `dvc.lock`, read by our own strict parsers.

DVC's own reader obeys the config of the commit that it reads; ours reads two keys of an output.
Source: https://dvc.org/doc/user-guide/project-structure
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from lora_ci.config.document import Node, Where, parse_yaml
from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.finding import Finding, Severity

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
# What DVC writes for one output; anything else goes through the YAML parser.
USUAL = re.compile(
    rb"outs:\n- md5: ([0-9a-f]{32}(?:\.dir)?)\n"
    rb"(?:  (?:size: [0-9]+|nfiles: [0-9]+|hash: md5)\n)*"
    rb"  path: ([A-Za-z][\w./-]*)\n"
)
# 123e4567… is a number to YAML; DVC means text.
BARE_MD5 = re.compile(rb"^([ -]*md5: +)([0-9a-f]{32}(?:\.dir)?)(?= *\r?$)", re.MULTILINE)
WORDS = frozenset((b"true", b"false", b"null"))
# Some 100,000 outputs in one `dvc.lock`.
MAX_BYTES = 16_000_000
OTHER_HASHES = ("etag", "checksum", "version_id", "files", "cloud")
LOCK, STAGES = "dvc.lock", "dvc.yaml"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One output of DVC; `md5` ends in `.dir` for a folder.

    `path` is relative to the folder of the file that says so; `where` is that place.
    """

    md5: str
    path: str
    where: Where

    @property
    def is_folder(self) -> bool:
        """True if the object is a manifest of a folder."""
        return self.md5.endswith(".dir")

    @property
    def target(self) -> str:
        """The path of the output in the repository."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.where.file), self.path))


def parse_pointer(text: bytes, file: str) -> Pointer:
    """The one output of a `.dvc` file. Raises InputError that says what is wrong."""
    if (usual := USUAL.fullmatch(text)) and usual[2].lower() not in WORDS:
        return Pointer(usual[1].decode(), usual[2].decode(), Where(file, 2, 3))
    top = _document(text, file)
    outs = _value(top, "outs")
    if isinstance(outs, list) and len(outs) > 1:
        raise refused(f"{len(outs)} outputs; a dataset is one", top["outs"].where)
    if not isinstance(outs, list) or not outs:
        raise refused("no DVC pointer with one output and its md5", Where(file, 1))
    return _output(outs[0], _text(top, "wdir") or "")


def parse_lock(text: bytes, file: str, stages: bytes | None = None) -> tuple[Pointer, ...]:
    """The outputs in a `dvc.lock`; those without md5 are left out, as DVC has not made them.

    `stages` is the `dvc.yaml` beside it: paths are relative to the `wdir` of their stage.
    Raises InputError.
    """
    top = _document(text, file)
    schema = _value(top, "schema")
    if schema not in ("2.0", 2.0):
        raise refused(f"schema {schema!r}; known is 2.0", Where(file, 1), "next: dvc commit")
    folders = _working_folders(stages, file) if stages and b"wdir" in stages else {}
    found = _value(top, "stages")
    pointers = []
    for name, stage in found.items() if isinstance(found, dict) else ():
        outs = _value(stage.value, "outs")
        wdir = folders.get(name.partition("@")[0], "")
        for out in outs if isinstance(outs, list) else ():
            if "${" not in wdir and isinstance(out.value, dict) and "md5" in out.value:
                pointers.append(_output(out, wdir))
    return tuple(pointers)


def _working_folders(text: bytes, lock: str) -> dict[str, str]:
    """The `wdir` of each stage that has one."""
    top = _document(text, lock.removesuffix(LOCK) + STAGES)
    stages = _value(top, "stages")
    folders = {}
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        body = _value(stage.value, "do") or stage.value
        if wdir := _text(body, "wdir"):
            folders[name] = wdir
    return folders


def _document(text: bytes, file: str) -> dict[str, Node]:
    try:
        value = parse_yaml(BARE_MD5.sub(rb"\1'\2'", text), file, MAX_BYTES).value
    except UsageError as error:
        place = error.findings[0].location() or file
        raise InputError(f"{place}: {error}", findings=error.findings) from error
    if not isinstance(value, dict):
        raise refused("no mapping of keys and values, as DVC writes it", Where(file, 1))
    return value


def _output(out: Node, wdir: str) -> Pointer:
    md5, path = _text(out.value, "md5"), _text(out.value, "path")
    if md5 is None and isinstance(out.value, dict):
        other = next((name for name in OTHER_HASHES if name in out.value), None)
        if other:
            message = f"the output has `{other}` where an md5 is expected"
            hint = "next: dvc import-url --to-remote, or dvc add a copy: both give an md5"
            raise refused(message, out.value[other].where, hint)
    kind = _text(out.value, "hash")
    if kind not in (None, "md5"):
        raise refused(f"hash type `{kind[:40]}`; only md5 is read", out.where)
    if md5 is None or not MD5.fullmatch(md5) or not path:
        raise refused("no DVC pointer with one output and its md5", out.where)
    if path.startswith("/") or "\0" in path or "://" in path:
        raise refused(f"the output {path[:80]!r} is outside the repository", out.where)
    return Pointer(md5, posixpath.join(wdir, path), out.where)


def _value(value: object, key: str) -> object:
    node = value.get(key) if isinstance(value, dict) else None
    return node.value if isinstance(node, Node) else None


def _text(value: object, key: str) -> str | None:
    found = _value(value, key)
    return found if isinstance(found, str) else None


def refused(message: str, where: Where, hint: str | None = None) -> InputError:
    """A pointer that cannot be used, and where."""
    if hint is None:
        target = where.file.removesuffix(".dvc")
        hint = "next: dvc commit" if target.endswith(LOCK) else f"next: dvc add {target}"
    text = f"{where.file}: {message}"
    finding = Finding(
        rule="changes.pointer",
        severity=Severity.ERROR,
        message=text,
        file=where.file,
        line=where.line,
        column=where.column,
        hint=hint,
    )
    return InputError(text, findings=(finding,))
