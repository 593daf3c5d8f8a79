"""A dataset dealt out: to sites that cannot talk to each other, or to steps side by side."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.captions import METADATA, SIDECARS
from lora_ci.core.errors import InputError, UsageError
from lora_ci.training.data import Sample, read_metadata

Told = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Part `number`, from 1, of `count`: what a shard of `train.shards` trains on."""

    number: int
    count: int

    def of(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """Its samples. Raises InputError: there are too few for all parts to have one."""
        if len(samples) < self.count:
            message = f"{len(samples)} images to learn from, for {self.count} shards"
            hint = f"next: `train.shards` of at most {len(samples)}"
            raise InputError(message, rule="train.shards", hint=hint)
        return split(samples, self.count)[self.number - 1]


def split(samples: Sequence[Sample], sites: int) -> tuple[tuple[Sample, ...], ...]:
    """Every sample at exactly one site, each concept evenly at all of them.

    Sites have the same number of samples but for one, and so they have of each concept. Content
    decides who gets what: other names of pictures move none within their concept.

    Raises:
        UsageError: fewer samples than sites, or no site.
    """
    if not 1 <= sites <= len(samples):
        message = f"{len(samples)} images for {sites} sites: each needs one at least"
        raise UsageError(message, hint=f"next: --sites from 1 to {len(samples)}")
    # One turn after the other through concept after concept: both come out even.
    order = sorted(samples, key=lambda s: (concept_of(s), s.sha256, _own_caption(s), s.name))
    return tuple(
        tuple(sorted(order[site::sites], key=lambda sample: sample.name)) for site in range(sites)
    )


def concept_of(sample: Sample) -> str:
    """What a sample shows: its folder in the dataset, else the first part of its caption."""
    folder = sample.name.rpartition("/")[0]
    return folder or _own_caption(sample).partition(",")[0].strip().lower()


def _own_caption(sample: Sample) -> str:
    """What was written for it: a trigger that stands in for a caption tells pictures not apart."""
    return sample.caption if sample.captioned else ""


def write_shards(
    dataset: Path,
    shards: Sequence[Sequence[Sample]],
    out: Path,
    *,
    link: bool = False,
    told: Told | None = None,
) -> tuple[Path, ...]:
    """A folder for each shard below `out`, which must not be there yet; all of them or none.

    Pictures keep their paths, text files beside them come along, and lines of a `metadata.jsonl`
    go to one at the top of each folder. `link` makes hard links in place of copies.
    """
    listed = {name: caption.text for name, caption in read_metadata(dataset).items()}
    building = out.with_name(f".{out.name}.{os.getpid()}")
    total = sum(map(len, shards))
    done = 0
    try:
        for number, shard in enumerate(shards, 1):
            folder = building / f"site-{number}"
            for sample in shard:
                _place(sample.path, folder / sample.name, link=link)
                done += 1
                if told:
                    told(done, total, folder.name)
            _write_metadata(folder, {s.name: listed[s.name] for s in shard if s.name in listed})
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return tuple(out / f"site-{number}" for number in range(1, len(shards) + 1))


def _place(picture: Path, target: Path, *, link: bool) -> None:
    """The picture and the text files beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (picture.suffix, *SIDECARS):
        source = picture.with_suffix(suffix)
        if suffix != picture.suffix and not source.is_file():
            continue
        put = os.link if link else shutil.copyfile
        put(source.resolve(), target.with_suffix(suffix))


def _write_metadata(folder: Path, captions: Mapping[str, str]) -> None:
    if captions:
        rows = ({"file_name": name, "text": text} for name, text in sorted(captions.items()))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / METADATA).write_text("".join(lines), encoding="utf-8")
