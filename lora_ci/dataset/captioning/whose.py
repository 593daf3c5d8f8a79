"""Which pictures of a folder get a caption by models, and whose the captions are that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.captions import SIDECARS
from lora_ci.core.digest import sha256_bytes
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.build_features import Progress
from lora_ci.dataset.caption_files import MAX_BYTES, read_bytes, read_captions
from lora_ci.dataset.captioning.lock import Entry, State
from lora_ci.dataset.files import list_files, shown
from lora_ci.dataset.rules import finding
from lora_ci.dataset.verdicts import Verdicts
from lora_ci.dataset.worker import measure_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that may get a caption; `before` are the bytes of ours that it has."""

    name: str
    sha256: str
    before: bytes | None

    @property
    def file(self) -> str:
        return self.name.rpartition(".")[0] + SIDECARS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """The lock with what people wrote since, the pictures that they captioned, and the others.

    `findings` tell of pictures that can have no caption.
    """

    entries: Mapping[str, Entry]
    human: tuple[str, ...]
    free: tuple[Picture, ...]
    findings: tuple[Finding, ...]


def sort_out(
    folder: Path, lock: Mapping[str, Entry], cache: Path | None, progress: Progress
) -> Whose:
    """Looks at all pictures and captions of a folder."""
    findings: list[Finding] = []
    listing = list_files(folder)
    names = frozenset(listing.names)
    shas = _content(folder, _alone(listing.images, findings), findings, cache, progress)
    listed = read_captions(folder, listing.images, names, frozenset(), lambda _: None)
    entries = dict(lock)
    human, free, theirs = [], [], set()
    for name, sha256 in shas.items():
        owned, before = _owner(folder, name, lock.get(sha256), names)
        if owned is None and (before is not None or name not in listed):
            free.append(Picture(name=name, sha256=sha256, before=before))
            continue
        human.append(name)
        theirs.add(sha256)
        if owned:
            entries[sha256] = _of_a_person(sha256, owned, lock.get(sha256))
    # Of the same picture twice a person captioned one: no machine writes to the other.
    human += [picture.name for picture in free if picture.sha256 in theirs]
    return Whose(
        entries=entries,
        human=tuple(sorted(human)),
        free=tuple(picture for picture in free if picture.sha256 not in theirs),
        findings=tuple(findings),
    )


def _alone(images: Sequence[str], findings: list[Finding]) -> list[str]:
    """The images that share their text file with no other."""
    of_stem: dict[str, list[str]] = {}
    for name in images:
        of_stem.setdefault(name.rpartition(".")[0], []).append(name)
    for group in of_stem.values():
        for name in group[1:]:
            findings.append(
                Finding(
                    rule="caption.shared",
                    severity=Severity.WARNING,
                    message=f"no caption: its text file would be that of {shown(group[0])}",
                    file=name,
                    hint="rename one of them",
                )
            )
    return [group[0] for group in of_stem.values()]


def _content(
    folder: Path,
    images: Sequence[str],
    findings: list[Finding],
    cache: Path | None,
    progress: Progress,
) -> dict[str, str]:
    """The sha256 of each picture that can be decoded, which is tried in processes apart."""
    look = Verdicts(cache).measure if cache else measure_files
    measured = look(
        [folder / name for name in images],
        ValidateSettings().max_pixels,
        lambda done: progress("read", done, len(images)),
    )
    found = {}
    for name, one in zip(images, measured, strict=True):
        if one.hashes is not None:
            found[name] = one.sha256
        else:
            findings += [finding(rule, message, file=name) for rule, message in one.problems]
    return found


def _owner(
    folder: Path, name: str, entry: Entry | None, names: frozenset[str]
) -> tuple[str | None, bytes | None]:
    """The sha256 of a person's caption ("" for what cannot be read), else the bytes of ours."""
    stem = name.rpartition(".")[0]
    sidecars = [stem + suffix for suffix in SIDECARS if stem + suffix in names]
    if not sidecars:
        return None, None
    data = read_bytes(folder / sidecars[0], MAX_BYTES)
    if data is None:
        return "", None
    sha256 = sha256_bytes(data)
    if sidecars == [stem + SIDECARS[0]] and entry and entry.is_ours(sha256):
        return None, data
    return sha256, None


def _of_a_person(sha256: str, caption: str, entry: Entry | None) -> Entry:
    """What the lock says of it from now on; what models said of the picture stays known."""
    if entry is None or entry.state is State.HUMAN:
        return Entry(image=sha256, caption=caption, state=State.HUMAN)
    return replace(entry, caption=caption, state=State.EDITED, replaces=None)
