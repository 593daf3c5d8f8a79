"""Small charts as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 640, 200, 40


def line_chart(points: Sequence[tuple[float, float]], title: str, x_name: str) -> str:
    """A line through (x, y) points, with the ends of both axes labelled; empty for no points."""
    if not points:
        return ""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(0.0, *ys), max(ys) or 1.0
    left, right = min(xs), max(xs)

    def place(x: float, y: float) -> str:
        px = MARGIN + (x - left) / ((right - left) or 1) * (WIDTH - 2 * MARGIN)
        py = HEIGHT - MARGIN - (y - low) / ((high - low) or 1) * (HEIGHT - 2 * MARGIN)
        return f"{px:.1f},{py:.1f}"

    path = " ".join(place(x, y) for x, y in points)
    base = HEIGHT - MARGIN
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'<line class="axis" x1="{MARGIN}" y1="{base}" x2="{WIDTH - MARGIN}" y2="{base}"/>'
        f'<polyline class="line" points="{path}"/>'
        f'<text x="{MARGIN}" y="{base + 18}">{left:g}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{base + 18}" text-anchor="end">'
        f"{right:g} {html.escape(x_name)}</text>"
        f'<text x="{MARGIN - 4}" y="{MARGIN}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{MARGIN - 4}" y="{base}" text-anchor="end">{low:.2f}</text>'
        "</svg>"
    )


def bar_chart(bars: Sequence[tuple[str, float]], title: str) -> str:
    """Horizontal bars with their values; empty for no bars."""
    if not bars:
        return ""
    most = max(value for _, value in bars) or 1
    rows = []
    for i, (name, value) in enumerate(bars):
        y = 10 + 20 * i
        rows.append(
            f'<text x="150" y="{y + 11}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect class="bar" x="158" y="{y}" width="{value / most * 400:.1f}" height="14"/>'
            f'<text x="{164 + value / most * 400:.1f}" y="{y + 11}">{value:g}</text>'
        )
    height = 20 * len(bars) + 16
    label = html.escape(title)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(rows)}</svg>'
    )
