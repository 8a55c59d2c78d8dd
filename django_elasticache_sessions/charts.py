"""Charts as shapes for SVG: across in per cent of the width, down in pixels, so that text is large.

Every number is text already, with a point for the decimals, whatever the language of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Anchor = Literal["start", "middle", "end"]

#: Down, in pixels: a line of text, and half of the timeline.
_TEXT, _HALF = 16, 88
_BASE = _TEXT + _HALF
_ROW, _BAR = 30, 16
_SPARK = 24
#: Across, in per cent: where the bars of a distribution begin, and the most that they take.
_BARS_AT, _BARS_WIDTH = 34.0, 54.0
#: The share of a bar's place that it fills.
_FILLED = 0.76


@dataclass(frozen=True, slots=True, kw_only=True)
class Rect:
    """A rectangle; `kind` is its class, `title` what it says when pointed at."""

    kind: str
    x: str
    y: str
    width: str
    height: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A line of text."""

    x: str
    y: str
    text: str
    anchor: Anchor = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The shapes of a chart; `lines` are level ones, by how far down they are."""

    height: str
    rects: Sequence[Rect]
    labels: Sequence[Label] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing, and the same as text: `key` is unique on the page, `legend` by kind.

    `note` says what must be known to read it.
    """

    key: str
    title: str
    description: str
    drawing: Drawing
    legend: Sequence[tuple[str, str]]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What is drawn for one place: the parts by kind, `None` where a number is not known."""

    label: str
    parts: Sequence[tuple[str, int | None]]
    title: str = field(default="")


def timeline(bars: Sequence[Bar], *, unknown: str, nothing: str) -> Drawing:
    """Draw two parts each, the first above a common line and the second below it.

    `unknown` is written over what is not known, `nothing` where all is zero.
    """
    counts = [count for bar in bars for _, count in bar.parts if count is not None]
    most = ceiling(max(counts, default=0))
    rects = [
        *_unknown(bars),
        *(rect for at, bar in enumerate(bars) for rect in _ups(bars, at, most)),
    ]
    labels = list(_times(bars))
    if any(counts):
        labels.append(Label(x="0%", y=str(_TEXT - 4), text=str(most)))
        labels.append(Label(x="0%", y=str(_BASE + _HALF + _TEXT - 2), text=str(most)))
    lacking = _lacking(bars)
    if lacking >= 0.3:
        labels.append(_centred(lacking / 2, unknown))
    if not any(counts) and lacking <= 0.7:
        labels.append(_centred(lacking + (1 - lacking) / 2, nothing))
    return Drawing(
        height=str(_BASE + _HALF + 2 * _TEXT + 4),
        rects=rects,
        labels=labels,
        lines=[str(y) for y in (_TEXT, _BASE, _BASE + _HALF)],
    )


def distribution(bars: Sequence[Bar], *, share_of: int | None = None) -> Drawing:
    """Draw one level bar below the other, its parts end to end and their sum behind it.

    Where a whole is given, its share of that is told instead of the sum.
    """
    sums = [sum(count or 0 for _, count in bar.parts) for bar in bars]
    scale = _BARS_WIDTH / max(1, *sums)
    rects, labels = [], []
    for row, (bar, total) in enumerate(zip(bars, sums, strict=True)):
        x, y = _BARS_AT, row * _ROW + (_ROW - _BAR) // 2
        middle = str(y + _BAR - 4)
        labels.append(Label(x="0%", y=middle, text=bar.label))
        for kind, count in bar.parts:
            width = (count or 0) * scale
            if width:
                rects.append(_rect(kind, x, y, width, _BAR, bar.title))
            x += width
        text = percent(round(100 * total / share_of, 1)) if share_of else str(total)
        labels.append(Label(x=percent(x + 1), y=middle, text=text))
    return Drawing(height=str(len(bars) * _ROW), rects=rects, labels=labels)


def gauge(share: float) -> Drawing:
    """Draw a share of one as a part of a bar."""
    filled = 100 * min(1.0, max(0.0, share))
    return Drawing(
        height="8",
        rects=[_rect("whole", 0, 0, 100, 8), _rect("part", 0, 0, filled, 8)],
    )


def sparkline(values: Sequence[float | None]) -> Drawing:
    """Draw values from zero up, the oldest first; there is a gap where one is `None`."""
    most = max((value for value in values if value is not None), default=0) or 1
    place = 100 / max(1, len(values))
    rects = [_rect("ground", 0, _SPARK, 100, 1)]
    for at, value in enumerate(values):
        if value is not None:
            height = max(1.0, max(0.0, value) / most * _SPARK)
            rects.append(_rect("part", at * place, _SPARK - height, place * _FILLED, height))
    return Drawing(height=str(_SPARK + 1), rects=rects)


def ceiling(count: int) -> int:
    """Return the next round number that is not below a count."""
    step = 1
    while True:
        for factor in (1, 2, 3, 4, 5, 6, 8):
            if count <= factor * step:
                return factor * step
        step *= 10


def percent(number: float) -> str:
    """Return a length in per cent, as SVG takes it."""
    return f"{number:.2f}".rstrip("0").rstrip(".") + "%"


def _ups(bars: Sequence[Bar], at: int, most: int) -> Iterator[Rect]:
    place = 100 / len(bars)
    left, width = at * place + place * (1 - _FILLED) / 2, place * _FILLED
    for direction, (kind, count) in enumerate(bars[at].parts):
        if count:
            # What there is can be seen, however little it is.
            height = max(2.0, count / most * _HALF)
            top = _BASE if direction else _BASE - height
            yield _rect(kind, left, top, width, height, bars[at].title)


def _unknown(bars: Sequence[Bar]) -> Iterator[Rect]:
    lacking = _lacking(bars)
    if lacking:
        yield _rect("unknown", 0, _TEXT, 100 * lacking, 2 * _HALF)


def _lacking(bars: Sequence[Bar]) -> float:
    """Return the share of bars at the beginning that nothing is known of."""
    known = (at for at, bar in enumerate(bars) if any(count is not None for _, count in bar.parts))
    return next(known, len(bars)) / len(bars)


def _times(bars: Sequence[Bar]) -> Iterator[Label]:
    y = str(_BASE + _HALF + 2 * _TEXT)
    middle = len(bars) // 2
    yield Label(x="0%", y=y, text=bars[0].label)
    yield Label(
        x=percent((middle + 0.5) / len(bars) * 100), y=y, text=bars[middle].label, anchor="middle"
    )
    yield Label(x="100%", y=y, text=bars[-1].label, anchor="end")


def _centred(share: float, text: str) -> Label:
    return Label(x=percent(100 * share), y=str(_BASE - 8), text=text, anchor="middle")


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str = "") -> Rect:
    down, tall = f"{y:.1f}", f"{height:.1f}"
    return Rect(kind=kind, x=percent(x), y=down, width=percent(width), height=tall, title=title)
