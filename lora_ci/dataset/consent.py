"""Datasheets that people write: of whom a dataset shows pictures, and what they agreed to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import yaml

from lora_ci.core.finding import Finding
from lora_ci.core.settings import LoraType
from lora_ci.dataset.decode import UnreadableError, read_file
from lora_ci.dataset.rules import finding

NAMES = ("datasheet.yml", "datasheet.yaml")
MAX_BYTES = 1 << 20
HINT = "write `consent: who agreed, to what, when` into it; see docs/dataset-safety.md"


class Datasheet(msgspec.Struct, frozen=True, kw_only=True):
    """What people tell of a dataset; other keys are theirs. `people`: it shows real ones."""

    license: str | None = None
    origin: str | None = None
    consent: str | None = None
    people: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheets:
    """By the folder of each, "" for the whole dataset; and those that cannot be read."""

    by_folder: Mapping[str, Datasheet]
    findings: tuple[Finding, ...]

    def nearest(self, image: str) -> Datasheet:
        """That of the folder of an image, or of the next one above that has one."""
        for folder in PurePosixPath(image).parents:
            if found := self.by_folder.get("" if folder == PurePosixPath() else str(folder)):
                return found
        return Datasheet()


def is_datasheet(name: str) -> bool:
    """True for the name of one, in whatever folder."""
    return PurePosixPath(name).name in NAMES


def read_datasheets(folder: Path, names: Collection[str]) -> Datasheets:
    """All datasheets of a dataset; what is none is a finding."""
    found, findings = {}, []
    for name in filter(is_datasheet, names):
        try:
            data = read_file(folder / name)
            if len(data) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            told = yaml.safe_load(data)
            sheet = msgspec.convert({} if told is None else told, type=Datasheet, strict=True)
        except (UnreadableError, yaml.YAMLError, ValueError, RecursionError) as error:
            message = f"no datasheet: {str(error).splitlines()[0][:200]}"
            findings.append(finding("datasheet.unreadable", message, file=name))
            continue
        parent = PurePosixPath(name).parent
        found["" if parent == PurePosixPath() else str(parent)] = sheet
    return Datasheets(by_folder=found, findings=tuple(findings))


def consent_findings(
    sheets: Datasheets, images: Collection[str], kind: LoraType, people: Collection[str]
) -> list[Finding]:
    """An error where pictures of people come without consent.

    Those are: all of a LoRA of type `character` and all of a datasheet with `people: true`, but
    none where it says `people: false`; and `people`, in which a detector saw one, in any case.
    """
    without = []
    for image in images:
        sheet = sheets.nearest(image)
        if (sheet.consent or "").strip():
            continue
        asks = sheet.people if sheet.people is not None else kind is LoraType.CHARACTER
        if asks or image in people:
            without.append(image)
    if not without:
        return []
    seen = len(set(without) & set(people))
    why = f"a detector sees people in {seen} of them" if seen else "they show people"
    message = f"{len(without)} images without consent, such as {without[0]}: {why}"
    return [finding("consent.missing", message, file=NAMES[0], hint=HINT)]
