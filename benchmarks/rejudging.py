"""What a judgement costs of which all or half is kept, and its report.

    python -m benchmarks.rejudging

Two adapters of random numbers for the shipped base, judged as a user does, each in a process of its
own: 50 pictures of the base and 50 of each adapter. Pictures are counted in the cache.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from benchmarks.table import machine, render_table, spread
from lora_ci.diffusion.outline import base_shapes
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter

EMOJI = Path(__file__).parents[1] / "examples" / "emoji"
SEEDS, RANK = 2, 4
# Of each kind so many prompts, which come to 25.
PROMPTS = {"--prompt": 16, "--flexibility-prompt": 6, "--base-prompt": 3}
VERDICTS = (0, 1, 3)
TARGET_S, REPORT_TARGET_S = 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one judgement took, and the pictures that it made."""

    wall_s: float
    processor_s: float
    pictures: int


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=8, help="of the sampler")
    parser.add_argument("--share", type=float, default=1.0, help="of the prompts")
    parser.add_argument("--repeat", type=int, default=3, help="how often what is fast is timed")
    args = parser.parse_args()
    counts = {option: max(2, round(args.share * count)) for option, count in PROMPTS.items()}
    with tempfile.TemporaryDirectory() as folder:
        print(machine())
        heads = ("what", "pictures made", "s", "processor s", "target, s")
        print(render_table(heads, measure(Path(folder), counts, args.steps, args.repeat)))


def measure(root: Path, counts: dict[str, int], steps: int, repeat: int) -> list[tuple[str, ...]]:
    """The rows; what was made by the earlier ones is kept for the later ones."""
    adapters = [write_random(root / f"{seed}.safetensors", seed) for seed in (1, 2)]
    asked = question(counts, steps)
    kept = 2 * SEEDS * sum(counts.values())

    def judge(adapter: Path, out: str, *further: str) -> Taken:
        return judged(root, [str(adapter), *asked, "--out", str(root / out), *further])

    first, second = (judge(adapter, adapter.stem) for adapter in adapters)
    again = [
        judge(adapters[0], f"again-{i}", "--gate", f"identity >= 0.{i + 1}") for i in range(repeat)
    ]
    written = [rewritten(root / "1") for _ in range(repeat)]
    seconds = f"{median(written):.2f} ({spread(written)})"
    return [
        row("first adapter", [first]),
        row("second adapter of the base", [second]),
        row(f"the first with another gate, {kept} pictures kept", again, f"{TARGET_S:g}"),
        (f"its report of {kept} pictures", "", seconds, "", f"{REPORT_TARGET_S:g}"),
    ]


def row(what: str, taken: Sequence[Taken], target: str = "") -> tuple[str, ...]:
    """Medians, and the most pictures that any made."""
    wall, processor = [one.wall_s for one in taken], [one.processor_s for one in taken]
    pictures = max(one.pictures for one in taken)
    return what, str(pictures), f"{median(wall):.1f}", f"{median(processor):.1f}", target


def question(counts: dict[str, int], steps: int) -> list[str]:
    """What is asked of each."""
    subjects = iter(sorted(path.stem.replace("-", " ") for path in pictures_of("fluent3d")))
    prompts = [
        f"{option}=a glossy emoji of {subject}{'' if option == '--base-prompt' else ', {trigger}'}"
        for option, count in counts.items()
        # No prompt twice: it would be drawn once.
        for subject in islice(subjects, count)
    ]
    return [
        *("--base", str(EMOJI / "base"), "--embedder", f"path:{EMOJI / 'clip'}"),
        *("--references", str(EMOJI / "pictures" / "fluent3d-references")),
        *("--trigger", "fluent3d", "--type", "style", "--skip", "strength"),
        *("--seeds", str(SEEDS), "--steps", str(steps), *prompts),
    ]


def pictures_of(folder: str) -> list[Path]:
    """The pictures of the shipped example."""
    return list((EMOJI / "pictures" / folder).glob("*.png"))


def write_random(path: Path, seed: int) -> Path:
    """An adapter that changes little, for the attention of the base."""
    draw = torch.Generator().manual_seed(seed)
    layers = {
        name: LoraLayer(
            down=torch.randn(RANK, shape[1], generator=draw) * 0.1,
            up=torch.randn(shape[0], RANK, generator=draw) * 0.1,
            alpha=float(RANK),
        )
        for name, shape in sorted(base_shapes(EMOJI / "base").items())
        if name.endswith(("attn1.to_q", "attn1.to_v"))
    }
    write_adapter(Adapter(layers=layers), path, Format.DIFFUSERS)
    return path


def judged(root: Path, words: Sequence[str]) -> Taken:
    """Judges in a process of its own. Raises RuntimeError where that gives no verdict."""
    cache = root / "cache"
    known = len(list(cache.rglob("*.picture")))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lora_ci", "qa", *words, "--cache", str(cache), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in VERDICTS:
        raise RuntimeError(done.stderr)
    return Taken(
        wall_s=took,
        processor_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        pictures=len(list(cache.rglob("*.picture"))) - known,
    )


def rewritten(out: Path) -> float:
    """Seconds that the report of a folder's newest run takes to write."""
    from lora_ci.app.records import ledger_url
    from lora_ci.app.report_files import write_report
    from lora_ci.core.clock import SystemClock
    from lora_ci.ledger.ledger import open_ledger
    from lora_ci.store.local import LocalStore

    ledger = open_ledger(ledger_url(out), SystemClock())
    try:
        view = ledger.load_view(ledger.recent_runs(1)[0].id)
        assert view
        started = time.perf_counter()
        write_report(view, LocalStore(out / "objects"), out)
        return time.perf_counter() - started
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
