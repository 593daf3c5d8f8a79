"""A path of the config at a commit → what stands there: content id and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lora_ci.changes.manifest import read_manifest
from lora_ci.changes.objects import Objects
from lora_ci.changes.paths import check_paths
from lora_ci.changes.pointer import Pointer, parse_pointer
from lora_ci.changes.tree import SUBMODULE, SYMLINK, Tree, TreeEntry, not_followed, printable
from lora_ci.core.changeset import FileEntry, kind_of
from lora_ci.core.errors import InputError

LFS = b"version https://git-lfs.github.com/spec/v1\n"
LFS_MAX_BYTES = 1024
# No image is as small as a pointer is.
LFS_USUAL_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """What a commit, or a folder, says of one input.

    `content_id` is the md5 of DVC's manifest or git's tree id: equal ids, equal bytes.
    `entries` is None where the manifest cannot be read. `missing` are paths that are in the
    manifest but not in the DVC remote. `pointer` is what DVC's commands call it by, if it is DVC's.
    """

    path: str
    tracked_by: str
    content_id: str
    entries: tuple[FileEntry, ...] | None
    missing: tuple[str, ...] = ()
    pointer: str | None = None


def resolve_input(tree: Tree, path: str, objects: Objects) -> InputFacts | None:
    """The input at `path`; None if nothing is there.

    It is an output of DVC (`path.dvc`, or named by another pointer or a `dvc.lock`), what lies in
    one that is a folder, or a folder or file in git. Raises InputError.
    """
    path = path.rstrip("/")
    text = tree.read(f"{path}.dvc")
    pointer = parse_pointer(text, f"{path}.dvc") if text is not None else None
    if pointer is None or pointer.target != path:
        entry = tree.entries.get(path)
        if entry:
            return _git_input(tree, entry)
        above = _ancestor(tree, path)
        if above:
            raise not_followed(above, path)
        pointer = tree.outs.above(path)
    return _dvc_input(pointer, path, objects) if pointer else None


def _ancestor(tree: Tree, path: str) -> TreeEntry | None:
    """The link or submodule that a path leads through."""
    while path := path.rpartition("/")[0]:
        entry = tree.entries.get(path)
        if entry and entry.mode in (SYMLINK, SUBMODULE):
            return entry
    return None


def _git_input(tree: Tree, entry: TreeEntry) -> InputFacts:
    path = entry.path
    files = tree.files(path) if entry.kind == "tree" else (entry,)
    odd = next((f for f in files if f.mode in (SYMLINK, SUBMODULE)), None)
    if odd:
        raise not_followed(odd, path)
    pointers = [f.path.removesuffix(".dvc") for f in files if f.path.endswith(".dvc")]
    if pointers:
        message = f"`{path}` holds datasets of DVC, and is none itself"
        raise InputError(message, hint=f"next: name them one by one, such as {pointers[0]}")
    inside = f"{path}/" if entry.kind == "tree" else path.removesuffix(path.rpartition("/")[2])
    entries = tuple(FileEntry(path=f.path.removeprefix(inside), content_id=f.oid) for f in files)
    check_paths([e.path for e in entries], path)
    _refuse_lfs(tree, files)
    return InputFacts(path=path, tracked_by="git", content_id=entry.oid, entries=entries)


def _refuse_lfs(tree: Tree, files: tuple[TreeEntry, ...]) -> None:
    """Git has only pointers of what Git LFS keeps; looking into each small file tells.

    Where no attributes speak of LFS only the images, and in a partial clone none: each look is a
    fetch there.
    """
    most = LFS_MAX_BYTES if tree.uses_lfs else LFS_USUAL_BYTES
    if not tree.uses_lfs:
        files = tuple(f for f in files if kind_of(f.path) == "image")
        if not files or tree.is_partial:
            return
    sizes = zip(files, tree.repo.sizes(f.oid for f in files), strict=True)
    small = [f for f, size_bytes in sizes if size_bytes <= most]
    texts = tree.repo.blobs(f.oid for f in small)
    found = [f for f, text in zip(small, texts, strict=True) if text.startswith(LFS)]
    if found:
        first = printable(found[0].path)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        message = f"{first}{more} is a Git LFS pointer; lora-ci does not follow it"
        hint = f"next: git lfs untrack '{first}', then git rm --cached and dvc add its folder"
        raise InputError(message, hint=hint)


def _dvc_input(pointer: Pointer, path: str, objects: Objects) -> InputFacts:
    md5, file = pointer.md5, pointer.where.file
    facts = InputFacts(
        path=path,
        tracked_by="dvc",
        content_id=md5,
        entries=None,
        pointer=file if file.endswith(".dvc") else pointer.target,
    )
    if not pointer.is_folder:
        entry = FileEntry(path=path.rpartition("/")[2], content_id=md5)
        missing = tuple(entry.path for _ in objects.not_pushed([md5]))
        return replace(facts, entries=(entry,), missing=missing)
    manifest = objects.find(md5)
    if manifest is None:
        objects.not_pushed([md5])  # a remote that is not there is not the same as a missing push
        return facts
    entries = read_manifest(manifest, md5, file, mend=objects.mend(manifest))
    if path != pointer.target:
        entries = below(entries, path.removeprefix(f"{pointer.target}/"))
        md5 = folder_id(entries)
        if not entries:
            message = f"`{path}` is not in the manifest of {file}"
            raise InputError(message, hint=f"next: dvc add {pointer.target} with it inside")
    absent = objects.not_pushed(e.content_id for e in entries)
    missing = tuple(e.path for e in entries if e.content_id in absent)
    return replace(facts, content_id=md5, entries=entries, missing=missing)


def below(entries: Iterable[FileEntry], path: str) -> tuple[FileEntry, ...]:
    """The entries below a folder of a manifest, or the one that is a file there."""
    inside = f"{path}/"
    return tuple(
        FileEntry(
            path=e.path.removeprefix(inside) if e.path != path else path.rpartition("/")[2],
            content_id=e.content_id,
        )
        for e in entries
        if e.path == path or e.path.startswith(inside)
    )


def folder_id(entries: Iterable[FileEntry]) -> str:
    """The content id that DVC would give to a folder with these files, sorted by path.

    Source: https://dvc.org/doc/user-guide/project-structure/internal-files
    """
    manifest = json.dumps([{"md5": e.content_id, "relpath": e.path} for e in entries])
    return hashlib.md5(manifest.encode(), usedforsecurity=False).hexdigest() + ".dir"
