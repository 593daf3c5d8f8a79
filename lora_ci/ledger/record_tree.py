"""Adds files to a commit by plumbing alone: no index, no work tree, no ref, so nothing to lock."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from lora_ci.changes.git import Repository, words
from lora_ci.changes.tree import TreeEntry
from lora_ci.core.errors import InfrastructureError
from lora_ci.ledger.record_file import RecordFile

BY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "lora-ci"), ("EMAIL", "noreply"))
}

Folders = dict[str, dict[str, TreeEntry]]


def write_blobs(repo: Repository, files: Iterable[RecordFile]) -> dict[str, str]:
    """Puts files into the repository's objects; their ids by path. Raises InfrastructureError."""
    files = list(files)
    with tempfile.TemporaryDirectory(prefix="lora-ci-") as folder:
        places = [Path(folder) / str(number) for number in range(len(files))]
        for file, place in zip(files, places, strict=True):
            place.write_bytes(file.data)
        given = "".join(f"{place}\n" for place in places).encode()
        out = _out(repo, "hash-object", "-w", "--no-filters", "--stdin-paths", given=given)
    return dict(zip((file.path for file in files), out.split(), strict=True))


def add_to_tree(repo: Repository, commit: str | None, blobs: Mapping[str, str]) -> str | None:
    """A commit on top of one, with blobs by path; None if it has them all.

    Where two writers gave one path different bytes, the larger id stays, whoever comes first.
    Raises InfrastructureError.
    """
    listed = {e.path: e for e in repo.listed("-t", commit)} if commit else {}
    new = {path: oid for path, oid in blobs.items() if _counts(oid, listed.get(path))}
    if not new:
        return None
    tree = _write_trees(repo, _folders(listed.values(), new), new)
    what = "a record" if len(new) == 1 else f"{len(new)} records"
    parents = ("-p", commit) if commit else ()
    done = _out(repo, "commit-tree", "--no-gpg-sign", tree, *parents, "-m", f"Keep {what}")
    return done.strip()


def _counts(oid: str, there: TreeEntry | None) -> bool:
    return there is None or there.kind != "blob" or there.oid < oid


def _folders(listed: Iterable[TreeEntry], new: Mapping[str, str]) -> Folders:
    """What lies in the folders that change, as it was."""
    folders: Folders = {str(parent): {} for path in new for parent in PurePosixPath(path).parents}
    for entry in listed:
        above, _, name = entry.path.rpartition("/")
        if (above or ".") in folders:
            folders[above or "."][name] = entry
    return folders


def _write_trees(repo: Repository, folders: Folders, new: Mapping[str, str]) -> str:
    """Writes the changed folders, the deepest first, a git process for each depth."""
    for path, oid in new.items():
        above, _, name = path.rpartition("/")
        folders[above or "."][name] = TreeEntry(path, "100644", "blob", oid)
    by_depth: dict[int, list[str]] = defaultdict(list)
    for folder in folders:
        by_depth[0 if folder == "." else folder.count("/") + 1].append(folder)
    for depth in sorted(by_depth, reverse=True):
        texts = (_tree_text(folders[folder]) for folder in by_depth[depth])
        out = _out(repo, "mktree", "-z", "--missing", "--batch", given=b"\0".join(texts))
        for folder, tree in zip(by_depth[depth], out.split(), strict=True):
            if folder == ".":
                return tree
            above, _, name = folder.rpartition("/")
            folders[above or "."][name] = TreeEntry(folder, "040000", "tree", tree)
    raise AssertionError("every path has the root above it")


def _tree_text(entries: Mapping[str, TreeEntry]) -> bytes:
    lines = (f"{e.mode} {e.kind} {e.oid}\t{name}\0" for name, e in entries.items())
    return "".join(lines).encode(errors="surrogateescape")


def _out(repo: Repository, *args: str, given: bytes = b"") -> str:
    done = repo.git(*args, given=given, env=BY)
    if done.returncode != 0:
        message = f"{repo.root}: git {args[0]}: {words(done)}"
        raise InfrastructureError(message, hint="next: df -h .; git fsck")
    return done.stdout.decode()
