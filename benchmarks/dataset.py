"""Dataset checks against cleanvision on damaged pictures, look-alikes, and what a change costs.

`--pictures` are folders of photographs of at least 1229 × 1024 pixels, such as Debian's packages of
wallpapers unpacked by `dpkg-deb -x`. cleanvision runs in an environment of its own, made by
`python -m venv .venv/apart/dataset_peers` and its `pip install cleanvision`. It ends at the first
file that cannot be decoded, so it gets none of those. The weights of softness were tuned on sources
with an even number; all that is shown is of the odd ones. Times are processor seconds of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.dataset_faults import Case, crops_of, sources_in, write_cases
from benchmarks.table import machine, render_table
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset import duplicates, verdicts
from lora_ci.dataset.compared import find_pairs_anew
from lora_ci.dataset.decode import measure
from lora_ci.dataset.duplicates import find_pairs
from lora_ci.dataset.features import perceptual_hashes, thumbnails
from lora_ci.dataset.judge import image_findings
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.verdicts import Verdicts

PEERS = Path(".venv/apart/dataset_peers/bin/python")
# Fault → our rule, cleanvision's issue.
CHECKS = {
    "blur": ("image.blurred", "blurry"),
    "upscaled": ("image.blurred", "blurry"),
    "motion": ("image.blurred", "blurry"),
    "noise": ("image.noisy", None),
    "blocks": ("image.blocky", None),
    "dark": ("image.dark", "dark"),
    "bright": ("image.washed-out", "light"),
    "gray": ("image.gray", "grayscale"),
    "border": ("image.border", None),
    "cut off": ("image.unreadable", None),
    "bit rot": ("image.unreadable", None),
}
SOFT = ("blur", "upscaled", "motion")
UNREADABLE = ("cut off", "bit rot")
CLEANVISION = """
import json, sys
from cleanvision import Imagelab
paths = json.load(sys.stdin)
lab = Imagelab(filepaths=paths)
lab.find_issues(n_jobs=1, verbose=False)
names = [c for c in lab.issues.columns if c.endswith("_issue")]
told = {p: [n[3:-6] for n in names if row[n]] for p, row in lab.issues.iterrows()}
print("\\n" + json.dumps(told))
"""
Flags = dict[Path, set[str]]


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, nargs="+", required=True)
    parser.add_argument("--cases", type=Path, help="keep the damaged pictures here, or take them")
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--fit", action="store_true", help="print the weights of softness instead")
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=50_000)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        cases = read_cases(args.pictures, args.cases or Path(scratch))
        if args.fit:
            print(fitted([case for case in cases if case.source % 2 == 0]))
            return 0
        faults([case for case in cases if case.source % 2], args.peers)
        print(render_table(("copy", "found"), look_alikes(args.pictures)))
        print(render_table(("hashes", "s", "planted pairs", "found"), searching(args.hashes)))
        print(render_table(("files", "what", "s"), a_change(args.files, Path(scratch))))
    return 0


def read_cases(pictures: list[Path], folder: Path) -> list[Case]:
    """Those that are in the folder, else new ones."""
    manifest = folder / "cases.json"
    if not manifest.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        cases = list(write_cases(pictures, folder))
        manifest.write_text(json.dumps([asdict(c) | {"path": c.path.name} for c in cases]))
    return [
        Case(**row | {"path": folder / row["path"]}) for row in json.loads(manifest.read_text())
    ]


def faults(cases: Sequence[Case], peers: Path) -> None:
    """The table of speeds and that of recall, precision and F1."""
    ours, ours_s = our_flags([case.path for case in cases])
    readable = [case.path for case in cases if case.fault not in UNREADABLE]
    theirs, theirs_s = their_flags(readable, peers)
    speeds = (len(cases) / ours_s, len(readable) / theirs_s)
    row = (*(f"{speed:.1f}" for speed in speeds), f"{speeds[0] / speeds[1]:.1f}")
    print(render_table(("lora-ci, pictures/s", "cleanvision, pictures/s", "times"), [row]))
    groups = [(fault,) for fault in CHECKS if fault not in SOFT]
    rows = [scored(cases, group, ours, theirs) for group in [SOFT, *groups]]
    rows += [
        scored(cases, (fault,), ours, theirs, severity)
        for fault, severity in sorted({(c.fault, c.severity) for c in cases if c.severity})
    ]
    print(render_table(("fault", "of", "precision", "recall", "F1", "cleanvision's F1"), rows))


def our_flags(paths: Sequence[Path]) -> tuple[Flags, float]:
    """Rules by file, and how long it took: reading, decoding, measuring and judging."""
    started = time.process_time()
    measured = [measure(path, 10**8) for path in paths]
    found = image_findings([str(path) for path in paths], measured, ValidateSettings())
    took = time.process_time() - started
    flags: Flags = {path: set() for path in paths}
    for one in found:
        if one.file:
            flags[Path(one.file)].add(one.rule)
    return flags, took


def their_flags(paths: Sequence[Path], peers: Path) -> tuple[Flags, float]:
    """cleanvision's issues by file, and its processor time without what its start takes."""

    def run(some: Sequence[Path]) -> tuple[str, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run(
            [peers, "-c", CLEANVISION],
            input=json.dumps([str(path) for path in some]),
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return told, sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))

    _, start_s = run(paths[:1])
    told, whole_s = run(paths)
    flags = {Path(k): set(v) for k, v in json.loads(told.splitlines()[-1]).items()}
    return flags, whole_s - start_s


