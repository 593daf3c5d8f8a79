"""DVC's pointers: `x.dvc` files and the outputs in `dvc.lock`, read by our own strict parsers.

DVC's own reader obeys the config of the commit that it reads; ours reads two keys of an output.
Source: https://dvc.org/doc/user-guide/project-structure
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from lora_ci.changes.stages import STAGES, unread, working_folders
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
LOCK = "dvc.lock"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One output of DVC; `md5` ends in `.dir` for a folder.

    `path` is relative to the folder of the file that says so; `where` is that place. `unplaced`
    says why it is not known where the output lies; it has the name of its stage for a path then.
    """

    md5: str
    path: str
    where: Where
    unplaced: str | None = None

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
    usual = USUAL.fullmatch(text)
    if usual and usual[2].lower() not in WORDS and b".." not in usual[2]:
        return Pointer(usual[1].decode(), usual[2].decode(), Where(file, 2, 3))
    top = _document(text, file)
    outs = _value(top, "outs")
    if isinstance(outs, list) and len(outs) > 1:
        raise refused(f"{len(outs)} outputs; a dataset is one", top["outs"].where)
    if not isinstance(outs, list) or not outs:
        raise refused("no DVC pointer with one output and its md5", Where(file, 1))
    wdir = _text(top, "wdir") or ""
    if _leads_out(outs[0], wdir):
        path = _text(outs[0].value, "path") or ""
        raise refused(f"the output {path[:80]!r} is outside the repository", outs[0].where)
    return _output(outs[0], wdir)


def parse_lock(text: bytes, file: str, stages: bytes | None = None) -> tuple[Pointer, ...]:
    """The outputs in a `dvc.lock`, but those without md5 (not made yet) or outside the repository.

    `stages` is the `dvc.yaml` beside it: paths are relative to the `wdir` of their stage.
    Raises InputError.
    """
    top = _document(text, file)
    schema = _value(top, "schema")
    if schema not in ("2.0", 2.0):
        where = top["schema"].where if "schema" in top else Where(file, 1)
        raise refused(f"schema {schema!r}; known is 2.0", where)
    folders = working_folders(stages, file.removesuffix(LOCK) + STAGES) if stages else {}
    found = _value(top, "stages")
    pointers = []
    for name, stage in found.items() if isinstance(found, dict) else ():
        outs = _value(stage.value, "outs")
        wdir = folders.get(name.partition("@")[0], "")
        for out in outs if isinstance(outs, list) else ():
            if not isinstance(out.value, dict) or "md5" not in out.value:
                continue
            if "${" in wdir:
                pointers.append(_unplaced(_output(out, ""), name))
            elif not _leads_out(out, wdir):
                pointers.append(_output(out, wdir))
    return tuple(pointers)


def _unplaced(pointer: Pointer, stage: str) -> Pointer:
    """An output of a stage whose working folder only DVC could fill in."""
    why = f"stage {stage} has a wdir with ${{…}}, which lora-ci does not fill in"
    return replace(pointer, path=f"{LOCK}:{stage}/{pointer.path}", unplaced=why)


def _document(text: bytes, file: str) -> dict[str, Node]:
    try:
        value = parse_yaml(BARE_MD5.sub(rb"\1'\2'", text), file, MAX_BYTES).value
    except UsageError as error:
        raise unread(error, file, _mend(file)) from error
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
    return Pointer(md5, posixpath.join(wdir, path), out.where)


def _leads_out(out: Node, wdir: str) -> bool:
    """True for an output that lies outside the repository, or has no path on a disk."""
    path = _text(out.value, "path") or ""
    folder = posixpath.dirname(out.where.file)
    joined = posixpath.normpath(posixpath.join(folder, wdir, path))
    return joined.startswith("/") or joined.split("/")[0] == ".." or "\0" in path or "://" in path


def _value(value: object, key: str) -> object:
    node = value.get(key) if isinstance(value, dict) else None
    return node.value if isinstance(node, Node) else None


def _text(value: object, key: str) -> str | None:
    found = _value(value, key)
    return found if isinstance(found, str) else None


def refused(message: str, where: Where, hint: str | None = None) -> InputError:
    """A pointer that cannot be used, and where."""
    text = f"{where.file}: {message}"
    finding = Finding(
        rule="changes.pointer",
        severity=Severity.ERROR,
        message=text,
        file=where.file,
        line=where.line,
        column=where.column,
        hint=hint or _mend(where.file),
    )
    return InputError(text, findings=(finding,))


def _mend(file: str) -> str:
    """The command that writes a file of DVC anew."""
    if file.endswith(LOCK):
        return "next: dvc repro, or dvc commit"
    return f"next: dvc add {file.removesuffix('.dvc')}"
