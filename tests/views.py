"""Runs as values: what reports are rendered from, without running anything."""

import hashlib
from dataclasses import replace
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Estimate, Plan
from lora_ci.core.run import RunView, StepView, overall_outcome
from lora_ci.core.step import Outcome, Progress, Stage, StepResult
from lora_ci.plan.estimate import total

HEAD = "3f2a1c9" + "0" * 33
PICTURES = Path(__file__).parents[1] / "examples" / "emoji" / "pictures"
TEXT = "the caption does not contain the trigger"
FACES = (
    "cat-face",
    "cat-face-with-tears-of-joy",
    "pouting-cat-face",
    "smiling-cat-face-with-open-mouth",
    "kissing-cat-face-with-closed-eyes",
    "weary-cat-face",
)


def make_decision(lora: str, stage: Stage, action: Action = Action.RUN, why: str = "") -> Decision:
    parts = {"dataset": "d41d8cd9", "train.rank": [8]}
    fingerprint = make_fingerprint(stage, parts)
    return Decision(
        lora=lora, stage=stage, action=action, why=why or "first time", fingerprint=fingerprint
    )


def make_view(
    *steps: StepView,
    tag: str | None = None,
    findings: tuple[Finding, ...] = (),
    changes: ChangeSet | None = None,
    **of_event: object,
) -> RunView:
    plan = Plan(
        head=HEAD,
        decisions=tuple(s.decision for s in steps),
        changes=changes or ChangeSet(base=None, head=HEAD),
        findings=findings,
        estimate=total(s.decision.estimate for s in steps),
        releasable=tuple(dict.fromkeys(s.decision.lora for s in steps)),
    )
    kind = EventKind.TAG if tag else EventKind.PULL_REQUEST
    number = None if tag else 7
    event = Event(kind=kind, repo="r", head=HEAD, number=number, tag=tag)
    event = replace(event, **of_event)
    return RunView(
        run_id="20261124-120000-abcd1234",
        event=event,
        plan=plan,
        steps=steps,
        started_at="2026-11-24T12:00:00+00:00",
        duration_s=272.34,
        outcome=overall_outcome(steps),
    )


def validate_step(lora: str = "mei", text: str = TEXT, errors: int = 0) -> StepView:
    faults = tuple(
        Finding(
            rule="caption.trigger-missing",
            severity=Severity.ERROR,
            message=text,
            file=f"datasets/{lora}/{i:03d} {text}.txt"[:90],
            line=1,
            hint=f"write `{lora}` into it",
        )
        for i in range(errors)
    )
    twins = Finding(
        rule="duplicate.near",
        severity=Severity.WARNING,
        message="nearly the same picture as grinning-face.png",
        file=f"datasets/{lora}/face.png",
        hint="keep the better one",
    )
    words = [["emoji", 80], ["face", 31], ["cat", 9]]
    return StepView(
        decision=make_decision(lora, Stage.VALIDATE, why="dataset: 3 modified of 160 files"),
        result=StepResult(
            outcome=Outcome.FAILED if errors else Outcome.PASSED,
            findings=(*faults, twins),
            metrics={"images": 80, "errors": errors, "warnings": 1},
            details={"statistics": {"words": words, "sizes": {"64×64": 80}}},
        ),
    )


