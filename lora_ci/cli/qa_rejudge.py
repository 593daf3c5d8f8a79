"""`lora-ci qa rejudge`: judges by the present ruler what is trained already; trains nothing."""

from __future__ import annotations

import argparse

from lora_ci.app.handle import EXIT_CODES, handle
from lora_ci.app.plan_event import plan_event
from lora_ci.app.scope import EVERYTHING, Scope
from lora_ci.cli import run as run_command
from lora_ci.cli.events import open_event
from lora_ci.cli.hub import open_hub
from lora_ci.cli.junit import forget_junit
from lora_ci.cli.output import Output
from lora_ci.cli.wire import open_wired
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.plan import Action, Plan
from lora_ci.core.step import Outcome, Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRAs."""
    parser.add_argument("loras", nargs="*", metavar="LORA", help="names in .lora-ci.yml")
    parser.add_argument("--all", action="store_true", help="every LoRA that has an adapter")
    run_command.add_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Judges; the exit code is that of the worst verdict, 3 where nothing could be judged."""
    if bool(args.loras) == args.all:
        raise UsageError("which LoRAs?", hint="next: lora-ci qa rejudge --all")
    forget_junit(args)
    hub = open_hub(args)
    event, source = open_event(args, None, hub.host)

    def watch(lora: str, stage: Stage, done: int, total: int, note: str) -> None:
        output.progress(f"{stage} {lora}", done, total, note)

    deps = open_wired(args, source, hub, watch)
    plan, gathered = plan_event(event, deps.source, deps.records, deps.clock, EVERYTHING)
    wanted = list(gathered.config.loras) if args.all else args.loras
    if unknown := [name for name in wanted if name not in gathered.config.loras]:
        known = ", ".join(gathered.config.loras)
        raise UsageError(f"no LoRA `{unknown[0]}`", hint=f"known: {known}")
    trained = [name for name in wanted if is_trained(plan, name)]
    for name in wanted:
        if name not in trained:
            output.note(f"{name}: no adapter of this commit passed; next: lora-ci train {name}")
    if not trained:
        told: dict[str, list[str]] = {"judged": [], "without_adapter": wanted}
        output.result("nothing was judged: no adapter is there", told, schema="qa-rejudge")
        return ExitCode.INCONCLUSIVE
    view = handle(event, deps, scope=Scope(loras=frozenset(trained), last=Stage.QA))
    for step in view.steps:
        made = step.result.details.get("drawn") if step.result else None
        if step.decision.stage is Stage.QA and isinstance(made, dict):
            again = step.decision.action is Action.REUSE
            name, why = step.decision.lora, "by this ruler already" if again else "anew"
            kept = f"{made.get('kept')} pictures kept, {made.get('made')} made"
            output.note(f"{name}: judged {why} ({kept})")
    run_command.tell(args, view, deps, hub, output)
    return EXIT_CODES[view.outcome]


def is_trained(plan: Plan, lora: str) -> bool:
    """True if the adapter of the commit is there."""
    return any(
        decision.stage is Stage.TRAIN
        and decision.action is Action.REUSE
        and decision.record is not None
        and decision.record.result.outcome is Outcome.PASSED
        for decision in plan.of(lora)
    )
