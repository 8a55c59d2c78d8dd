"""What makes sessions large: how much is read to tell."""

from __future__ import annotations

import pytest

from django_elasticache_sessions import sizes


@pytest.fixture
def sixty_sessions(engine) -> None:
    """Sessions of some hundred bytes each, more than are looked at at once."""
    for number in range(60):
        session = engine()
        session["cart"] = f"{number} " * 100
        session.save()


def test_all_are_looked_at_where_they_are_few_and_small(sixty_sessions):
    assert sizes.look().seen == 60


def test_where_sessions_are_large_fewer_are_looked_at(sixty_sessions, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_SEEN_BYTES", 5_000)
    assert sizes.look().seen == 50


def test_no_more_are_looked_at_than_are_told(sixty_sessions, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_SEEN", 50)
    assert sizes.look().seen == 50
