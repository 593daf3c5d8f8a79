"""`lora-ci qa rejudge`: judges by the present ruler what is trained already; trains nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.handle import EXIT_CODES, handle
from lora_ci.app.plan_event import plan_event
from lora_ci.app.scope import EVERYTHING, Scope, check_scope
from lora_ci.app.source import Gathered
from lora_ci.cli import run as run_command
from lora_ci.cli.events import open_event
from lora_ci.cli.hub import open_hub
from lora_ci.cli.junit import add_junit_argument, forget_junit
from lora_ci.cli.output import Output
from lora_ci.cli.wire import open_wired
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.plan import Action, Plan
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Stage

# No event asks for it: it is asked for by hand.
NO_EVENT = {
    "base": None,
    "pull_request": None,
    "tag": None,
    "untrusted": False,
    "default_branch": None,
    "approved_by": None,
    "passed_check": (),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRAs, of which commit."""
    parser.add_argument("loras", nargs="*", metavar="LORA", help="names in .lora-ci.yml")
    parser.add_argument("--all", action="store_true", help="every LoRA that has an adapter")
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--head", default="HEAD", help="commit to look at (default: HEAD)")
    parser.set_defaults(**NO_EVENT)
    add_junit_argument(parser)
    run_command.add_common_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Judges; the exit code is that of the worst verdict, 3 where nothing could be judged."""
    if bool(args.loras) == args.all:
        raise UsageError("which LoRAs?", hint="next: lora-ci qa rejudge --all")
    forget_junit(args)
    hub = open_hub(args)
    event, source = open_event(args, None, hub.host)

    deps = open_wired(args, source, hub, output.watch)
    plan, gathered = plan_event(event, deps.source, deps.records, deps.clock, EVERYTHING)
    check_scope(Scope(loras=frozenset(args.loras)), gathered)
    wanted = list(gathered.config.loras) if args.all else args.loras
    trained = [name for name in wanted if not untrained(name, plan, gathered)]
    for name in wanted:
        for lacking in untrained(name, plan, gathered):
            output.note(
                f"{name} is left out: no adapter of {lacking} at this commit passed training; "
                f"next: lora-ci train {lacking}"
            )
    if not trained:
        told: dict[str, list[str]] = {"judged": [], "without_adapter": wanted}
        output.result("nothing was judged: no adapter is there", told, schema="qa-rejudge")
        return ExitCode.INCONCLUSIVE
    view = handle(event, deps, scope=Scope(loras=frozenset(trained), last=Stage.QA))
    for step in view.steps:
        if step.decision.stage is Stage.QA:
            output.note(f"{step.decision.lora}: {how_judged(step)}")
    run_command.tell(args, view, deps, hub, output)
    return EXIT_CODES[view.outcome]


def how_judged(step: StepView) -> str:
    """Whether it was, and where the pictures came from."""
    if step.decision.action is Action.REUSE:
        return "judged by this ruler before"
    drawn = step.result.details.get("drawn") if step.result else None
    if not isinstance(drawn, dict):
        return "not judged"
    return f"judged anew: {drawn.get('kept')} pictures were kept, {drawn.get('made')} were made"


def untrained(lora: str, plan: Plan, gathered: Gathered) -> tuple[str, ...]:
    """Itself, and of those that it needs the ones, without an adapter at the commit."""
    needed = Scope(loras=frozenset([lora])).with_needs(gathered.config).needed
    return tuple(name for name in (lora, *sorted(needed)) if not is_trained(plan, name))


def is_trained(plan: Plan, lora: str) -> bool:
    """True if the adapter of the commit is there."""
    return any(
        decision.stage is Stage.TRAIN
        and decision.action is Action.REUSE
        and decision.record is not None
        and decision.record.result.outcome is Outcome.PASSED
        for decision in plan.of(lora)
    )
