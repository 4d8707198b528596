"""Draw a loss curve as a small SVG. Knows nothing about what was trained."""

from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 480, 240, 36


def smooth(losses: Sequence[float], *, points: int) -> list[float]:
    """Return the mean loss of each of `points` equal spans."""
    span = max(1, len(losses) // points)
    return [
        sum(losses[i : i + span]) / len(losses[i : i + span]) for i in range(0, len(losses), span)
    ]


def write_curve(losses: Sequence[float], path: Path) -> None:
    """Write the curve; the horizontal axis is steps, the vertical one the loss from zero."""
    means = smooth(losses, points=120)
    top = max(means)
    x_unit = (WIDTH - 2 * MARGIN) / max(1, len(means) - 1)
    y_unit = (HEIGHT - 2 * MARGIN) / top
    line = " ".join(
        f"{MARGIN + i * x_unit:.1f},{HEIGHT - MARGIN - mean * y_unit:.1f}"
        for i, mean in enumerate(means)
    )
    base = HEIGHT - MARGIN
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        f'<path d="M{MARGIN},{MARGIN}V{base}H{WIDTH - MARGIN}" fill="none" stroke="#888"/>\n'
        f'<polyline points="{line}" fill="none" stroke="#2f6fd6" stroke-width="1.5"/>\n'
        f'<text x="4" y="{MARGIN}">{top:.1f}</text><text x="20" y="{base}">0</text>\n'
        f'<text x="{MARGIN}" y="{HEIGHT - 14}">0</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 14}" text-anchor="end">'
        f"{len(losses)} steps</text>\n"
        f'<text x="{WIDTH / 2}" y="20" text-anchor="middle">training loss, last '
        f"{means[-1]:.2f}</text>\n</svg>\n",
        encoding="utf-8",
    )