def train_step(
    lora: str = "mei", action: Action = Action.RUN, files: dict[str, bytes] | None = None
) -> StepView:
    """A trained adapter; `files` are pictures made on the way, by artifact name."""
    losses = [[10 * i, 0.2 + 0.5 / i + 0.02 * (i * 7 % 5)] for i in range(1, 61)]
    rates = [[10 * i, 1e-4 * (1 - i / 61)] for i in range(1, 61)]
    why = "reused: same fingerprint" if action is Action.REUSE else "dataset: 3 modified"
    return StepView(
        decision=make_decision(lora, Stage.TRAIN, action, why),
        result=StepResult(
            outcome=Outcome.PASSED,
            metrics={
                "loss_first": 0.7, "loss_last": 0.2171, "steps": 600, "step_s": 0.4331,
                "images": 80, "images_seen": 2400, "peak_memory_mb": 7_431.5,
                "encoded_pictures": 0, "encoded_captions": 6,
            },
            artifacts=kept_pictures(files or {}),
            timings_s={"prepare": 4.1, "train": 259.8, "total": 264.2},
            details={
                "loss": losses,
                "learning_rate": rates,
                "validation_loss": [
                    [100, 0.391], [200, 0.362], [300, 0.348], [400, 0.335], [500, 0.341],
                    [600, 0.352],
                ],
                "buckets": {"448x576": 22, "512x512": 58},
                "memory": {"rows": 2, "checkpointing": True},
                "device": "cuda:0",
                "processes": 2,
                "precision": "bf16",
                "optimizer": "adamw",
                "prompts": [f"{lora} in a garden", f"{lora}, a drawing"],
                "backend": {"name": "native", "lora-ci": "0.1.0", "torch": "2.13.0"},
            },
        ),
    )  # fmt: skip


def blocked_step(lora: str, stage: Stage, why: str = "validate failed in run 41") -> StepView:
    return StepView(decision=make_decision(lora, stage, Action.BLOCKED, why))


def interval(mean: float, half: float, n: int = 6) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


TESTS = (
    ("identity", 0.88, 0.07, "0.71 of the way from the base to the references"),
    ("flexibility", 0.83, 0.05, "follows prompts 0.78 as well as the base, with 0.61 of identity"),
    ("artifact", 0.97, 0.03, "47 of 48 pictures are sound; outside the range: saturation"),
    ("consistency", 0.86, 0.06, "likeness varies over seeds by 1.12 of what real pictures vary"),
    ("performance", 0.92, 0.0, "1.04× the base's time a picture, 1.2 MiB (6.1% of the base)"),
)


# (name, metric, value, half of the interval, why); all of them sound.
CHECKS = (
    ("leakage", "leakage", 0.04, 0.03, "without the trigger pictures stay those of the base"),
    ("strength", "strength.window", 0.6, 0.0, "good from weight 0.6 to 1.2"),
    ("memorization", "memorization", 0.0, 0.08, "none of 24 pictures is a copy"),
    ("regression", "loss.against-released", -0.01, 0.02, "loss 1.0% lower than that of v1.0.0"),
    ("following", "following", 0.96, 0.05, "follows prompts 0.96 as well as the base"),
    ("loss-gap", "loss.gap", 0.06, 0.04, "6% higher on held-out pictures than on trained ones"),
)


def checks_of(prompt: str = "", *, leaks: bool = False) -> list[dict]:
    """Further tests: six that were made, one that could not be, one that is turned off."""
    made = [
        {
            "name": name,
            "metric": metric,
            "sound": True,
            "value": value,
            "low": value - half,
            "high": value + half,
            "why": why + prompt,
        }
        for name, metric, value, half, why in CHECKS
    ]
    if leaks:
        why = "without the trigger pictures become 0.31 like it"
        made[0] |= {"sound": False, "value": 0.31, "low": 0.24, "high": 0.38, "why": why}
    return [
        *made,
        {"name": "composability", "metric": "composability", "why": "no `qa.compose_with`"},
        {"name": "safety", "metric": "unsafe", "skipped": True},
    ]


