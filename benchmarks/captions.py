"""Captions: seconds to audit them, tokens counted a second, and how both grow with their number.

Each measurement is a process of its own, interpreter and all; seconds are of the processor, both
cores. With `--peer PYTHON`, an interpreter that has caption-audit 1.3 (MIT), the same folders are
audited by it in turn. `--base-model` names a folder with a `tokenizer` of CLIP, whose words the
captions are made of; else a made one counts.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.table import machine, render_table
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.captions import audit_captions
from lora_ci.dataset.tokens import read_tokenizers
from tests.words import PLACES, SUBJECTS, VERBS, clip_tokenizer

TRIGGER = "sksmei"
TAGS = (*SUBJECTS, *PLACES, *VERBS)
SMALL = ("a", "the", "of", "with", "in", "on", "and", "near")
LEAST_S = 0.5
HEADER = ("captions", "number", "s", "exponent", "caption-audit s", "its exponent", "ratio")
# caption-audit compares all with all: more would take hours.
MOST_FOR_PEER = 4_000


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=50_000)
    parser.add_argument("--peer", type=Path, help="an interpreter that has caption-audit")
    parser.add_argument("--base-model", type=Path)
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.audit:
        return audit(args.audit, args.base_model)
    with tempfile.TemporaryDirectory() as name:
        base_model = args.base_model or Path(name) / "base"
        if not args.base_model:
            clip_tokenizer(base_model / "tokenizer", filled=True)
        print(machine())
        numbers = [args.captions // part for part in (50, 25, 5, 1)]
        print(render_table(HEADER, rows(Path(name), numbers, base_model, args.peer)))
        print(tokens(base_model, args.captions))
    return 0


def rows(
    folder: Path, numbers: Sequence[int], base_model: Path, peer: Path | None
) -> list[tuple[str, ...]]:
    """One row a kind of captions and a number of them.

    What our process takes to start is in the seconds, and in no exponent: it would flatter.
    """
    found: list[tuple[str, ...]] = []
    command = (sys.executable, "-m", "benchmarks.captions", "--base-model", str(base_model))
    options = ("--trigger", TRIGGER, "--format", "json", "--out", str(folder / "theirs.json"))
    for kind, write in kinds(words_of(base_model)).items():
        before: dict[str, tuple[int, float]] = {}
        (folder / kind).mkdir()
        start = seconds(*command, "--audit", str(folder / kind))
        for number in numbers:
            where = folder / f"{kind}-{number}"
            make(where, number, write)
            ours = seconds(*command, "--audit", str(where))
            row: tuple[str, ...] = (
                kind,
                f"{number:,}",
                f"{ours:.2f}",
                growth(before, "ours", number, ours - start),
            )
            if peer and number <= MOST_FOR_PEER:
                theirs = seconds(str(peer), "-m", "caption_audit", str(where), *options)
                exponent = growth(before, "theirs", number, theirs)
                row += (f"{theirs:.2f}", exponent, f"{theirs / ours:.1f}")
            found.append((*row, "", "", "")[: len(HEADER)])
    return found


def growth(before: dict[str, tuple[int, float]], whose: str, number: int, took: float) -> str:
    """The exponent between this measurement and the one before; 1 is linear.

    What took less than LEAST_S says nothing on a machine that does other things too.
    """
    last = before.get(whose)
    if took < LEAST_S:
        return ""
    before[whose] = number, took
    return f"{math.log(took / last[1]) / math.log(number / last[0]):.2f}" if last else ""


def seconds(*command: str) -> float:
    """Processor seconds of a child, which may end with any code."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime


def audit(folder: Path, base_model: Path | None) -> int:
    """What the child does."""
    names = sorted(path.name for path in folder.iterdir())
    images = [name for name in names if name.endswith(".png")]
    audit_captions(
        folder, images, names, trigger=TRIGGER, settings=ValidateSettings(), base_model=base_model
    )
    return 0


def tokens(base_model: Path, number: int) -> str:
    """How many captions of prose have their tokens counted in a second, counting alone."""
    (tokenizer, *_) = read_tokenizers(base_model)
    chance, write = random.Random(1), kinds(words_of(base_model))["prose"]
    texts = [write(chance) for _ in range(number)]
    tokenizer.counts(texts[:100])
    start, cpu = time.monotonic(), time.process_time()
    total = sum(tokenizer.counts(texts))
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    return (
        f"{number:,} captions of {total / number:.0f} tokens counted: "
        f"{number / wall:,.0f} a second, {number / cpu:,.0f} a second of one core"
    )


def make(folder: Path, number: int, write: Callable[[random.Random], str]) -> None:
    """Captions, each beside an empty image."""
    folder.mkdir()
    chance = random.Random(0)
    for index in range(number):
        (folder / f"{index:06}.txt").write_text(write(chance))
        (folder / f"{index:06}.png").touch()


def words_of(base_model: Path) -> list[str]:
    """The whole words that the tokenizer knows, the commonest first."""
    (tokenizer, *_) = read_tokenizers(base_model)
    known = sorted(tokenizer.engine.get_vocab().items(), key=lambda item: item[1])
    words = [token.removesuffix("</w>") for token, _ in known if token.endswith("</w>")]
    return [word for word in words if len(word) > 2 and word.isascii() and word.isalpha()]


def kinds(words: Sequence[str]) -> dict[str, Callable[[random.Random], str]]:
    """Ways to write a caption."""
    alike = " ".join(SUBJECTS[:24])

    def prose(chance: random.Random) -> str:
        """Eight to thirty words; word number n stands as often as 1/n, as Zipf has it."""
        ranks = (int(len(words) ** chance.random()) for _ in range(chance.randint(8, 30)))
        drawn = (chance.choice(SMALL) if chance.random() < 0.3 else words[r - 1] for r in ranks)
        return f"a {TRIGGER} {' '.join(drawn)}"

    return {
        "prose": prose,
        "tags": lambda chance: f"{TRIGGER}, {', '.join(chance.sample(TAGS, 12))}",
        "alike but for a word": lambda chance: f"a {TRIGGER} {alike} {chance.choice(words)}",
    }


if __name__ == "__main__":
    raise SystemExit(main())
