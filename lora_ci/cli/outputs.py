"""What a command tells the other steps and jobs of its workflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lora_ci.app.commands import Run
from lora_ci.core.plan import Plan
from lora_ci.core.run import RunView
from lora_ci.forge.job import Job
from lora_ci.plan.split import Share, split

MOST_KEY = 60


def tell_plan(job: Job, plan: Plan, needs: Mapping[str, Sequence[str]], asked: Run | None) -> None:
    """`any`: is there something to run; `matrix`: the jobs that do it, side by side.

    `asked`: what the event came to, for those jobs, so that a command is answered once.
    """
    shares = split(plan, needs)
    matrix = {"include": [_entry(at, share) for at, share in enumerate(shares)]}
    job.set_output("any", "true" if shares else "false")
    job.set_output("matrix", msgspec.json.encode(matrix).decode())
    job.set_output("asked", msgspec.json.encode(asked).decode() if asked else "")


def tell_nothing(job: Job) -> None:
    """The event asks for nothing: no job is needed."""
    job.set_output("any", "false")
    job.set_output("matrix", "{}")
    job.set_output("asked", "")


def tell_run(job: Job, view: RunView, page: Path, adapters: Iterable[Path]) -> None:
    """`verdict`, `run-id`; `report`: the page's file; `adapter`: the adapters', one a line."""
    job.set_output("verdict", str(view.outcome))
    job.set_output("run-id", view.run_id)
    job.set_output("report", str(page) if page.is_file() else "")
    job.set_output("adapter", "\n".join(map(str, adapters)))


def _entry(at: int, share: Share) -> dict[str, Any]:
    """A job: `key` names it and its artifact, so it is short and a file's name."""
    name = "+".join(share.loras)
    return {
        "key": name if len(name) <= MOST_KEY else f"{name[: MOST_KEY - 8]}-{at}",
        "loras": " ".join(share.loras),
        "gpu": share.gpu,
    }
