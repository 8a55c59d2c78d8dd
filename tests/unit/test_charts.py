"""What the charts are made of: places and sizes that an SVG takes, in any language."""

from __future__ import annotations

import pytest
from django.utils import translation

from django_elasticache_sessions import charts
from django_elasticache_sessions.charts import Bar, Drawing


def bar(up: int | None, down: int | None, label: str = "x") -> Bar:
    return Bar(label=label, parts=(("up", up), ("down", down)), title=f"{up} and {down}")


def timeline(*bars: Bar) -> Drawing:
    return charts.timeline(bars, unknown="not counted", nothing="nothing")


def texts(drawing: Drawing) -> list[str]:
    return [label.text for label in drawing.labels]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, 1),
        (1, 1),
        (2, 2),
        (7, 8),
        (9, 10),
        (10, 10),
        (11, 20),
        (4041, 5000),
        (10**9 + 1, 2 * 10**9),
    ],
)
def test_the_scale_ends_at_a_round_number(count, expected):
    assert charts.ceiling(count) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0%"), (100, "100%"), (100 / 3, "33.33%"), (0.5, "0.5%"), (10, "10%")],
)
def test_lengths_are_in_per_cent_with_a_point(number, expected):
    assert charts.percent(number) == expected


def test_what_was_created_stands_on_the_line_and_what_was_ended_hangs_from_it():
    drawing = timeline(bar(4, 2), bar(0, 4))
    line = float(drawing.lines[1])
    up, *down = drawing.rects
    assert [rect.kind for rect in drawing.rects] == ["up", "down", "down"]
    assert float(up.y) + float(up.height) == line
    assert {float(rect.y) for rect in down} == {line}
    assert float(down[1].height) == float(up.height) == 2 * float(down[0].height)


def test_both_directions_have_one_scale_and_it_is_written_at_both_ends():
    drawing = timeline(bar(7, 1))
    assert texts(drawing).count("8") == 2


def test_a_single_one_among_many_can_be_seen():
    assert float(timeline(bar(100_000, 1)).rects[1].height) >= 2


def test_bars_stay_in_their_places():
    drawing = timeline(*[bar(1, 1)] * 60)
    ends = [float(rect.x[:-1]) + float(rect.width[:-1]) for rect in drawing.rects[::2]]
    starts = [float(rect.x[:-1]) for rect in drawing.rects[::2]]
    assert starts[0] >= 0
    assert ends[-1] <= 100
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))


def test_the_first_the_middle_and_the_last_time_are_written():
    drawing = timeline(*(bar(1, 1, str(hour)) for hour in range(24)))
    assert [(label.text, label.anchor) for label in drawing.labels[:3]] == [
        ("0", "start"),
        ("12", "middle"),
        ("23", "end"),
    ]


def test_what_is_not_known_is_marked_and_is_not_nothing():
    drawing = timeline(*[bar(None, None)] * 3, bar(2, 1))
    assert drawing.rects[0].kind == "unknown"
    assert drawing.rects[0].width == "75%"
    assert "not counted" in texts(drawing)
    assert "nothing" not in texts(drawing)


def test_if_nothing_at_all_is_known_all_is_marked():
    drawing = timeline(*[bar(None, None)] * 3)
    assert [(rect.kind, rect.width) for rect in drawing.rects] == [("unknown", "100%")]
    assert "nothing" not in texts(drawing)


def test_where_nothing_happened_it_is_said():
    drawing = timeline(bar(0, 0), bar(0, 0))
    assert drawing.rects == []
    assert "nothing" in texts(drawing)


def test_a_distribution_has_its_parts_end_to_end_and_their_sum():
    drawing = charts.distribution([bar(1, 3, "first"), bar(0, 2, "second"), bar(0, 0, "third")])
    first, second, third = drawing.rects
    assert float(first.x[:-1]) + float(first.width[:-1]) == pytest.approx(float(second.x[:-1]))
    assert float(third.width[:-1]) == pytest.approx(
        (float(first.width[:-1]) + float(second.width[:-1])) / 2
    )
    assert texts(drawing) == ["first", "4", "second", "2", "third", "0"]


def test_a_distribution_of_a_whole_has_shares_of_it():
    bars = [bar(1, 0, "first"), bar(1, 1, "second")]
    assert texts(charts.distribution(bars, share_of=3)) == ["first", "33.3%", "second", "66.7%"]


def test_a_distribution_of_nothing_is_drawn():
    assert charts.distribution([bar(0, 0)]).rects == []


@pytest.mark.parametrize(
    ("share", "width"), [(0, "0%"), (0.375, "37.5%"), (1, "100%"), (7, "100%")]
)
def test_a_gauge_is_filled_by_its_share_and_never_beyond(share, width):
    assert charts.gauge(share).rects[1].width == width


@pytest.mark.parametrize("language", ["en", "de", "fr", "ar"])
def test_no_number_is_localised(language, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    with translation.override(language):
        drawing = timeline(bar(12_345, 1), bar(6_789, 7), bar(3, 3))
    for rect in drawing.rects:
        for length in (rect.x, rect.y, rect.width, rect.height):
            assert length.removesuffix("%").replace(".", "", 1).isascii()
            assert length.removesuffix("%").replace(".", "", 1).isdecimal()
    assert "20000" in texts(drawing)
