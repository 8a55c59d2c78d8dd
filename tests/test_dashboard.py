"""The admin's dashboard: what it shows to whom, in any language, with either store away."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

import html5lib
import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.urls import reverse

from django_elasticache_sessions import dashboard, live, ranges
from django_elasticache_sessions.conf import CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.stats import Stats

from .conftest import point_sessions_at
from .contents import backdate, everything
from .servers.relay import Relay
from .servers.releases import CHOSEN, VERSIONS
from .servers.valkey import Valkey

pytestmark = pytest.mark.django_db
PAGE = "/admin/django_elasticache_sessions/livesession/dashboard/"
LIST = "/admin/django_elasticache_sessions/livesession/"


@pytest.fixture
def staff(engine):
    """Sign in a member of the staff who has these permissions."""

    def sign_in(*codenames: str) -> Client:
        user = User.objects.create(username="staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def viewer(staff) -> Client:
    """A member of the staff who may view sessions."""
    return staff("view_livesession")


@pytest.fixture
def durable(viewer, settings) -> str:
    """The alias of the `cached_db` engine's database."""
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE:
        pytest.skip("the cache engine has no database")
    return get_configuration().options.fallback_database


def make(engine, *users: object, expiry: int = 1000) -> None:
    for user in users:
        session = engine()
        session["a"] = 1
        if user:
            session[SESSION_KEY] = str(user)
        session.set_expiry(expiry)
        session.save()


def shown(client: Client, *, status: int = 200, **data: str) -> str:
    response = client.get(PAGE, data)
    assert response.status_code == status, response.content
    return response.content.decode()


def facts(content: str) -> dict[str, list[str]]:
    """Each figure's values by its name, as a reader sees them."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"<dt>(.*?)</dt>\s*<dd><strong>(.*?)</strong>", content):
        found.setdefault(html.unescape(name), []).append(html.unescape(value))
    return found


def svgs(content: str) -> list[ElementTree.Element]:
    """The dashboard's own drawings; the admin has icons too."""
    found = re.findall(r'<svg class="(?:chart|small)".*?</svg>', content, re.S)
    return [ElementTree.fromstring(text) for text in found]