def scored(
    cases: Sequence[Case], group: Sequence[str], ours: Flags, theirs: Flags, severity: str = ""
) -> tuple[str, ...]:
    """One line: those with the faults of the group against the clean ones."""
    rule, issue = CHECKS[group[0]]
    faulty = [c for c in cases if c.fault in group and severity in ("", c.severity)]
    clean = [c for c in cases if c.fault == "clean"]
    precision, recall, f1 = figures(ours, rule, faulty, clean)
    other = f"{figures(theirs, issue, faulty, clean)[2]:.2f}" if issue else "–"
    name = ", ".join(group) + (f", {severity}" if severity else "")
    return name, str(len(faulty)), f"{precision:.2f}", f"{recall:.2f}", f"{f1:.2f}", other


def figures(
    flags: Flags, wanted: str, faulty: Sequence[Case], clean: Sequence[Case]
) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    right = sum(wanted in flags.get(case.path, ()) for case in faulty)
    wrong = sum(wanted in flags.get(case.path, ()) for case in clean)
    precision, recall = right / max(right + wrong, 1), right / max(len(faulty), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def fitted(cases: Sequence[Case]) -> str:
    """Logistic regression of soft against clean pictures, both sides of the same weight."""
    some = [c for c in cases if c.fault in (*SOFT, "clean", "border", "gray")]
    found = [(measure(c.path, 10**8).figures, c) for c in some]
    known = [(f, c) for f, c in found if f]
    values = np.array([(*f.octaves, f.blur) for f, _ in known])
    soft = np.array([c.fault in SOFT for _, c in known])
    middle, spread = values.mean(0), values.std(0) + 1e-9
    rows = np.c_[(values - middle) / spread, np.ones(len(values))]
    weight = np.where(soft, 1.0, soft.sum() / (~soft).sum())
    ridge = np.diag([2.0] * values.shape[1] + [0.0])
    answer = np.zeros(rows.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-rows @ answer))
        curve = rows.T @ ((likely * (1 - likely) * weight)[:, None] * rows) + ridge
        answer += np.linalg.solve(curve, rows.T @ (weight * (soft - likely)) - ridge @ answer)
    weights = answer[:-1] / spread
    bias = answer[-1] - (weights * middle).sum()
    clean = np.array([c.fault == "clean" for _, c in known])
    limit = np.quantile((values @ weights + bias)[clean], 0.9)
    return f"weights {np.round(weights, 2).tolist()}, bias {bias:.2f}, from {limit:.2f}"


def turned(picture: Image.Image) -> Image.Image:
    """By 2°, the corners cut off."""
    return inner(picture.rotate(2, Image.Resampling.BICUBIC), 0.07)


def inner(picture: Image.Image, share: float) -> Image.Image:
    """The middle, half the share of each side left out at each end."""
    w, h = picture.size
    cut = (int(w * share / 2), int(h * share / 2))
    return picture.crop((*cut, w - cut[0], h - cut[1]))


def framed(picture: Image.Image) -> Image.Image:
    """On a white frame of 5 %."""
    w, h = picture.size
    frame = Image.new("RGB", (int(w * 1.1), int(h * 1.1)), "white")
    frame.paste(picture, (int(w * 0.05), int(h * 0.05)))
    return frame


