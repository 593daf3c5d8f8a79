"""References that were trained on: what the judge says of them."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.finding import Finding, Severity
from lora_ci.ruler.seen import Seen

SHOWN = 3


def not_held_out(seen: Sequence[Seen], count: int) -> str:
    """Why nothing can be judged by such references, of which there are `count` in all."""
    pairs = ", ".join(f"{one.reference} is {one.training}" for one in seen[:SHOWN])
    more = f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
    return f"{len(seen)} of {count} references are training pictures ({pairs}{more})"


def about_seen(seen: Sequence[Seen], count: int) -> tuple[Finding, ...]:
    """The finding; none where all references are held out."""
    if not seen:
        return ()
    return (
        Finding(
            rule="qa.not-held-out",
            severity=Severity.ERROR,
            message=f"{not_held_out(seen, count)}: whoever copies them would look best",
            hint="next: move those pictures out of the dataset or out of `qa.references`",
        ),
    )