def qa_details(pictures: list[dict], *, shift: float = 0.0, prompt: str = "") -> dict:
    tests = [
        {
            "name": n,
            "score": s + shift,
            "low": s + shift - h,
            "high": min(1, s + shift + h),
            "why": w + prompt,
        }
        for n, s, h, w in TESTS
    ]
    total = sum(t["score"] for t in tests) / len(tests)
    outcome = "passed" if total >= 0.8 else "failed"
    gates = [
        {
            "metric": "overall",
            "condition": ">= 0.8",
            "value": total,
            "low": total - 0.03,
            "high": total + 0.03,
            "outcome": outcome,
            "why": f"{total:.2f}, surely {'above' if outcome == 'passed' else 'below'} 0.8",
        },
        {
            "metric": "identity.against-released",
            "condition": ">= -0.1",
            "value": 0.04,
            "low": -0.01,
            "high": 0.09,
            "outcome": "passed",
            "why": "identity gained 0.04 against v1.0.0 on the same 6 prompts and seeds",
        },
    ]
    return {
        "overall": {"score": total, "low": total - 0.03, "high": total + 0.03, "pass_mark": 0.8},
        "tests": tests,
        "gates": gates,
        "similarity": {
            "base": interval(0.52, 0.03),
            "adapter": interval(0.71, 0.02),
            "references": interval(0.79, 0.015),
        },
        "comparison": {
            "released_version": "1.0.0",
            "metric": "identity",
            "difference": 0.04,
            "low": -0.01,
            "high": 0.09,
            "pairs": 6,
            "why": "identity gained 0.04 against v1.0.0 on the same 6 prompts and seeds",
        },
        "checks": checks_of(prompt, leaks=shift < -0.13),
        "window": {"low": 0.6, "high": 1.0, "recommended": 0.8},
        "looks": [{"seeds": 2, "error": 0.02, "outcome": outcome}],
        "error": 0.05,
        "sampler": {
            "steps": 25,
            "guidance": 7.5,
            "resolution": 512,
            "precision": "bf16",
            "negative_prompt": "blurry",
        },
        "trigger": "mei",
        "pictures": pictures,
        "embedder": "path:models/clip",
        "embedder_license": "MIT",
        "ruler": hashlib.sha256(b"ruler").hexdigest(),
        "weight": 1.0,
        "seeds": 2,
        "most_seeds": 4,
    }


def exhibits(prompts: list[str], seeds: int = 2) -> list[dict]:
    """Labels of pictures, as QA writes them."""
    made = [
        {"kind": kind, "prompt": prompt, "seed": seed, "weight": None if kind == "base" else 1.0}
        for kind in ("base", "adapter", "released")
        for prompt in prompts
        for seed in range(seeds)
    ]
    shown = [{"kind": "reference", "prompt": p, "seed": None, "weight": None} for p in prompts]
    return [{**e, "artifact": f"{e['kind']}-{i:03}.png"} for i, e in enumerate(made + shown)]


WEIGHTS = {0.4: 0.3, 0.6: 0.55, 0.8: 0.69, 1.0: 0.71, 1.2: 0.74}


def tried_weights(prompts: list[str]) -> dict:
    """Details of adapter weights that QA tried: exhibits, curve and window."""
    pictures = [
        {"kind": "strength", "prompt": prompt, "seed": 0, "weight": weight}
        for prompt in prompts
        for weight in WEIGHTS
    ]
    return {
        "pictures": [{**e, "artifact": f"strength-{i:03}.png"} for i, e in enumerate(pictures)],
        "curve": [
            {"weight": w, "identity": i, "clean": 1.0 if w < 1.1 else 0.8, "score": i}
            for w, i in WEIGHTS.items()
        ],
        "window": {"low": 0.6, "high": 1.0, "recommended": 0.8},
    }


def nearest(prompts: list[str]) -> dict:
    """Details of the first picture of each prompt beside a training picture, one a copy.

    Names are those of `exhibits` for the same prompts and two seeds.
    """
    first = 2 * len(prompts)
    twins = [
        {"kind": "training", "prompt": p, "artifact": f"twin-{i:03}.png"}
        for i, p in enumerate(prompts)
    ]
    pairs = [
        {
            "artifact": f"adapter-{first + 2 * i:03}.png",
            "twin": f"twin-{i:03}.png",
            "similarity": 0.97 - i / 10,
            "prompt": p,
            "seed": 0,
            "copied": i < 1,
        }
        for i, p in enumerate(prompts)
    ]
    return {"pictures": twins, "pairs": pairs}


def kept_pictures(files: dict[str, bytes]) -> tuple[Artifact, ...]:
    return tuple(
        Artifact(
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            media_type="image/png",
        )
        for name, data in files.items()
    )


