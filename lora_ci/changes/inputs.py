"""A path of the config at a commit → what stands there: content id and files."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.changes.git import Tree
from lora_ci.changes.manifest import check_paths, parse_manifest, parse_pointer
from lora_ci.changes.objects import Objects
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """What a commit, or a folder, says of one input.

    `content_id` is the md5 of DVC's manifest or git's tree id: equal ids, equal bytes.
    `entries` is None where the manifest cannot be read. `missing` are paths that are in the
    manifest but not in the DVC remote.
    """

    path: str
    tracked_by: str
    content_id: str
    entries: tuple[FileEntry, ...] | None
    missing: tuple[str, ...] = ()


def resolve_input(tree: Tree, path: str, objects: Objects) -> InputFacts | None:
    """The input at `path`: `path.dvc`, else a folder or file in git; None if neither exists."""
    path = path.rstrip("/")
    pointer_file = f"{path}.dvc"
    text = tree.read(pointer_file)
    if text is not None:
        return _dvc_input(path, parse_pointer(text, pointer_file).md5, pointer_file, objects)
    entry = tree.entries.get(path)
    if entry is None:
        return None
    files = tree.files(path) if entry.kind == "tree" else (entry,)
    odd = next((f for f in files if f.mode in ("120000", "160000")), None)
    if odd:
        kind = "a symbolic link" if odd.mode == "120000" else "a submodule"
        hint = f"next: put the files themselves below {path}"
        raise InputError(f"{odd.path} is {kind}; lora-ci does not follow it", hint=hint)
    inside = f"{path}/" if entry.kind == "tree" else path.removesuffix(path.rpartition("/")[2])
    entries = tuple(FileEntry(path=f.path.removeprefix(inside), content_id=f.oid) for f in files)
    check_paths((e.path for e in entries), path)
    return InputFacts(path=path, tracked_by="git", content_id=entry.oid, entries=entries)


def _dvc_input(path: str, md5: str, pointer_file: str, objects: Objects) -> InputFacts:
    if not md5.endswith(".dir"):
        entry = FileEntry(path=path.rpartition("/")[2], content_id=md5)
        missing = tuple(entry.path for _ in objects.not_pushed([md5]))
        return InputFacts(
            path=path, tracked_by="dvc", content_id=md5, entries=(entry,), missing=missing
        )
    manifest = objects.find(md5)
    if manifest is None:
        objects.not_pushed([md5])  # a remote that is not there is not the same as a missing push
        return InputFacts(path=path, tracked_by="dvc", content_id=md5, entries=None)
    entries = parse_manifest(manifest.read_bytes(), pointer_file)
    absent = objects.not_pushed(e.content_id for e in entries)
    missing = tuple(e.path for e in entries if e.content_id in absent)
    return InputFacts(path=path, tracked_by="dvc", content_id=md5, entries=entries, missing=missing)
