"""Where connections lead to: what is news, and for whom."""

from __future__ import annotations

import pytest

from django_elasticache_sessions.drivers import origin
from django_elasticache_sessions.drivers.leads import Lead, NameLead, SentinelLead
from django_elasticache_sessions.drivers.origin import Primary

OLD, NEW, OTHER = ("10.0.0.1", 6379), ("10.0.0.2", 6379), ("10.0.0.3", 6379)
KINDS = pytest.mark.parametrize("kind", [NameLead, SentinelLead])


def connect(lead: Lead, address: object) -> int:
    """Make a connection; its number."""
    return lead.led_to(address, lead.number)


@KINDS
def test_a_connection_to_the_same_address_leaves_none(kind):
    lead = kind(Primary())
    first = connect(lead, OLD)
    assert connect(lead, OLD) == first == lead.number


@KINDS
def test_one_to_another_leaves_all_but_itself(kind):
    lead = kind(Primary())
    first = connect(lead, OLD)
    second = connect(lead, NEW)
    assert second == lead.number != first
    assert connect(lead, NEW) == second


@KINDS
def test_so_it_does_for_other_pools_to_the_same_primary(kind):
    primary = Primary()
    mine, others = kind(primary), kind(primary)
    connect(mine, OLD)
    theirs = connect(others, OLD)
    connect(mine, NEW)
    assert theirs != others.number


@KINDS
def test_one_that_was_asked_for_before_others_were_left_is_no_news(kind):
    lead = kind(Primary())
    early = lead.number
    connect(lead, OLD)
    connect(lead, NEW)
    left = lead.number
    assert lead.led_to(OLD, early) == early != left == lead.number


@KINDS
def test_one_that_closed_at_once_is_no_news(kind):
    lead = kind(Primary())
    first = connect(lead, OLD)
    assert connect(lead, None) == first == lead.number


def test_addresses_that_a_name_has_in_turn_are_met_as_news_once():
    lead = NameLead(Primary())
    for address in (OLD, NEW, OTHER):
        connect(lead, address)
    number = lead.number
    assert {connect(lead, address) for address in (OLD, NEW, OTHER) * 5} == {number}


def test_an_address_of_long_ago_is_news_again(monkeypatch):
    monkeypatch.setattr(origin, "ROTATION_SECONDS", 0.0)
    lead = NameLead(Primary())
    numbers = [connect(lead, address) for address in (OLD, NEW, OLD, NEW)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == lead.number


def test_sentinels_that_name_the_primary_before_have_the_one_between_left():
    lead = SentinelLead(Primary())
    first, second, third = (connect(lead, address) for address in (OLD, NEW, OLD))
    assert len({first, second, third}) == 3
    assert third == lead.number


def test_pools_whose_sentinels_disagree_do_not_have_each_other_connect_for_ever():
    primary = Primary()
    mine, others = SentinelLead(primary), SentinelLead(primary)
    connect(mine, OLD)
    connect(others, NEW)
    numbers = mine.number, others.number
    for _ in range(5):
        connect(mine, OLD)
        connect(others, NEW)
    assert (mine.number, others.number) == numbers


def test_one_who_asked_later_leaves_what_it_was_led_to_by_sentinels_that_lagged_behind():
    primary = Primary()
    mine, others = SentinelLead(primary), SentinelLead(primary)
    connect(mine, OLD)
    connect(others, OLD)
    connect(mine, NEW)
    behind = connect(others, OLD)
    assert behind == others.number
    connect(others, NEW)
    assert behind != others.number


def test_sentinels_are_asked_once_an_interval(monkeypatch):
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 3600.0)
    lead = SentinelLead(Primary())
    assert not lead.claims_look()
    connect(lead, OLD)
    assert not lead.claims_look()
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 0.0)
    connect(lead, OLD)
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 3600.0)
    assert lead.claims_look()
    assert not lead.claims_look()


def test_a_name_is_not_looked_up_for_its_own_sake():
    lead = NameLead(Primary())
    connect(lead, OLD)
    assert not lead.claims_look()
