"""What lies in a folder of kohya's: folders of pictures with repeats, TOML files, metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lora_ci.config.document import MAX_BYTES, Node
from lora_ci.config.kohya import is_train_file
from lora_ci.config.toml_document import parse_toml
from lora_ci.core.changeset import READ_IMAGES
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.text import clean

# What kohya's trainer reads beside what ours does.
OTHER_IMAGES = (".bmp", ".avif", ".jxl")
MAX_FOLDERS = 20_000
MAX_REPEATS = 1000
MAX_TOMLS = 100
REGULARIZATION = {"reg", "regs", "reg_data", "reg_images", "regularization", "regularisation"}
METADATA = (".json", ".jsonl")
FOREIGN = {"pyproject.toml", "package.json", "metadata.jsonl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Pictures that count `repeats` times an epoch; `path` is seen from the top of the repository.

    `concept` is kohya's caption of a picture without one. `images` are names of files directly in
    the folder: kohya looks no deeper. `source` says where repeats and concept stand.
    """

    path: str
    images: tuple[str, ...]
    repeats: int = 1
    concept: str = ""
    numbered: bool = False
    source: str = "the folder's name"
    metadata: str | None = None
    extension: str | None = None

    @property
    def parent(self) -> str:
        """The folder that holds it."""
        return self.path.rpartition("/")[0]


@dataclass(slots=True, kw_only=True)
class Layout:
    """All that was found. `plain` folders have pictures and no number in their name."""

    numbered: list[Folder] = field(default_factory=list)
    regularization: list[Folder] = field(default_factory=list)
    plain: list[Folder] = field(default_factory=list)
    train_files: dict[str, Node] = field(default_factory=dict)
    dataset_files: dict[str, Node] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def tell(
        self, rule: str, message: str, file: str | None = None, hint: str | None = None
    ) -> None:
        """Adds what kohya's files say and the config cannot."""
        self.findings.append(told(rule, message, file, hint))


def told(
    rule: str,
    message: str,
    file: str | None = None,
    hint: str | None = None,
    *,
    line: int | None = None,
) -> Finding:
    """A warning about something that was not taken as it is."""
    return Finding(
        rule=f"import.{rule}",
        severity=Severity.WARNING,
        message=clean(message),
        file=clean(file) if file else None,
        line=line,
        hint=hint,
    )


