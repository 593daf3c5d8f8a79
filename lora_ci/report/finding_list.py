"""Findings as lists in markdown: errors first and open, the rest for the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lora_ci.core.finding import Finding, Severity
from lora_ci.report.figures import counted, shorten
from lora_ci.report.findings import Fault, faults
from lora_ci.report.markdown import code, escape, folded, prose

SHOWN = 10
SHOWN_PLACES = 3
LONGEST_PLACE = 100
MOST_WORDS = 300
ICONS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.INFO: "ℹ️"}
NOUNS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
# What a hint gives to be typed: shown as code, so that it can be copied as it is.
COMMAND = re.compile(r"next: ((?:dvc|git|hf|lora-ci|pip) [^,;`]+)")


def render_findings(findings: Mapping[str, Sequence[Finding]]) -> list[str]:
    """The findings of each LoRA, one list for all: errors open, the others folded.

    Names stand before the messages where there is more than one name.
    """
    bad = {name: [f for f in given if _is_error(f)] for name, given in findings.items()}
    rest = {name: [f for f in given if not _is_error(f)] for name, given in findings.items()}
    named = len(findings) > 1
    return [*_list(bad, named=named, is_open=True), *_list(rest, named=named, is_open=False)]


def _is_error(finding: Finding) -> bool:
    return finding.severity is Severity.ERROR


def _list(findings: Mapping[str, Sequence[Finding]], *, named: bool, is_open: bool) -> list[str]:
    found = [(name, fault) for name, given in findings.items() for fault in faults(given)]
    order = list(Severity)
    found.sort(key=lambda pair: order.index(pair[1].severity))
    items = [_item(fault, name if named else "") for name, fault in found[:SHOWN]]
    if len(found) > SHOWN:
        items.append(f"- … and {len(found) - SHOWN} more in the report")
    counts = Counter(f.severity for given in findings.values() for f in given)
    title = ", ".join(counted(counts[s], NOUNS[s]) for s in order if counts[s])
    return folded(title, items, is_open=is_open)


def render_finding_items(findings: Iterable[Finding]) -> list[str]:
    """The findings as a list that is not folded."""
    return [_item(fault, "") for fault in faults(tuple(findings))[:SHOWN]]


def _item(fault: Fault, name: str) -> str:
    whose = f"**{escape(name)}**: " if name else ""
    message = prose(shorten(fault.message, MOST_WORDS))
    hint = f" — {_hint(shorten(fault.hint, MOST_WORDS))}" if fault.hint else ""
    return f"- {ICONS[fault.severity]} {whose}{message}{hint}{_places(fault)}"


def _hint(hint: str) -> str:
    if match := COMMAND.match(hint):
        return f"next: `{code(match[1].rstrip())}`{prose(hint[match.end() :])}"
    return prose(hint)


def _places(fault: Fault) -> str:
    shown = [f"`{code(shorten(place, LONGEST_PLACE))}`" for place in fault.places[:SHOWN_PLACES]]
    rest = len(fault.places) - len(shown)
    more = f" and {rest} more" if rest else ""
    return f"<br>{', '.join(shown)}{more}" if shown else ""
