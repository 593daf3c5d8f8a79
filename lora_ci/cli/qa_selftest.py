"""`lora-ci qa selftest`: judges the judge in a world whose truth is known."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode
from lora_ci.core.versions import RULER_VERSION
from lora_ci.report.text import aligned

if TYPE_CHECKING:
    from lora_ci.qa.selftest.tally import Tally, TestTally
    from lora_ci.ruler.statistics import Share

CASES = 200
FEWEST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many cases, and which."""
    parser.add_argument(
        "--cases",
        type=_count,
        default=CASES,
        metavar="N",
        help=f"sound adapters judged, and an eighth as many of each fault (default: {CASES})",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="other cases of the same kinds (default: 0)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints a line a test; exit code 1 if a target is missed."""
    # They load numpy.
    from lora_ci.qa.selftest.run import run as run_cases
    from lora_ci.qa.selftest.tally import tally

    found = tally(
        run_cases(
            args.cases,
            args.seed,
            lambda done, total: output.progress("judging", done, total, ""),
        )
    )
    output.result(
        "\n".join(as_text(found)), as_value(found, args.cases, args.seed), schema="qa-selftest"
    )
    return ExitCode.FAILED if found.misses else ExitCode.PASSED


def as_text(found: Tally) -> Iterator[str]:
    """A table of the tests, the verdict below it, and what misses its target."""
    from lora_ci.qa.selftest.tally import rate_text

    heads = ("test", "faults found", "false alarms", "95 % intervals that hold the truth")
    yield from aligned(heads, [*map(_row, found.tests)])
    yield ""
    yield f"faults found                     {rate_text(found.found)}"
    yield f"sound adapters that failed       {rate_text(found.alarms)}"
    yield f"sound adapters not decided on    {rate_text(found.inconclusive)}"
    yield f"what must fail and passed        {rate_text(found.slipped)}"
    yield f"intervals that hold the truth    {_text(found.held)}"
    yield ""
    if found.misses:
        yield "targets missed:"
        yield from (f"  {miss}" for miss in found.misses)
    else:
        yield "all targets are met"
    if found.wide:
        yield "wider than they need be, which costs pictures and misleads nobody:"
        yield from (f"  {wide}" for wide in found.wide)


def _row(test: TestTally) -> tuple[str, ...]:
    return (test.name, *map(_text, (test.found, test.alarms, test.held)))


def _text(share: Share | None) -> str:
    from lora_ci.qa.selftest.tally import rate_text

    return rate_text(share) if share else "—"


def as_value(found: Tally, cases: int, seed: int) -> dict[str, Any]:
    """The same for programs; rates are from 0 to 1, each with the ends of its interval."""
    from lora_ci.core.settings import QaSettings

    return {
        **_rate("detection_rate", found.found),
        **_rate("false_alarm_rate", found.alarms),
        **_rate("inconclusive_rate", found.inconclusive),
        **_rate("slipped_rate", found.slipped),
        **_rate("coverage", found.held),
        "tests": {
            test.name: {
                **_rate("detection_rate", test.found),
                **_rate("false_alarm_rate", test.alarms),
                **_rate("coverage", test.held),
                "faults": [
                    {
                        "name": fault.name,
                        "severity": fault.severity,
                        "stops": fault.stops,
                        "prompts": fault.prompts,
                        **_rate("detection_rate", share),
                    }
                    for fault, share in found.faults
                    if fault.test == test.name
                ],
            }
            for test in found.tests
        },
        "metrics": {
            name: {**_rate("coverage", held.share), "below": held.below, "above": held.above}
            for name, held in found.metrics.items()
        },
        "missed": found.misses,
        "wide": found.wide,
        "cases": cases,
        "seed": seed,
        "error": QaSettings().error,
        "ruler": RULER_VERSION,
    }


def _rate(name: str, share: Share | None) -> dict[str, Any]:
    """A rate, the ends of its 95 % interval, and of how many."""
    if share is None:
        return {name: None}
    ends = share.interval()
    return {name: share.mean, f"{name}_interval": [ends.low, ends.high], f"{name}_of": share.n}


def _count(text: str) -> int:
    count = _whole(text)
    if count < FEWEST:
        raise argparse.ArgumentTypeError(f"{count} cases tell nothing, give {FEWEST} or more")
    return count


def _seed(text: str) -> int:
    seed = _whole(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0")
    return seed


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number") from None
