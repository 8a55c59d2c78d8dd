"""The tables and the verdicts, from canned numbers."""

from __future__ import annotations

import pytest

from benchmarks import report, verdicts


def lines(results) -> list[str]:
    return report.render(results).splitlines()


def line(results, beginning: str) -> str:
    return next(found for found in lines(results) if found.startswith(beginning))


def test_ours_is_compared_with_the_fastest_peer(results):
    assert line(results, "read, 0.6 KB ").split()[3:] == ["70", "100*", "200", "60", "0.70"]


def test_the_floor_too_is_compared_with_the_fastest_peer(results):
    found = lines(results)
    begin = found.index("The floor to the fastest peer")
    assert [row.split()[3:] for row in found[begin + 2 : begin + 4]] == [
        ["0.60", "0.60"],
        ["0.30", "0.30"],
    ]


def test_an_engine_that_does_not_start_has_a_row_with_the_reason(results):
    assert line(results, "gone:").endswith("not measured: ImportError: No module named 'gone'")


def test_a_site_that_fails_is_named(results):
    assert "gone under uvicorn: it did not start" in lines(results)


def test_an_engine_without_a_server_has_no_round_trips(results):
    counted = [found for found in lines(results) if found.startswith("login, 0.6 KB ")]
    assert any(
        found.split()[3:] == ["3:", "1000", "/", "100", "6:", "2000", "/", "100", "-"]
        for found in counted
    )


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("read, 0.6 KB, wall, to the fastest peer (cache)", "reached"),
        ("change, 0.6 KB, CPU, to the fastest peer (cache)", "missed"),
        ("read, 10 KB, wall, to the floor", "reached"),
        ("change, 10 KB, wall, to the floor", "missed"),
        ("bytes sent to change 1 key of 20 x 1 KB, to Django's cache", "reached"),
        ("login, 0.6 KB, round trips", "reached"),
        ("memory, 0.6 KB, to Django's cache", "reached"),
        ("memory, 10 KB, to Django's cache", "missed"),
        ("change, 0.5 ms added per round trip, to Django's cache", "reached"),
        ("requests a second, gunicorn, to the fastest peer (cache)", "reached"),
        ("requests a second, uvicorn, to cached_db", "reached"),
    ],
)
def test_each_number_to_reach_is_judged(results, what, word):
    found = {verdict.what: verdict.word for verdict in verdicts.judge(results)}
    assert found[what] == word


def test_a_server_under_which_ours_failed_is_not_judged(results):
    results["http"]["uvicorn"] = {"cache": 800.0}
    judged = [verdict.what for verdict in verdicts.judge(results)]
    assert any("gunicorn" in what for what in judged)
    assert not any("uvicorn" in what for what in judged)
    assert line(results, "uvicorn").endswith(" -")