def qa_step(
    lora: str = "mei", details: dict | None = None, files: dict[str, bytes] | None = None
) -> StepView:
    """A judged adapter; `files` are its pictures by artifact name."""
    given = qa_details([]) if details is None else details
    total = (given.get("overall") or {}).get("score")
    failed = isinstance(total, float) and total < 0.8
    findings = ()
    if failed:
        low = min(given["tests"], key=lambda t: t["score"])
        message = (
            f"gate `overall >= 0.8` failed: {total:.2f}; weakest: {low['name']} ({low['why']})"
        )
        hint = "compare the pictures in the report with those of the references"
        findings = (
            Finding(rule="qa.gate-failed", severity=Severity.ERROR, message=message, hint=hint),
        )
    return StepView(
        decision=make_decision(lora, Stage.QA, why="a new adapter"),
        result=StepResult(
            outcome=Outcome.FAILED if failed else Outcome.PASSED,
            metrics={"identity": 0.71, "score.identity": 0.88, "leakage": 0.04, "power": 3.2},
            artifacts=kept_pictures(files or {}),
            findings=findings,
            details=given,
        ),
    )


def optimize_step(lora: str = "mei") -> StepView:
    curve = [
        {"weight": w, "identity": i, "clean": c, "score": i * c}
        for w, i, c in ((0.6, 0.41, 1.0), (0.8, 0.69, 1.0), (1.0, 0.71, 0.98), (1.2, 0.74, 0.8))
    ]
    return StepView(
        decision=make_decision(lora, Stage.OPTIMIZE, why="a new adapter"),
        result=StepResult(
            outcome=Outcome.PASSED,
            metrics={"recommended_weight": 0.8},
            details={"curve": curve},
        ),
    )


def deploy_step(lora: str = "mei", **changed: object) -> StepView:
    files = [
        {"name": n, "sha256": hashlib.sha256(n.encode()).hexdigest(), "size": size}
        for n, size in (("adapter.safetensors", 1_210_432), ("manifest.json", 2_118))
    ]
    details = {
        "version": "1.1.0",
        "targets": [
            {
                "name": "releases",
                "channels": [{"name": "latest", "version": "1.1.0", "sequence": 4}],
            }
        ],
        "key_id": "9f3c51a0d2b87e44",
        "files": files,
    }
    return StepView(
        decision=make_decision(lora, Stage.DEPLOY, why="tag mei@v1.1.0"),
        result=StepResult(outcome=Outcome.PASSED, details=details | changed),
    )


def whole_chain(lora: str = "mei", **of_qa: object) -> tuple[StepView, ...]:
    """Validated, trained, judged and with a recommended weight."""
    return (validate_step(lora), train_step(lora), qa_step(lora, **of_qa), optimize_step(lora))


def reused(step: StepView, why: str = "reused: same fingerprint as in run 41") -> StepView:
    return replace(step, decision=replace(step.decision, action=Action.REUSE, why=why))


PAST = {
    Stage.TRAIN: Estimate(low=0.6, high=0.8, basis="3 past train steps of mei"),
    Stage.QA: Estimate(low=0.1, high=0.2, basis="3 past qa steps of mei"),
    Stage.OPTIMIZE: Estimate(low=0.2, high=0.3, basis="3 past optimize steps of mei"),
}


def priced(step: StepView, cost: Estimate | None = None) -> StepView:
    """The same step, which needs a GPU and is expected to cost what it did before."""
    cost = cost or PAST.get(step.decision.stage)
    return replace(step, decision=replace(step.decision, estimate=cost))


def to_come(lora: str, stage: Stage, why: str = "") -> StepView:
    """A stage that waits for the one above it."""
    above = list(Stage)[list(Stage).index(stage) - 1]
    return priced(
        StepView(decision=make_decision(lora, stage, Action.WAIT, why or f"waits for {above}"))
    )


def queued_step(lora: str, stage: Stage, why: str = "dataset: 3 images added") -> StepView:
    return priced(StepView(decision=make_decision(lora, stage, why=why)))


def running_step(lora: str, stage: Stage, done: int, of: int, note: str) -> StepView:
    return replace(queued_step(lora, stage), progress=Progress(done, of, note))


def ended_step(step: StepView, outcome: Outcome, *findings: Finding, **details: object) -> StepView:
    """The same step with another end."""
    return replace(step, result=StepResult(outcome=outcome, findings=findings, details=details))