def rows(content: str, key: str) -> list[list[str]]:
    [figure] = re.findall(rf'<figure id="{key}">.*?</figure>', content, re.S)
    lines = re.findall(r"<tr>(.*?)</tr>", figure.split("<tbody>")[1])
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def drop_table(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")


def stop_cache(settings) -> None:
    with Valkey() as server:
        point_sessions_at(settings, server.url)


def test_the_chief_figures_are_shown(viewer, engine):
    make(engine, 7, None, None)
    live.end_for_user(7)
    figures = facts(shown(viewer))
    assert figures["Live sessions"] == ["3"]
    assert figures["Signed in"] == ["1"]
    assert figures["Anonymous"] == ["2"]
    assert figures["Created"] == ["4"]
    assert figures["Ended"] == ["1"]


def test_the_stores_figures_are_shown(viewer, settings):
    figures = facts(shown(viewer))
    assert re.fullmatch(r"[\d.]+\xa0[KM]B", figures["Memory"][0])
    assert figures["Evicted keys"] == ["0"]
    assert figures["Server"][0].startswith(VERSIONS[CHOSEN.release])
    assert re.fullmatch(r"\d+\.\d\d", figures["Memory fragmentation"][0])
    assert re.fullmatch(r"\d+\.\d %", figures["Hit rate"][0])
    is_durable = settings.SESSION_ENGINE == CACHED_DB_ENGINE
    assert figures["Breaker"] == ["closed: in use"] * (2 if is_durable else 1)
    assert ("Waiting for the database" in figures) == is_durable
    assert ("Newer than in the cache (stale)" in figures) == is_durable


@pytest.mark.parametrize(("span", "periods"), [("hour", 60), ("day", 24), ("", 60), ("<b>", 60)])
def test_a_range_of_time_is_chosen_by_its_link(viewer, engine, span, periods):
    make(engine, None, None)
    content = shown(viewer, span=span)
    numbers = rows(content, "created-and-ended")
    assert len(numbers) == periods
    assert sum(int(created) for _, created, _ in numbers if created != "not told") == 3
    assert "<b>" not in content
    current = "day" if span == "day" else "hour"
    assert f'href="?span={current}" aria-current="page"' in content


def test_the_time_left_is_shown_by_ranges(viewer, engine):
    make(engine, 7, None, expiry=1800)
    make(engine, None, expiry=2 * 86_400)
    make(engine, None, expiry=60 * 86_400)
    numbers = [row[1:] for row in rows(shown(viewer), "time-left")]
    # The one who looks has two weeks left, or a little less.
    assert numbers == [["1", "1"], ["0", "0"], ["0", "1"], ["1", "0"], ["0", "0"], ["0", "1"]]


def test_the_ages_are_shown_by_ranges(viewer, engine, valkey):
    for age in (60, 7200, 20 * 86_400):
        session = engine()
        session["a"] = 1
        session.save()
        backdate(valkey, session, created=age)
    content = shown(viewer)
    numbers = [row[1:] for row in rows(content, "ages")]
    # The one who looks has just signed in.
    assert numbers == [["1", "1"], ["0", "1"], ["0", "0"], ["0", "0"], ["0", "1"], ["0", "0"]]
    assert "estimated" not in content


def test_ages_of_a_sample_are_shares_and_said_to_be_estimates(
    viewer, engine, settings, monkeypatch
):
    make(engine, None, None, None)
    monkeypatch.setattr(ranges, "SAMPLE_SIZE", 2)
    content = shown(viewer)
    note = "Shares, estimated from 2 of 4 sessions."
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        assert note not in content
        return
    # On the page, for screen readers, and over the table.
    assert content.count(note) == 3
    assert rows(content, "ages")[0][1:] in (["0.0 %", "100.0 %"], ["50.0 %", "50.0 %"])
    [chart] = [svg for svg in svgs(content) if svg.get("aria-labelledby", "").startswith("ages-")]
    assert [text.text for text in chart.iter("text")][1::2] == ["100%", *["0%"] * 5]


def test_expired_sessions_are_in_no_range(engine, durable):
    make(engine, None)
    FallbackSession.objects.using(durable).filter(user_tag="").update(expires=1000)
    assert live.stats().live == (1, 0)
    assert live.count() == (1, 0)
    assert [row.anonymous for row in live.stats().time_left] == [0] * 6


@pytest.mark.parametrize("codenames", [(), ("delete_livesession",), ("view_session_data",)])
def test_who_may_not_view_sessions_sees_no_dashboard(staff, codenames):
    assert staff(*codenames).get(PAGE).status_code == 403


def test_visitors_are_asked_to_sign_in(engine):
    assert Client().get(PAGE).status_code == 302


def test_list_and_dashboard_lead_to_each_other(viewer):
    assert reverse("admin:django_elasticache_sessions_livesession_dashboard") == PAGE
    assert f'href="{PAGE}"' in viewer.get(LIST).content.decode()
    assert f'href="{LIST}"' in shown(viewer)


def test_a_cache_that_is_away_is_told_and_the_rows_are_counted(durable, viewer, engine, settings):
    make(engine, None)
    stop_cache(settings)
    content = shown(viewer)
    assert 'role="alert"' in content
    figures = facts(content)
    assert figures["Live sessions"] == ["2"]
    assert figures["Created"] == figures["Ended"] == ["not told"]
    assert "Memory" not in figures
    assert figures["Breaker"] == ["open: left alone", "closed: in use"]


def test_a_database_that_is_away_is_told_and_the_cache_is_counted(durable, viewer, engine):
    make(engine, None)
    drop_table(durable)
    content = shown(viewer)
    assert "its table is missing" in content
    figures = facts(content)
    assert figures["Live sessions"] == ["2"]
    assert "Marks of ended sessions" not in figures


def test_an_open_breaker_is_shown(durable, viewer):
    get_homes().database.failed()
    assert facts(shown(viewer))["Breaker"] == ["closed: in use", "open: left alone"]


def test_no_store_at_all_is_no_zero(viewer, monkeypatch):
    nothing = Stats(cache=None, database=None, problems={"cache": "It is <away>."}, breakers={})
    monkeypatch.setattr(live, "stats", lambda: nothing)
    content = shown(viewer, status=503)
    assert "It is &lt;away&gt;." in content
    assert {value for values in facts(content).values() for value in values} == {"not told"}
    assert svgs(content) == []


def test_a_server_that_does_not_tell_its_figures_shows_no_zero(settings, viewer, engine):
    stats = live.stats()
    with Valkey(
        acl=["app on >password ~session:* -@all +evalsha +eval +hgetall +zcount +time +scard"]
    ) as server:
        point_sessions_at(settings, f"redis://app:password@{server.host}:{server.port}/0")
        seen = live.stats()
    assert stats.cache.used_memory_bytes
    figures = {
        fact.name: fact.value
        for part in dashboard.make(seen, "hour").sections
        for fact in part.facts
    }
    for name in ("Memory", "Memory fragmentation", "Evicted keys", "Hit rate", "Connections"):
        assert figures[name] == "not told"


@pytest.mark.parametrize("language", ["en", "de", "fr", "ar"])
def test_numbers_in_the_charts_are_not_localised_and_those_in_text_are(
    viewer, engine, settings, valkey, language
):
    settings.LANGUAGE_CODE = language
    settings.USE_THOUSAND_SEPARATOR = True
    now = int(valkey.time()[0])
    for field in (f"ch{now // 3600}", f"cm{now // 60}"):
        valkey.hincrby("session:events:{0}", field, 12_345)
    content = shown(viewer)
    for svg in svgs(content):
        for element in svg.iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height"):
                if name in element.attrib:
                    assert re.fullmatch(r"\d+(\.\d+)?%?", element.attrib[name], re.ASCII)
    assert "20000" in {text.text for svg in svgs(content) for text in svg.iter("text")}
    if language == "de":
        assert "<strong>12.346</strong>" in content
        assert re.search(r"\d,\d", content)


def test_the_page_is_valid_html_and_each_chart_is_xml_with_a_title_and_numbers(viewer, engine):
    make(engine, 7, None)
    content = shown(viewer)
    html5lib.HTMLParser(strict=True).parse(content)
    charts = [svg for svg in svgs(content) if svg.get("role") == "img"]
    assert len(charts) == 3
    for svg in charts:
        ids = {element.get("id") for element in svg if element.tag in ("title", "desc")}
        assert set(svg.get("aria-labelledby", "").split()) == ids
    assert content.count("<figure") == content.count("<details>") == 3
    assert all(
        svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in svgs(content)
    )
    ids = re.findall(r'\sid="([^"]+)"', content)
    assert len(ids) == len(set(ids))


def test_the_page_has_no_inline_script_or_style(viewer, engine):
    content = shown(viewer)
    assert not re.search(r"\sstyle=|\son\w+=|<style", content)
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", content)


def test_the_page_costs_few_round_trips_more_than_its_session(server, viewer, settings):
    with Relay(server.host, server.port) as relay:
        point_sessions_at(settings, f"redis://{relay.host}:{relay.port}/0")
        viewer.get(PAGE)
        with relay.recording() as tape:
            viewer.get(PAGE)
        # The session; TIME, to connect; TIME, for the latency; all buckets together; INFO. Where
        # no rows tell the ages, the names of a sample and its times of creation.
        is_durable = settings.SESSION_ENGINE == CACHED_DB_ENGINE
        assert tape.round_trips == 1 + (4 if is_durable else 6)


def test_the_rows_are_asked_in_one_statement(durable, viewer):
    viewer.get(PAGE)
    asked: list[str] = []

    def note(execute, sql, params, many, context):
        if FallbackSession._meta.db_table in sql:
            asked.append(sql.split()[0])
        return execute(sql, params, many, context)

    with connections[durable].execute_wrapper(note):
        viewer.get(PAGE)
    assert asked == ["SELECT"]


def test_a_look_changes_nothing_and_is_no_session_key(viewer, valkey):
    before = everything(valkey)
    assert viewer.session.session_key not in shown(viewer)
    assert everything(valkey) == before
