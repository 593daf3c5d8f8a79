"""Does the judge know a good adapter from a bad one? Trains both kinds on the emoji world.

`train` makes the adapters of `faults.py`, once for each seed, and keeps them. `judge` judges each
with the settings of the demo and prints how it came out, whether the fault was named, and whether
the good one is first; `judged.json` has the same with every metric. Both go on where they stopped.

python -m tools.emoji_world.judged train --out JUDGED
python -m tools.emoji_world.judged judge --out JUDGED
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lora_ci.cli.demo_repository import CONFIG
from lora_ci.config.load import load_config
from lora_ci.config.model import Lora
from lora_ci.core.digest import sha256_json
from lora_ci.core.settings import settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.core.versions import RULER_VERSION
from lora_ci.report.details import read_details
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from tools.emoji_world.faults import GOOD, TRIGGER, VARIANTS, WORLD, Variant

BY_NAME = {variant.name: variant for variant in VARIANTS}
TESTS = ("identity", "flexibility", "artifact", "consistency", "performance")
# The metrics that tell the most of the faults.
SHORT = ("overall", "following", "loss.gap", "loss.against-half", "memorization.recalled")


def adapter_path(out: Path, variant: Variant, seed: int) -> Path:
    """Where an adapter is kept."""
    return out / "adapters" / f"{variant.name}-{seed}.safetensors"


def dataset_path(out: Path, variant: Variant, seed: int) -> Path:
    """What it was trained on."""
    if variant.prepare is None:
        return WORLD / "pictures" / TRIGGER
    return out / "datasets" / f"{variant.name}-{seed}"


def make(out: Path, variant: Variant, seed: int, lora: Lora) -> None:
    """Trains or spoils an adapter, unless it is there."""
    path = adapter_path(out, variant, seed)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    made = path.with_name(f".{path.name}")
    if variant.spoil:
        good = BY_NAME[GOOD]
        make(out, good, seed, lora)
        variant.spoil(adapter_path(out, good, seed), made, seed)
    else:
        shutil.copy(train(out, variant, seed, lora), made)
    made.rename(path)
    tell(f"{path.stem}: made in {time.monotonic() - started:.0f} s")


def train(out: Path, variant: Variant, seed: int, lora: Lora) -> Path:
    """The diffusers file of the variant's training. Raises SystemExit where it failed."""
    dataset = dataset_path(out, variant, seed)
    if variant.prepare and not dataset.exists():
        building = dataset.with_name(f".{dataset.name}")
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(WORLD / "pictures" / TRIGGER, building)
        variant.prepare(building, seed)
        building.rename(dataset)
    settings = replace(
        lora.train, images_seen=variant.images_seen, rank=variant.rank, alpha=float(variant.rank),
        seed=seed, trackers=(), checkpoint_every=500,
    )  # fmt: skip
    params = {"settings": settings_json(settings), "trigger": variant.trigger}
    inputs = {"dataset": dataset, "base_model": WORLD / "base"}
    result, store = execute(out, f"train-{variant.name}-{seed}", Stage.TRAIN, inputs, params)
    artifact = result.artifact("adapter.safetensors")
    if artifact is None:
        raise SystemExit(f"{variant.name}-{seed}: {result.outcome}: {result.findings}")
    return store.get(artifact.sha256)


def execute(
    out: Path, name: str, stage: Stage, inputs: dict[str, Path], params: dict[str, object]
) -> tuple[StepResult, LocalStore]:
    """Runs a step in a folder of its own, with a cache that all share."""
    folder, store = StepFolder(out / "steps" / name), LocalStore(out / "objects")
    given = {key: StepInput(content_id=content_id(p), path=str(p)) for key, p in inputs.items()}
    folder.write_spec(
        StepSpec(
            stage=stage,
            lora=TRIGGER,
            fingerprint=sha256_json([name, params]),
            inputs=given,
            params=params,
        )
    )
    return exec_step(folder, store, out / "cache", watch=telling(name)), store


def content_id(path: Path) -> str:
    """Inputs never change here, so their places tell them apart."""
    return "/".join(path.parts[-2:])


def telling(name: str) -> Callable[[int, int, str], None]:
    """Writes progress to the terminal, a line for each tenth."""
    last = -1

    def told(done: int, total: int, note: str) -> None:
        nonlocal last
        tenth = 10 * done // total if total else -1
        if tenth > last:
            last = tenth
            tell(f"{name}: {done} of {total} {note}")

    return told


def tell(line: str) -> None:
    """One line of progress."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How the judge found an adapter.

    `failed` are the metrics of gates that failed, with the test that holds the mean down where the
    mean failed. `warned` are the rules of what else it found. `named`: one of the two tells the
    fault; None where there is none to tell.
    """

    variant: str
    seed: int
    outcome: Outcome
    overall: float | None
    scores: Mapping[str, float | None]
    failed: tuple[str, ...]
    warned: tuple[str, ...]
    named: bool | None
    metrics: Mapping[str, float]
    took_s: float

    @property
    def place(self) -> tuple[int, float]:
        """What adapters are ranked by, best first."""
        order = (Outcome.PASSED, Outcome.INCONCLUSIVE, Outcome.FAILED)
        return order.index(self.outcome), -(self.overall or 0.0)


