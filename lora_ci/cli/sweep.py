"""`lora-ci sweep`: does a LoRA's matrix, shows what is best, and the change that settles it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lora_ci.app.git_source import GitSource
from lora_ci.app.handle import EXIT_CODES, handle
from lora_ci.app.plan_event import plan_event
from lora_ci.app.scope import Scope
from lora_ci.app.sweep import LOSS, Search, last_stage
from lora_ci.automl.asha import BUDGET_KEYS, Ladder, ladder_of
from lora_ci.cli.events import Nothing, add_event_arguments, open_event, read_asked
from lora_ci.cli.hub import Hub, open_hub
from lora_ci.cli.output import Output
from lora_ci.cli.run import add_common_arguments, asked_of
from lora_ci.cli.wire import ACTIONS, open_past, open_wired, with_jobs
from lora_ci.config.model import FILE_NAME, Lora
from lora_ci.config.settle import apply_suggestion
from lora_ci.config.work_tree import read_file
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.event import Event
from lora_ci.core.finding import Severity
from lora_ci.core.metrics import OVERALL
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome
from lora_ci.core.sweep import Sweep
from lora_ci.report.sweep_text import render_sweep_text
from lora_ci.report.text import sharing_text, summary
from lora_ci.steps.folder import write_whole

ETA = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which matrix, and how the best is found."""
    parser.add_argument("lora", help="name of the LoRA whose `matrix` is done")
    parser.add_argument(
        "--metric",
        default=OVERALL,
        help=f"what the best is best in: a metric of QA (default: {OVERALL}), or `{LOSS}` of the "
        "training alone, which makes no pictures",
    )
    parser.add_argument(
        "--asha", action="store_true", help="give a longer budget only to the best of a shorter one"
    )
    parser.add_argument(
        "--eta",
        type=reduction,
        metavar="N",
        help=f"--asha: one in N goes on (default: {ETA})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would run")
    parser.add_argument(
        "--write", action="store_true", help=f"put the best values into {FILE_NAME} at the end"
    )
    add_event_arguments(parser)
    add_common_arguments(parser)


