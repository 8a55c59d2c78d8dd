"""CloudWatch on the admin's dashboard."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_elasticache_sessions import cloudwatch
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import AWSUnavailable
from tests.servers.http import Answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def show(client: Client, valkey):
    """Open the dashboard as staff; the status and the text."""
    User.objects.create_superuser("root", password="x")
    client.login(username="root", password="x")

    def get() -> tuple[int, str]:
        if get_configuration().options.cloudwatch is not None:
            # A busy machine may take longer than a page waits.
            with suppress(AWSUnavailable):
                cloudwatch.read(patience_seconds=30)
        address = reverse("admin:django_elasticache_sessions_livesession_dashboard")
        response = client.get(address)
        return response.status_code, response.content.decode()

    return get


def test_each_node_has_its_latest_values_and_their_range(show, of_node, measure):
    of_node("CacheHitRate", 97.5, minutes=5)
    of_node("CacheHitRate", 99.25, minutes=3)
    measure("BytesUsedForCache", 2048, CacheClusterId="shop-002", CacheNodeId="0001")
    status, page = show()
    assert status == 200
    assert "Amazon CloudWatch: shop-001" in page
    assert "99.2 %" in page
    assert "97.5 % to 99.2 % in the last hour" in page
    assert "Amazon CloudWatch: shop-002" in page
    assert "2.0\xa0KB" in page
    assert "Evicted keys" not in page.partition("Amazon CloudWatch")[2]


def test_a_chart_has_a_place_for_each_minute_of_the_hour(of_node):
    of_node("CacheHitRate", 50.0, minutes=3)
    cloudwatch.read(patience_seconds=30)
    [section] = cloudwatch.dashboard.sections()
    [fact] = section.facts
    rects = [rect for rect in fact.drawing.rects if rect.kind == "part"]
    assert [rect.height for rect in rects] == ["24.0"]
    assert 90 < float(rects[0].x.rstrip("%")) < 97


def test_nothing_of_it_is_shown_where_it_is_not_set(show):
    assert "CloudWatch" not in show()[1]


def test_the_page_says_what_the_policy_lacks(show, group, amazon):
    amazon.answers["GetMetricData"] = Answer(status=403)
    status, page = show()
    assert status == 200
    assert "cloudwatch:GetMetricData" in page
    assert "Live sessions" in page


def test_a_cache_without_data_is_said_to_have_none(show, group):
    page = show()[1]
    assert "Amazon CloudWatch" in page
    assert "not told" in page.partition("Amazon CloudWatch")[2]
