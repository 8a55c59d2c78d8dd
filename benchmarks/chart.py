"""A run's chief results as an SVG bar chart, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from .engines import OURS
from .verdicts import kind_of

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 760, 150, 80
BAR_HEIGHT, GROUP_GAP, HEAD_HEIGHT = 18, 34, 12
STYLE = """\
svg { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --peer: #9aa5b1; --ours: #0a7d55; }
@media (prefers-color-scheme: dark) {
svg { --ink: #e6e9ed; --paper: #14171b; --peer: #5d6875; --ours: #34c08b; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.head { font-weight: 600; }
.paper { fill: var(--paper); }
.peer { fill: var(--peer); }
.ours { fill: var(--ours); }"""
DESCRIPTION = "Bars compare the engines within each group; a group's longest bar is its largest."


def groups(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what is drawn: for each group's heading the values by engine."""
    small = results["timings"]["0.6 KB"]
    costs = {
        f"{scenario.capitalize()}, 0.6 KB session, us (less is better)": kind_of(found, "wall_us")
        for scenario, found in small.items()
        if scenario in ("read", "change", "login")
    }
    delayed = kind_of(results["delayed"], "wall_us")
    rates = {
        f"Requests a second under {server} (more is better)": found
        for server, found in results["http"].items()
    }
    return costs | {"Change with 0.5 ms network delay, us (less is better)": delayed} | rates


def render(results: dict[str, Any]) -> str:
    """Return the chart as an SVG document."""
    lines, height = _body(groups(results))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="title description">',
        '<title id="title">Django session engines compared</title>',
        f'<desc id="description">{escape(DESCRIPTION)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    return "\n".join([*head, *lines, "</svg>"]) + "\n"


def _body(drawn: dict[str, dict[str, float]]) -> tuple[list[str], int]:
    lines: list[str] = []
    top = HEAD_HEIGHT
    for heading, values in drawn.items():
        lines.append(f'<text class="head" x="10" y="{top + 12}">{escape(heading)}</text>')
        top += BAR_HEIGHT + 4
        lines.extend(_bars(values, top))
        top += BAR_HEIGHT * len(values) + GROUP_GAP - BAR_HEIGHT
    return lines, top


def _bars(values: dict[str, float], top: int) -> Iterator[str]:
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    most = max(values.values())
    for place, (name, value) in enumerate(values.items()):
        y, length = top + place * BAR_HEIGHT, value / most * room
        kind = "ours" if name == OURS.name else "peer"
        yield (
            f'<text x="{LABEL_WIDTH - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{y + 1}" width="{length:.1f}" '
            f'height="{BAR_HEIGHT - 4}"/>'
            f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{y + 12}">{value:.0f}</text>'
        )