def reduction(text: str) -> int:
    """A whole number from 2."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 2")
    return int(text)


def run(args: argparse.Namespace, output: Output) -> int:
    """Trains and judges; the exit code is 0 where there is a best that passed."""
    hub = open_hub(args)
    try:
        asked = read_asked(args, hub.host)
    except Nothing as nothing:
        output.result(f"nothing to do: {nothing}", {"nothing": str(nothing)}, schema="nothing")
        return ExitCode.PASSED
    event, source = open_event(args, asked, hub.host)
    variants = variants_of(args.lora, event, source)
    scope = Scope(
        loras=frozenset(lora.name for lora in variants),
        last=last_stage(args.metric),
    )
    search = Search(metric=args.metric)
    if args.eta and not args.asha:
        raise UsageError("--eta says how --asha stops", hint="next: add --asha, or drop --eta")
    if args.asha:
        ladder = need_ladder(variants, args.lora)
        scope = Scope(loras=ladder.first(), last=scope.last)
        search = early(ladder, args.metric, args.eta or ETA)
    if args.dry_run:
        return foretell(args, event, source, scope, output)
    if args.write:
        unchanged_text(event, source)  # before hours of training

    deps = open_wired(args, source, hub, output.watch)
    if args.executor == ACTIONS:
        deps = with_jobs(deps, hub, asked_of(event))
    view = handle(event, deps, scope=scope, search=search)
    sweep = next((s for s in view.sweeps if s.of == args.lora), None)
    tell(view, sweep, output)
    try:
        if args.write:
            write(sweep, event, source, output)
    except UsageError as error:  # the result is printed already
        output.findings(error.findings)
        return error.exit_code
    return exit_code(view, sweep)


def variants_of(name: str, event: Event, source: GitSource) -> tuple[Lora, ...]:
    """The LoRAs that the matrix makes. Raises UsageError: there is none."""
    loras = source.written(event).config.loras
    found = tuple(lora for lora in loras.values() if lora.variant_of == name)
    if found:
        return found
    if name in loras:
        hint = f"next: give `{name}` one in {FILE_NAME}, such as `matrix: {{train.rank: [8, 16]}}`"
        raise UsageError(f"`{name}` has no matrix", hint=hint)
    known = dict.fromkeys(lora.variant_of or lora.name for lora in loras.values())
    message = f"no LoRA `{name}` is in the config of this commit"
    raise UsageError(message, hint=f"next: name one of: {', '.join(known)}")


def need_ladder(variants: Sequence[Lora], name: str) -> Ladder:
    """The variants by budget. Raises UsageError where there is nothing to stop early."""
    ladder = ladder_of(variants)
    if ladder is None:
        keys = ", ".join(f"`{key}`" for key in BUDGET_KEYS)
        message = f"--asha stops long budgets early, and the matrix of `{name}` has one budget"
        raise UsageError(message, hint=f"next: give it several values of one of {keys}")
    return ladder


def early(ladder: Ladder, metric: str, eta: int) -> Search:
    """Looks for the best by going on with the best of each budget."""

    def more(sweeps: Sequence[Sweep]) -> frozenset[str]:
        scores = {
            standing.lora: None
            if standing.score is None
            else (-standing.score if sweep.lower_is_better else standing.score)
            for sweep in sweeps
            for standing in sweep.standings
        }
        return ladder.next(scores, eta) if scores else frozenset()

    return Search(metric=metric, more=more, early=True)


def foretell(
    args: argparse.Namespace, event: Event, source: GitSource, scope: Scope, output: Output
) -> int:
    """Prints what would run, in sum; runs nothing."""
    records = open_past(args, source, Hub()).records
    plan, gathered = plan_event(event, source, records, SystemClock(), scope)
    plan = scope.with_needs(gathered.config).narrow(plan)
    output.result("\n".join([*sharing_text(plan), summary(plan)]), plan, schema="plan")
    output.findings(plan.findings)
    failed = any(finding.severity is Severity.ERROR for finding in plan.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED


def tell(view: RunView, sweep: Sweep | None, output: Output) -> None:
    """The table and the best; findings of what could not be done."""
    value = {"run": view.run_id, "outcome": view.outcome, "sharing": view.plan.sharing}
    text = [*sharing_text(view.plan)]
    text += [render_sweep_text(sweep)] if sweep else ["nothing came of it"]
    output.result("\n".join(text), value | {"sweep": sweep}, schema="sweep")
    output.findings(view.plan.findings)
    output.findings(view.notes)
    if view.outcome is Outcome.INTERRUPTED:
        output.note("interrupted; the same command goes on where it stopped")
    elif sweep is None or not sweep.passed:
        output.note(f"next: lora-ci report {view.run_id}, for the page with everything")


def write(sweep: Sweep | None, event: Event, source: GitSource, output: Output) -> None:
    """Puts the best values in place of the matrix in the work tree.

    Raises:
        UsageError: there is no such change, or the file is not that of the commit any more.
    """
    if sweep is None or sweep.suggestion is None:
        why = sweep.unsuggested if sweep else "nothing came of the matrix"
        raise UsageError(f"{FILE_NAME} stays as it is: {why}")
    text = unchanged_text(event, source)
    write_whole(source.root / FILE_NAME, apply_suggestion(text, sweep.suggestion).encode())
    output.note(f"{FILE_NAME} has the best values now; next: git diff {FILE_NAME}")


def unchanged_text(event: Event, source: GitSource) -> str:
    """The config in the work tree. Raises UsageError where it is not that of the commit."""
    now = read_file(source.root, FILE_NAME)
    if now is None or now != source.repo.file(event.head, FILE_NAME):
        message = f"{FILE_NAME} in the work tree is not that of commit {event.head[:7]}"
        raise UsageError(message, hint=f"next: git diff {event.head[:7]} -- {FILE_NAME}")
    return now.decode("utf-8-sig")


def exit_code(view: RunView, sweep: Sweep | None) -> ExitCode:
    """0 where the best passed: that others did not is what a sweep is for.

    What the machine or a signal kept from being done might have been better.
    """
    if view.outcome in (Outcome.INTERRUPTED, Outcome.ERROR):
        return EXIT_CODES[view.outcome]
    if sweep and sweep.passed:
        return ExitCode.PASSED
    failed = view.outcome is Outcome.FAILED
    return ExitCode.FAILED if failed else ExitCode.INCONCLUSIVE
