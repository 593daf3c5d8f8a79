"""All DVC files of a commit → its outputs by path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.changes.pointer import LOCK, Pointer, parse_lock, parse_pointer, refused
from lora_ci.changes.stages import STAGES
from lora_ci.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Outs:
    """The outputs by their paths in the repository; `broken` are files that say none."""

    by_path: Mapping[str, Pointer]
    broken: Mapping[str, InputError]

    def above(self, path: str) -> Pointer | None:
        """The output at `path`, or the folder among the outputs that `path` lies in.

        Raises:
            InputError: there is none, but a broken file stands where it would be named, or an
                output could lie there whose place is not known.
        """
        inside = path
        while inside:
            pointer = self.by_path.get(inside)
            if pointer and not pointer.unplaced and (pointer.is_folder or inside == path):
                return pointer
            inside = inside.rpartition("/")[0]
        for file, error in self.broken.items():
            target = file.removesuffix(".dvc")
            if file.endswith(".dvc"):
                named = path == target or path.startswith(f"{target}/")
            else:
                named = path.startswith(_folder(file))
            if named:
                raise error
        for pointer in self.by_path.values():
            if pointer.unplaced and path.startswith(_folder(pointer.where.file)):
                hint = "next: write the folder out, without ${…}, in dvc.yaml"
                raise refused(pointer.unplaced, pointer.where, hint)
        return None


def _folder(file: str) -> str:
    """The folder of a file with a slash at its end; nothing for the top."""
    return file.removesuffix(file.rpartition("/")[2])


def is_pointer_file(path: str) -> bool:
    """True for the files in which DVC names outputs, and for the stages that these come from."""
    return path.endswith(".dvc") or path.rpartition("/")[2] in (LOCK, STAGES)


def read_outs(texts: Mapping[str, bytes], links: Mapping[str, InputError]) -> Outs:
    """The outputs that the files name; `links` are files that cannot be read."""
    by_path: dict[str, Pointer] = {}
    broken = dict(links)
    for file, text in texts.items():
        try:
            for pointer in pointers_of(file, text, texts):
                by_path[pointer.target] = pointer
        except InputError as error:
            broken[file] = error
    return Outs(by_path, broken)


def pointers_of(file: str, text: bytes, texts: Mapping[str, bytes]) -> tuple[Pointer, ...]:
    """The outputs that one file names; `texts` has the stages beside it. Raises InputError."""
    if file.endswith(".dvc"):
        return (parse_pointer(text, file),)
    if file.endswith(STAGES):
        return ()
    return parse_lock(text, file, texts.get(file.removesuffix(LOCK) + STAGES))