def written_on(picture: Image.Image) -> Image.Image:
    """With a text over it."""
    copy = picture.copy()
    at = (picture.width * 0.1, picture.height * 0.75)
    ImageDraw.Draw(copy).text(at, "SAMPLE TEXT", "white", font_size=picture.height // 10)
    return copy


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda p: p.reduce(2),
    "a quarter of the size": lambda p: p.reduce(4),
    "squashed to 2:3": lambda p: p.resize((p.width, p.height * 2 // 3)),
    "gray": lambda p: p.convert("L").convert("RGB"),
    "gamma 0.7": lambda p: p.point(lambda v: int(255 * (v / 255) ** 0.7)),
    "15 % brighter": lambda p: p.point(lambda v: min(255, int(v * 1.15))),
    "blurred, sigma 3": lambda p: p.filter(ImageFilter.GaussianBlur(3)),
    "5 % cut": lambda p: inner(p, 0.05),
    "10 % cut": lambda p: inner(p, 0.1),
    "20 % cut": lambda p: inner(p, 0.2),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "a frame of 5 %": framed,
    "turned by 2°": turned,
    "text over it": written_on,
    "10 % cut at one corner": lambda p: p.crop((0, 0, p.width * 9 // 10, p.height * 9 // 10)),
}


def look_alikes(folders: list[Path]) -> list[tuple[str, str]]:
    """Share of pairs found of each kind at the default distance, and of false ones."""
    distance = ValidateSettings().near_duplicate_distance
    sources = [crop.reduce(2) for p in sources_in(folders) for crop in crops_of(p)[:1]]
    originals = [described(picture, str(i)) for i, picture in enumerate(sources)]
    rows = []
    for name, change in COPIES.items():
        copies = [described(change(p), f"{i} {name}") for i, p in enumerate(sources)]
        pairs = find_pairs(originals, copies, distance)
        right = sum(pair.first == pair.second for pair in pairs)
        rows.append((name, f"{right / len(sources):.2f}"))
    false = len(find_pairs(originals, originals, distance))
    total = len(sources) * (len(sources) - 1) // 2
    return [*rows, ("pairs of different pictures", f"{false} of {total}")]


def described(picture: Image.Image, name: str) -> Measured:
    """Only what look-alikes are told by."""
    pixels = np.asarray(picture)
    hashes, small = perceptual_hashes(pixels), thumbnails(pixels)
    return Measured(path=Path(name), pixels=name, hashes=hashes, thumbnails=small)


def searching(count: int, planted: int = 2000) -> list[tuple[str, ...]]:
    """All pairs among random hashes with planted ones of 0 to 40 bits, and how many are found."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (count, 8, 32), dtype=np.uint8)
    chosen = rng.permutation(count)[: 2 * planted].reshape(planted, 2)
    for first, second in chosen:
        bits = np.unpackbits(hashes[first, 0])
        bits[rng.choice(256, int(rng.integers(0, 41)), replace=False)] ^= 1
        hashes[second, int(rng.integers(8))] = np.packbits(bits)
    started = time.process_time()
    found = {(i, j) for i, j, _ in duplicates._candidates(hashes.view(np.uint64), None, 40)}
    took = time.process_time() - started
    hits = sum((min(pair), max(pair)) in found for pair in chosen.tolist())
    return [(f"{count:,}", f"{took:.1f}", str(planted), str(hits))]


def a_change(count: int, scratch: Path, changed: int = 3) -> list[tuple[str, ...]]:
    """Three of many files are others: what looking at the dataset again takes.

    The measurements of the others are written into the database, as they would stand there.
    """
    folder, cache = scratch / "many", scratch / "cache"
    folder.mkdir()
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (count, 8, 32), dtype=np.uint8)
    small = rng.integers(0, 256, (count, 4, 16, 16, 3), dtype=np.uint8)
    pictures = [folder / f"{i:06}.jpg" for i in range(count)]
    template = measure(real_picture(scratch), 10**8)
    rows = []
    for i, path in enumerate(pictures):
        path.write_bytes(b"%d" % i)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        one = Measured(
            path=path,
            kind="JPEG",
            sha256=f"{i:064x}",
            width=1024,
            height=1024,
            pixels=f"{i:064x}",
            hashes=hashes[i],
            thumbnails=small[i],
            edges=template.edges,
            figures=template.figures,
        )
        rows.append((one, verdicts._place(path)))
    kept = Verdicts(cache)
    limit = ValidateSettings().max_pixels
    kept._within(lambda db: verdicts._write(db, rows, verdicts._measuring(limit)), None)
    started = time.process_time()
    measured = kept.measure(pictures, limit, lambda done: None)
    find_pairs_anew(measured, 40, kept, "many")
    whole_s = time.process_time() - started
    for path in pictures[:: count // changed][:changed]:
        path.unlink()
        path.write_bytes((scratch / "real.jpg").read_bytes() + bytes(len(path.name)))
    again = Verdicts(cache)
    wall, used = time.perf_counter(), time.process_time()
    measured = again.measure(pictures, limit, lambda done: None)
    find_pairs_anew(measured, 40, again, "many")
    spent = f"{time.process_time() - used:.2f} ({time.perf_counter() - wall:.2f} by the clock)"
    started = time.process_time()
    for _ in range(20):
        measure(scratch / "real.jpg", 10**8)
    one_s = (time.process_time() - started) / 20
    return [
        (f"{count:,}", "nothing changed, all compared for the first time", f"{whole_s:.2f}"),
        (f"{count:,}", f"{changed} changed, {again.decoded} decoded", spent),
        (f"{count:,}", "decoding all, from 20 of 1024 × 1024", f"{one_s * count:.0f}"),
    ]


def real_picture(scratch: Path) -> Path:
    """One file that decodes."""
    rng = np.random.default_rng(1)
    soft = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).resize((1024, 1024))
    soft.save(scratch / "real.jpg", quality=92)
    return scratch / "real.jpg"


if __name__ == "__main__":
    raise SystemExit(main())
