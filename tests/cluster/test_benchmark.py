"""The benchmark of a cluster: what it counts is so, and its tables show it."""

from __future__ import annotations

import pytest

from benchmarks import cluster, cluster_report

FEW = cluster.Amounts(sessions=60, rounds=1, operations=2, counted=3, visits=60)


@pytest.fixture(scope="module")
def results():
    return cluster.measure(FEW)


def test_every_session_is_found_on_some_node(results):
    nodes = results["spread"]["nodes"].values()
    assert sum(counted["sessions"] for counted in nodes) == FEW.sessions
    assert sum(counted["indexes of users"] for counted in nodes) == FEW.sessions
    assert all(results["spread"]["bytes"].values())


@pytest.mark.parametrize(
    ("scenario", "alone", "in_all", "waits"),
    [("read", 1, 1, 1), ("change", 2, 2, 2), ("live.count", 1, 3, 1)],
)
def test_round_trips_are_counted_in_front_of_each_node(results, scenario, alone, in_all, waits):
    sides = results["traffic"][scenario]
    assert sides["standalone"]["round_trips"] == alone
    assert sides["cluster"]["round_trips"] == in_all
    assert sides["cluster"]["waits"] == waits


def test_a_login_waits_three_times_whichever_node_has_the_users_index(results):
    login = results["traffic"]["login"]["cluster"]
    assert login["waits"] == 3
    assert 3 <= login["round_trips"] <= 4


def test_a_page_is_asked_of_all_nodes_at_once(results):
    page = results["traffic"]["live.page"]["cluster"]
    # A bucket that has more of the page than others is asked once more.
    assert 2 <= page["waits"] < 4
    assert page["round_trips"] > 2 * page["waits"]


def test_commands_are_counted_at_each_node(results):
    visits = results["commands"]["visit"].values()
    assert sum(counted["HGETALL"] for counted in visits) == FEW.visits


def test_everything_is_shown(results):
    shown = cluster_report.render(results)
    for scenario in cluster.MEASURED:
        assert f"\n{scenario} " in shown
