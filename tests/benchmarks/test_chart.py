"""The chart, from canned numbers."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks import chart

SVG = "{http://www.w3.org/2000/svg}"


def test_the_chart_is_valid_xml_with_a_title_and_a_description(results):
    root = ElementTree.fromstring(chart.render(results))
    assert root.tag == f"{SVG}svg"
    labels = root.get("aria-labelledby").split()
    assert [root.find(f"{SVG}title").get("id"), root.find(f"{SVG}desc").get("id")] == labels


def test_every_value_has_a_bar_within_the_picture(results):
    root = ElementTree.fromstring(chart.render(results))
    _, _, width, height = map(float, root.get("viewBox").split())
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("class") in ("ours", "peer")]
    assert len(bars) == sum(len(values) for values in chart.groups(results).values())
    for bar in bars:
        assert float(bar.get("x")) + float(bar.get("width")) <= width
        assert float(bar.get("y")) + float(bar.get("height")) <= height


def test_the_chart_follows_the_pages_colour_scheme(results):
    assert "prefers-color-scheme: dark" in chart.render(results)
