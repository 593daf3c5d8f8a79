"""Numbers as people read them."""

from __future__ import annotations

NOT_MEASURED = "not measured"
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def number(value: float | None, digits: int = 2) -> str:
    """`0.83`, `−0.04`, `1.2e+06`; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.3g}"
    zero = text.strip("-0.") == ""
    return text.lstrip("-") if zero else text.replace("-", "−", 1)


def signed(value: float) -> str:
    """`+0.04`, `−0.01`; `±0.00` where it rounds to nothing."""
    text = number(value)
    if text.strip("0.") == "":
        return f"±{text}"
    return text if text.startswith("−") else f"+{text}"


def between(low: float | None, high: float | None, digits: int = 2) -> str:
    """`0.78 to 0.88` or `at least 0.78`; empty where no end is known, or both are the same."""
    ends = number(low, digits), number(high, digits)
    if ends[0] == ends[1]:
        return ""
    if low is None or high is None:
        return f"at most {ends[1]}" if low is None else f"at least {ends[0]}"
    return f"{ends[0]} to {ends[1]}"


def plain(value: float) -> str:
    """A metric of unknown size, in four digits; whole numbers whole."""
    return f"{value:,.0f}" if value == value // 1 and abs(value) < 1e9 else f"{value:.4g}"


def size(size_bytes: int) -> str:
    """`12.5 MiB`."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.{min(unit, 1)}f} {SIZES[unit]}"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 5 s`, `2 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, noun: str) -> str:
    """`1 finding`, `3 findings`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shorten(text: str, most: int) -> str:
    """At most `most` characters, with a sign that there is more."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