def many(number: int, what: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {what}{'s' * (number != 1)}"


def look(root: Path, folder: Path) -> Layout:
    """Looks through a folder below `root`; links and hidden folders are left out.

    Raises:
        UsageError: there are too many folders, or a TOML file cannot be read.
    """
    layout = Layout()
    start = folder.relative_to(root).as_posix()
    inside: set[str] = set()
    for path, names in _walk(root, folder, layout):
        images = _images(root, path, names, layout)
        if PurePosixPath(path).parent.as_posix() in inside:
            # Folders in a folder of pictures are nobody's: kohya does not look there.
            inside.add(path)
            if images:
                message = f"{many(len(images), 'picture')} below a folder of pictures"
                message += ": kohya leaves them out, here they count"
                layout.tell("nested", message, path, "move them elsewhere")
            continue
        if images:
            _sort(layout, path, images, start)
            if path != start or _number(path) is not None:
                inside.add(path)
        _files(root, path, names, layout)
    return layout


def _walk(root: Path, folder: Path, layout: Layout) -> Iterator[tuple[str, list[str]]]:
    for count, (where, inner, names) in enumerate(os.walk(folder)):
        if count >= MAX_FOLDERS:
            message = f"more than {MAX_FOLDERS} folders in {folder}"
            raise UsageError(message, hint="next: name the one that holds the pictures")
        path = Path(where).relative_to(root).as_posix()
        for name in inner:
            if os.path.islink(os.path.join(where, name)):
                layout.tell("link", "a link is not followed: git keeps no folder behind it", name)
            elif not plain(name) and not name.startswith("."):
                layout.tell(
                    "name", "a config cannot name this folder", f"{path}/{name}", "rename it"
                )
        inner[:] = sorted(
            n for n in inner if plain(n) and not os.path.islink(os.path.join(where, n))
        )
        odd = [n for n in names if n.lower().endswith(READ_IMAGES) and not n.startswith(".")]
        odd = [n for n in odd if not plain(n)]
        if odd:
            message = f"{many(len(odd), 'picture')} with control characters or `\\` in their names"
            layout.tell("name", message, path, "rename them")
        yield path, sorted(n for n in names if plain(n))


def _images(root: Path, path: str, names: list[str], layout: Layout) -> tuple[str, ...]:
    others = [name for name in names if name.lower().endswith(OTHER_IMAGES)]
    if others:
        kinds = ", ".join(sorted({PurePosixPath(name).suffix.lower() for name in others}))
        hint = f"convert them to {READ_IMAGES[0]}"
        layout.tell(
            "picture", f"{many(len(others), 'picture')} of kinds not read here: {kinds}", path, hint
        )
    images = [name for name in names if name.lower().endswith(READ_IMAGES)]
    links = [name for name in images if (root / path / name).is_symlink()]
    if links:
        message = f"{many(len(links), 'link')} in place of pictures, such as {links[0]}: not taken"
        layout.tell("link", message, path, "put the files themselves there")
    return tuple(name for name in images if name not in links)


def _sort(layout: Layout, path: str, images: tuple[str, ...], start: str) -> None:
    """Puts a folder of pictures where it belongs."""
    numbered = _number(path)
    below = PurePosixPath(path).relative_to(start).parts[:-1] if path != start else ()
    kept_apart = {part.lower() for part in below} & REGULARIZATION
    if numbered is None:
        layout.plain.append(Folder(path=path, images=images, concept=""))
        return
    repeats, concept = numbered
    if repeats < 1:
        message = f"{many(len(images), 'picture')} repeated {repeats} times: kohya leaves them out"
        layout.tell("repeats", f"{message}, and so does the config", path)
        return
    if repeats > MAX_REPEATS and not kept_apart:
        message = f"repeated {repeats} times: at most {MAX_REPEATS} here, which is taken"
        layout.tell("repeats", message, path)
    repeats = min(repeats, MAX_REPEATS)
    found = Folder(path=path, images=images, repeats=repeats, concept=concept, numbered=True)
    (layout.regularization if kept_apart else layout.numbered).append(found)


def _number(path: str) -> tuple[int, str] | None:
    """Repeats and concept of `N_concept`, as kohya reads them; None for another name."""
    before, _, concept = path.rpartition("/")[2].partition("_")
    try:
        return int(before), concept.strip()
    except ValueError:
        return None


def _files(root: Path, path: str, names: list[str], layout: Layout) -> None:
    for name in names:
        file = (PurePosixPath(path) / name).as_posix()
        if name in FOREIGN or (root / file).is_symlink():
            continue
        if (
            name.endswith(".toml")
            and len(layout.train_files) + len(layout.dataset_files) < MAX_TOMLS
        ):
            _toml(root, file, layout)
        elif name.endswith(METADATA) and name.startswith("meta"):
            layout.metadata.append(file)


def _toml(root: Path, file: str, layout: Layout) -> None:
    """A TOML file among kohya's, if it is one. Raises UsageError for one that cannot be read."""
    with (root / file).open("rb") as reader:
        node = parse_toml(reader.read(MAX_BYTES + 1), file)
    children = node.value if isinstance(node.value, dict) else {}
    if "datasets" in children and isinstance(children["datasets"].value, list):
        layout.dataset_files[file] = node
    elif is_train_file(node):
        layout.train_files[file] = node


def plain(name: str) -> bool:
    """True for a name that a config can hold."""
    return name.isprintable() and not name.startswith(".") and "\\" not in name
