"""Which pictures of a folder a dataset is made of, and why: nothing is written here.

1. What the checks refuse is unfit. 2. Of pictures that are nearly the same the best is kept.
3. Of what is left a part is chosen that stands for all of it (`select.py`). 4. Of those that are
not chosen the ones that stand best for these are held out; none is nearly the same as a chosen one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.captions import Caption
from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.dataset.build_features import Progress, features_of
from lora_ci.dataset.build_plan import FOLDERS, BuildPlan, BuildSettings, Fate, Picture
from lora_ci.dataset.caption_files import read_captions
from lora_ci.dataset.consent import Datasheet, read_datasheets
from lora_ci.dataset.duplicates import Pair, find_pairs
from lora_ci.dataset.files import list_files, shown
from lora_ci.dataset.judge import image_findings
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.select import (
    Choice,
    Features,
    Selection,
    clusters,
    keep_best,
    select,
)
from lora_ci.dataset.verdicts import Verdicts
from lora_ci.dataset.worker import measure_files

if TYPE_CHECKING:
    from lora_ci.ruler.feature_cache import CachedEmbedder

# Flaws that the written form does not have any more.
MENDED = frozenset(
    {
        "image.wrong-extension",
        "image.mode",
        "image.profile",
        "image.trailing-data",
        "privacy.metadata",
    }
)
# What the size of a picture, which is a part of its quality, says already.
SIZED = frozenset({"image.enlarged"})
# Warnings by which a picture is unfit like by an error: what is blurred teaches blur.
UNFIT = frozenset({"image.blurred"})
# F / n is then the mean likeness to the chosen and this share of their mean quality.
QUALITY_WEIGHT = 0.3
# What one flaw leaves of a picture's quality.
FLAWED = 0.5
# The side in pixels from which a picture is large enough, where no size is asked for.
LARGE_SIDE = 1024
LONGEST_STEM = 40
# Another version of one may write other bytes.
LIBRARIES = ("pillow", "numpy")
REASONS_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and where the content of each picture lies, by sha256."""

    plan: BuildPlan
    files: Mapping[str, Path]