def judge(out: Path, variant: Variant, seed: int, lora: Lora) -> Judged:
    """The judge's word on an adapter. Raises SystemExit where it came to none."""
    inputs = {
        "adapter": adapter_path(out, variant, seed),
        "dataset": dataset_path(out, variant, seed),
        "base_model": WORLD / "base",
        "references": WORLD / "pictures" / f"{TRIGGER}-references",
        "embedder": WORLD / "clip",
    }
    params = {"settings": settings_json(lora.qa), "trigger": TRIGGER, "type": str(lora.type)}
    name = f"qa-{RULER_VERSION}-{variant.name}-{seed}"
    result, _ = execute(out, name, Stage.QA, inputs, params)
    if result.outcome in (Outcome.ERROR, Outcome.INTERRUPTED):
        raise SystemExit(f"{name}: {result.outcome}: {result.findings}")
    told = read_details(Stage.QA, result)
    failed = [gate.metric for gate in told.gates if gate.outcome is Outcome.FAILED]
    if "overall" in failed and told.weakest:
        failed.append(told.weakest.name)
    warned = [f.rule for f in result.findings if not f.rule.startswith("qa.gate-")]
    words = (*failed, *warned)
    return Judged(
        variant=variant.name,
        seed=seed,
        outcome=result.outcome,
        overall=told.overall.score if told.overall else None,
        scores={test.name: test.score for test in told.tests},
        failed=tuple(dict.fromkeys(failed)),
        warned=tuple(dict.fromkeys(warned)),
        named=any(n in word for n in variant.named_by for word in words)
        if variant.named_by
        else None,
        metrics=result.metrics,
        took_s=result.timings_s["total"],
    )


def table(judged: Sequence[Judged]) -> str:
    """A markdown table, a row an adapter."""
    head = ("adapter", "seed", "outcome", "overall", *TESTS, "failed", "warned", "named")
    lines = [row(head), row(["---"] * len(head))]
    for one in judged:
        scores = [number(one.scores.get(test)) for test in TESTS]
        words = [", ".join(f"`{word}`" for word in words) for words in (one.failed, one.warned)]
        named = {True: "yes", False: "no", None: ""}[one.named]
        head = (one.variant, str(one.seed), one.outcome, number(one.overall))
        lines.append(row([*head, *scores, *words, named]))
    return "\n".join(lines)


def by_variant(judged: Sequence[Judged]) -> str:
    """The same in short, a row a variant: outcomes and the range of metrics over the seeds."""
    head = ("adapter", "fault", "outcomes", *SHORT, "failed or warned in all")
    lines = [row(head), row(["---"] * len(head))]
    for variant in VARIANTS:
        own = [one for one in judged if one.variant == variant.name]
        if not own:
            continue
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counted(own))
        ranges = [span([o.metrics[m] for o in own if m in o.metrics]) for m in SHORT]
        common = set.intersection(*({*one.failed, *one.warned} for one in own))
        words = ", ".join(f"`{word}`" for word in sorted(common))
        lines.append(row([variant.name, variant.fault, outcomes, *ranges, words]))
    return "\n".join(lines)


def counted(judged: Sequence[Judged]) -> list[tuple[Outcome, int]]:
    """Outcomes with their numbers, the most frequent first."""
    return Counter(one.outcome for one in judged).most_common()


def span(values: Sequence[float]) -> str:
    """The least and the greatest value, or a dash."""
    ends = [f"{end:.2f}" for end in (min(values), max(values))] if values else ["–"]
    return " … ".join(dict.fromkeys(ends))


def summary(judged: Sequence[Judged]) -> str:
    """How often the judge was right."""
    bad = [one for one in judged if one.named is not None]
    caught = sum(one.outcome is Outcome.FAILED for one in bad)
    passed = sum(one.outcome is Outcome.PASSED for one in bad)
    named = sum(one.named is True for one in bad)
    lines = [
        f"{caught} of {len(bad)} faulty adapters failed, {passed} passed; "
        f"of {named} the fault was named"
    ]
    for seed in sorted({one.seed for one in judged}):
        ranked = sorted((one for one in judged if one.seed == seed), key=lambda one: one.place)
        names = [one.variant for one in ranked]
        if GOOD in names:
            before = names[: names.index(GOOD)]
            after = f", after {', '.join(before)}" if before else ""
            lines.append(
                f"seed {seed}: `{GOOD}` is number {len(before) + 1} of {len(names)}{after}"
            )
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return f"| {' | '.join(cells)} |"


def number(value: float | None) -> str:
    """Two digits, or a dash for what was not measured."""
    return "–" if value is None else f"{value:.2f}"


def demo_lora() -> Lora:
    """The demo's own LoRA of the style."""
    return load_config(CONFIG.encode()).loras[TRIGGER]


def main() -> None:
    """`train` or `judge`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("train", "judge"))
    parser.add_argument("--out", type=Path, required=True, help="where all is kept")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    given = parser.parse_args()
    chosen, lora = [v for v in VARIANTS if v.name in given.only], demo_lora()
    if given.what == "train":
        for seed in range(given.seeds):
            # The longest last.
            for variant in sorted(chosen, key=lambda v: v.images_seen):
                make(given.out, variant, seed, lora)
        return
    judged = [
        judge(given.out, variant, seed, lora)
        for variant in chosen
        for seed in range(given.seeds)
        if adapter_path(given.out, variant, seed).exists()
    ]
    print(table(judged), by_variant(judged), summary(judged), sep="\n\n")
    values = json.dumps(msgspec.to_builtins(judged), indent=1)
    (given.out / "judged.json").write_text(f"{values}\n")


if __name__ == "__main__":
    main()
