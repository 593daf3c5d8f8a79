"""What every benchmark prints: the machine, then one table."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path


def machine() -> str:
    """One line: date, processor, cores, load when asked, Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    found = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    name = found.get("model name", platform.processor() or platform.machine())
    family = f"{name}, family {found['cpu family']} model {found['model']}" if found else name
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    python = f"Python {platform.python_version()}"
    return f"{datetime.date.today()}, {family}, {os.cpu_count()} cores, {load}, {python}"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Smallest to largest."""
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}"