def plan_build(
    source: Path,
    settings: BuildSettings,
    *,
    embedder: CachedEmbedder | None = None,
    cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Planned:
    """Looks at all pictures and decides what becomes of each.

    By `embedder`, or else by small pictures, they are compared; what was measured before of files
    in `cache` is not again.

    Raises:
        UsageError: a pinned picture is not there, or more are pinned than wanted.
        InputError: too few pictures can be used, or one changed meanwhile.
    """
    listing = list_files(source)
    names = listing.images
    pins = _pins(settings, names)
    look = Verdicts(cache).measure if cache else measure_files
    measured = look(
        [source / name for name in names],
        settings.checks.max_pixels,
        lambda done: progress("measure", done, len(names)),
    )
    told: list[Finding] = []
    captions = read_captions(source, names, frozenset(listing.names), frozenset(), told.append)
    checks = replace(settings.checks, resolution=settings.form.size)
    flaws = _flaws(names, image_findings(names, measured, checks))
    everything = [
        _picture(name, one, flaws[name], settings, captions.get(name), pinned=name in pins)
        for name, one in zip(names, measured, strict=True)
    ]
    # By content, so that no name and no order of files decides.
    fit = sorted(
        (i for i, picture in enumerate(everything) if picture.fate is not Fate.UNFIT),
        key=lambda i: (everything[i].sha256, everything[i].name),
    )
    # What is unfit stands behind them: it may be the link that joins a burst of pictures.
    unfit = sorted(set(range(len(measured))).difference(fit))
    links = [measured[i] for i in unfit if measured[i].hashes is not None]
    looked_at = [*(measured[i] for i in fit), *links]
    linked = find_pairs(looked_at, looked_at, settings.checks.near_duplicate_distance)
    pairs = [pair for pair in linked if max(pair.first, pair.second) < len(fit)]
    sifted = _sift([everything[i] for i in fit], pairs)
    kept = [at for at, picture in enumerate(sifted) if picture.fate is not Fate.DUPLICATE]
    wanted = settings.target + settings.references
    if len(kept) < wanted:
        raise _too_few(settings, everything, len(fit) - len(kept), len(kept))
    features, named = features_of([looked_at[at] for at in kept], embedder, progress)
    pictures = [sifted[at] for at in kept]
    chosen = _choose(features, pictures, settings)
    joined = clusters(len(looked_at), [(pair.first, pair.second) for pair in linked])
    held = _hold_out(features, pictures, [joined[at] for at in kept], chosen, settings)
    for at, picture in zip(kept, _fates(pictures, chosen, held), strict=True):
        sifted[at] = picture
    decided = dict(zip(fit, sifted, strict=True))
    sheet, unsaid = _told_of(source, listing.names, [p.name for p in sifted if p.fate in FOLDERS])
    plan = BuildPlan(
        source=shown(source.resolve().name),
        settings=settings,
        features=named,
        libraries=tuple(f"{name} {version(name)}" for name in LIBRARIES),
        pictures=tuple(_asshown(decided.get(i, p)) for i, p in enumerate(everything)),
        coverage=round(float(np.clip(chosen.likeness, 0, 1).mean()), 4),
        stood_for=chosen.stood_for,
        told=sheet,
        notes=(*_caption_notes(told), *unsaid),
    )
    return Planned(plan=plan, files={one.sha256: one.path for one in measured if one.sha256})


def _pins(settings: BuildSettings, names: Sequence[str]) -> frozenset[str]:
    pins = frozenset(settings.pinned)
    if absent := sorted(pins.difference(names)):
        message = f"{absent[0]} is pinned; there is no such picture below the source"
        raise UsageError(message, hint="expected a path below it, such as faces/smile.jpg")
    if len(pins) > settings.target:
        message = f"{len(pins)} pictures are pinned, {settings.target} are wanted"
        raise UsageError(message, hint=f"next: a target of {len(pins)} or more")
    return pins


def _flaws(names: Sequence[str], findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """What the checks say of each picture, but for what the written form mends."""
    found: dict[str, list[Finding]] = {name: [] for name in names}
    for finding in findings:
        if finding.file in found and finding.severity is not Severity.INFO:
            found[finding.file].append(finding)
    return found


def _picture(
    name: str,
    measured: Measured,
    findings: Sequence[Finding],
    settings: BuildSettings,
    caption: Caption | None,
    *,
    pinned: bool,
) -> Picture:
    """A picture as far as it is known alone. Raises InputError for a pinned one that is unfit."""
    fatal = [
        f
        for f in findings
        if (f.severity is Severity.ERROR or (f.rule in UNFIT and not pinned))
        and (f.rule not in settings.allowed or measured.hashes is None)
    ]
    unfit = bool(fatal) or measured.hashes is None
    if unfit and pinned:
        message = f"pinned, and cannot be used: {'; '.join(f.message for f in fatal)}"
        hint = "next: mend it, or do not pin it"
        raise InputError(message, rule="dataset.pinned-unfit", file=shown(name), hint=hint)
    flaws = fatal or [f for f in findings if f.rule not in MENDED]
    counted = sum(f.rule not in SIZED for f in flaws)
    large = settings.form.size or LARGE_SIDE
    size = min(1.0, (measured.width * measured.height) ** 0.5 / large)
    return Picture(
        name=name,
        sha256=measured.sha256,
        fate=Fate.UNFIT if unfit else Fate.SURPLUS,
        width=measured.width,
        height=measured.height,
        quality=0.0 if unfit else round(size * FLAWED**counted, 6),
        flaws=tuple((f.rule, f.message) for f in flaws),
        pinned=pinned,
        caption=caption.text if caption else None,
    )


def _sift(pictures: Sequence[Picture], pairs: Sequence[Pair]) -> list[Picture]:
    """The pictures, those of which a nearly equal better one is kept marked as duplicates.

    The better one is pinned, of more quality, larger, or the one with a caption; of equal ones
    that with the shorter name, as copies get longer ones.
    """

    def rank(at: int) -> tuple[bool, float, int, bool, int, int]:
        one = pictures[at]
        pixels = one.width * one.height
        return not one.pinned, -one.quality, -pixels, one.caption is None, len(one.name), at

    order = sorted(range(len(pictures)), key=rank)
    equal = clusters(len(pictures), [(p.first, p.second) for p in pairs if p.exact])
    best: dict[int, int] = {}
    for at in order:
        best.setdefault(equal[at], at)
    # A pair of one of several equal pictures is one of all of them. Who pins two that are nearly
    # the same wants both; of equal ones one is enough.
    near = {(best[equal[pair.first]], best[equal[pair.second]]) for pair in pairs}
    near = {
        (one, other)
        for one, other in near
        if one != other and not (pictures[one].pinned and pictures[other].pinned)
    }
    gone = keep_best(sorted(best.values(), key=rank), near)
    sifted = list(pictures)
    for at, picture in enumerate(pictures):
        first = best[equal[at]]
        kept = gone.get(first, first)
        if kept != at:
            like, same = pictures[kept].name, kept == first
            sifted[at] = replace(picture, fate=Fate.DUPLICATE, like=like, exact=same)
    return sifted


def _too_few(
    settings: BuildSettings, pictures: Sequence[Picture], duplicates: int, kept: int
) -> InputError:
    reasons = Counter(p.flaws[0][0] for p in pictures if p.fate is Fate.UNFIT and p.flaws)
    told = [f"{count} {rule}" for rule, count in reasons.most_common(REASONS_SHOWN)]
    if len(reasons) > REASONS_SHOWN:
        rest = sum(count for _, count in reasons.most_common()[REASONS_SHOWN:])
        told.append(f"{rest} for other reasons")
    if duplicates:
        told.append(f"{duplicates} nearly the same as a better one")
    wanted = f"{settings.target} to train on"
    if settings.references:
        wanted += f" and {settings.references} to hold out"
    why = f"; not used: {', '.join(told)}" if told else ""
    message = f"{wanted} are wanted, {kept} of {len(pictures)} pictures can be used{why}"
    fewer = kept - settings.references
    hint = "next: add pictures" + (f", or --target {fewer}" if fewer > 0 else "")
    return InputError(message, rule="dataset.too-few-images", hint=hint)


def _choose(features: Features, pictures: Sequence[Picture], settings: BuildSettings) -> Selection:
    return select(
        features,
        _worth(pictures, settings.target),
        settings.target,
        pinned=[at for at, picture in enumerate(pictures) if picture.pinned],
        seed=settings.seed,
    )


def _worth(pictures: Sequence[Picture], count: int) -> NDArray[np.float64]:
    """What the choice of each adds for its quality, where `count` are chosen."""
    return QUALITY_WEIGHT * len(pictures) / count * np.array([p.quality for p in pictures])


def _hold_out(
    features: Features,
    pictures: Sequence[Picture],
    joined: Sequence[int],
    chosen: Selection,
    settings: BuildSettings,
) -> dict[int, Choice]:
    """Of those that are not chosen, the ones that stand best for these, by number.

    None that a chain of look-alikes joins to a chosen one: `joined` tells the chain of each.
    """
    if not settings.references:
        return {}
    taken = {joined[at] for at in chosen.indexes}
    free = [at for at in range(len(pictures)) if joined[at] not in taken]
    if len(free) < settings.references:
        message = (
            f"{settings.references} pictures are to be held out, {len(free)} can be: "
            "the others are chosen, or a chain of look-alikes joins them to a chosen one"
        )
        hint = f"next: --references {len(free)}, a smaller --target, or more pictures"
        raise InputError(message, rule="dataset.too-few-images", hint=hint)
    worth = _worth([pictures[at] for at in free], settings.references)
    best = select(features[free], worth, settings.references, seed=settings.seed)
    return {free[choice.index]: choice for choice in best.choices}


def _fates(
    pictures: Sequence[Picture], chosen: Selection, held: Mapping[int, Choice]
) -> list[Picture]:
    """What becomes of each of those that could be chosen."""
    choices = {choice.index: choice for choice in chosen.choices}
    made = []
    for at, picture in enumerate(pictures):
        if choice := choices.get(at) or held.get(at):
            known = replace(
                picture,
                fate=Fate.REFERENCE if at in held else Fate.TRAINING,
                gain=round(choice.gain, 4),
                covers=choice.covers,
                written_as=_file_name(picture),
            )
        else:
            stands = pictures[int(chosen.nearest[at])].name
            likeness = round(float(chosen.likeness[at]), 4)
            known = replace(picture, fate=Fate.SURPLUS, like=stands, likeness=likeness)
        made.append(known)
    return made


def _file_name(picture: Picture) -> str:
    """A name that every file system takes, the same in every build with this picture."""
    plain = unicodedata.normalize("NFKD", Path(picture.name).stem)
    stem = re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower())
    stem = stem.strip("-")[:LONGEST_STEM].rstrip("-")
    return "-".join(filter(None, (stem, picture.sha256[:12])))


def _asshown(picture: Picture) -> Picture:
    like = None if picture.like is None else shown(picture.like)
    return replace(picture, name=shown(picture.name), like=like)


def _told_of(
    source: Path, names: Sequence[str], chosen: Sequence[str]
) -> tuple[Datasheet, list[str]]:
    """What datasheets of the source tell of all chosen pictures alike, and what is not kept."""
    sheets = read_datasheets(source, names)
    notes = [f"{shown(f.file or '')}: {f.message}" for f in sheets.findings]
    first, *others = (sheets.nearest(name) for name in chosen)
    if any(other != first for other in others):
        return Datasheet(), [*notes, "the chosen pictures have several datasheets: none was kept"]
    return first, notes


def _caption_notes(findings: Iterable[Finding]) -> Iterable[str]:
    """Captions that could not be read: their pictures are written without."""
    for finding in findings:
        if finding.severity is Severity.ERROR and finding.rule != "caption.missing":
            yield f"{shown(finding.location())}: {finding.message}; written without a caption"
