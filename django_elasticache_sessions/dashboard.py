"""What the admin's dashboard shows: figures and charts, section by section, as text.

Each function returns a section or a part of one; another source of figures is one section more.
What is not known is said to be so, and is never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import localize, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from . import charts
from .charts import Bar, Chart, Drawing
from .events import Period, total
from .ranges import Ages, Range
from .stats import CacheStats, DatabaseStats, Stats
from .texts import translated

#: The ranges of time to choose from, the first unless another is asked for.
SPANS = {"hour": gettext_lazy("Last 60 minutes"), "day": gettext_lazy("Last 24 hours")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure with its name; `note` says more, `drawing` shows it."""

    name: str
    value: str
    note: str = ""
    drawing: Drawing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page: what is wrong with its source, if anything, its charts and figures."""

    key: str
    title: str
    problem: str = ""
    charts: Sequence[Chart] = ()
    facts: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The page: the chief figures on top, then the sections."""

    chief: Sequence[Fact]
    sections: Sequence[Section]


def make(stats: Stats, span: str, more: Sequence[Section] = ()) -> Dashboard:
    """Return the page for one of `SPANS`, with `more` sections at its end."""
    sections = [_sessions(stats, span), _cache(stats)]
    if stats.database or "database" in stats.problems:
        sections.append(_database(stats))
    return Dashboard(chief=_chief(stats, span), sections=[*sections, *more])


def _chief(stats: Stats, span: str) -> list[Fact]:
    live, periods = stats.live, _periods(stats, span)
    every = live and live.signed_in + live.anonymous
    note = str(SPANS[span])
    return [
        Fact(name=_("Live sessions"), value=_count(every)),
        Fact(
            name=_("Signed in"),
            value=_count(live and live.signed_in),
            note=_share(live.signed_in, every) if live and every else "",
        ),
        Fact(
            name=_("Anonymous"),
            value=_count(live and live.anonymous),
            note=_share(live.anonymous, every) if live and every else "",
        ),
        Fact(name=_("Created"), value=_count(total(periods, "created")), note=note),
        Fact(name=_("Ended"), value=_count(total(periods, "ended")), note=note),
    ]


def _sessions(stats: Stats, span: str) -> Section:
    drawn = []
    if stats.cache:
        drawn.append(_created_and_ended(_periods(stats, span), str(SPANS[span])))
    if stats.time_left is not None:
        drawn.append(_time_left(stats.time_left))
    if stats.ages is not None:
        drawn.append(_ages(stats.ages))
    return Section(key="sessions", title=_sessions_word(), charts=drawn)


def _created_and_ended(periods: Sequence[Period], when: str) -> Chart:
    rows = [
        (_clock(period.start), _count(period.created), _count(period.ended)) for period in periods
    ]
    bars = [
        Bar(
            label=_clock(period.start),
            parts=(("created", period.created), ("ended", period.ended)),
            title=_("%(time)s: %(created)s created, %(ended)s ended")
            % {"time": time, "created": created, "ended": ended},
        )
        for period, (time, created, ended) in zip(periods, rows, strict=True)
    ]
    return Chart(
        key="created-and-ended",
        title=_("Created and ended"),
        description=_(
            "%(when)s: bars above the line are sessions created, bars below it sessions ended. "
            "Sessions that merely expire are not counted as ended."
        )
        % {"when": when},
        drawing=charts.timeline(
            bars, unknown=_("not counted yet"), nothing=_("none created, none ended")
        ),
        legend=(("created", _("Created")), ("ended", _("Ended"))),
        headings=(_("From"), _("Created"), _("Ended")),
        rows=rows,
    )


def _time_left(ranges: Sequence[Range]) -> Chart:
    return Chart(
        key="time-left",
        title=_("Time left until they expire"),
        description=_("How many live sessions expire within each range of time."),
        headings=(_("Expire in"), _("Signed in"), _("Anonymous")),
        **_by_ranges(ranges),
    )


def _ages(ages: Ages) -> Chart:
    note = ""
    if not ages.is_exact:
        note = _("Shares, estimated from %(sampled)s of %(live)s sessions.") % {
            "sampled": _count(ages.sampled),
            "live": _count(ages.live),
        }
    return Chart(
        key="ages",
        title=_("Time since they were created"),
        note=note,
        description=_("How long ago the live sessions were created."),
        headings=(pgettext("dashboard", "Age"), _("Signed in"), _("Anonymous")),
        **_by_ranges(ages.ranges, share_of=None if ages.is_exact else ages.sampled),
    )


def _by_ranges(ranges: Sequence[Range], *, share_of: int | None = None) -> dict[str, Any]:
    """Return what the charts by ranges have in common; shares of a number, where one is given."""

    def text(count: int) -> str:
        return _share(count, share_of) if share_of else _count(count)

    named = list(zip(_range_names(), ranges, strict=True))
    rows = [(name, text(found.signed_in), text(found.anonymous)) for name, found in named]
    bars = [
        Bar(
            label=name,
            parts=(("signed-in", found.signed_in), ("anonymous", found.anonymous)),
            title=_("%(range)s: %(signed_in)s signed in, %(anonymous)s anonymous")
            % {"range": name, "signed_in": signed_in, "anonymous": anonymous},
        )
        for (name, found), (_name, signed_in, anonymous) in zip(named, rows, strict=True)
    ]
    return {
        "drawing": charts.distribution(bars, share_of=share_of),
        "legend": (("signed-in", _("Signed in")), ("anonymous", _("Anonymous"))),
        "rows": rows,
    }


def _range_names() -> tuple[str, ...]:
    # One for each of RANGES_SECONDS, and one for the rest.
    return (
        _("under 1 hour"),
        _("1 to 24 hours"),
        _("1 to 7 days"),
        _("7 to 14 days"),
        _("14 to 30 days"),
        _("over 30 days"),
    )


def _cache(stats: Stats) -> Section:
    facts = (
        _facts_of_cache(stats.cache, is_durable="database" in stats.breakers) if stats.cache else []
    )
    return Section(
        key="cache",
        title=_("Session cache"),
        problem=translated(stats.problems.get("cache", "") or stats.problems.get("info", "")),
        facts=[*facts, *_breaker(stats, "cache")],
    )


def _facts_of_cache(cache: CacheStats, *, is_durable: bool) -> list[Fact]:
    hits, misses = cache.keyspace_hits, cache.keyspace_misses
    asked = None if hits is None or misses is None else hits + misses
    waiting = [
        Fact(name=_("Waiting for the database"), value=_count(cache.pending)),
        Fact(
            name=_("Lost while waiting"),
            value=_count(total(cache.events.hours, "lost")),
            note=str(SPANS["day"]),
        ),
    ]
    return [
        _memory(cache.used_memory_bytes, cache.max_memory_bytes),
        Fact(name=_("Memory fragmentation"), value=_number(cache.fragmentation_ratio, 2)),
        Fact(
            name=_("Evicted keys"),
            value=_count(cache.evicted_keys),
            note=cache.eviction_policy or "",
        ),
        Fact(
            name=_("Hit rate"),
            value=_share(hits, asked),
            note=_("since the server started"),
            drawing=charts.gauge(hits / asked) if hits is not None and asked else None,
        ),
        _latency(cache.latency_seconds),
        Fact(name=_("Connections"), value=_count(cache.connected_clients)),
        *(waiting if is_durable else ()),
        Fact(name=_("Server"), value=cache.version or _not_told()),
    ]


def _database(stats: Stats) -> Section:
    facts = _facts_of_database(stats.database) if stats.database else []
    return Section(
        key="database",
        title=_("Fallback database"),
        problem=translated(stats.problems.get("database", "")),
        facts=[*facts, *_breaker(stats, "database")],
    )


def _facts_of_database(database: DatabaseStats) -> list[Fact]:
    return [
        Fact(name=_sessions_word(), value=_count(database.signed_in + database.anonymous)),
        Fact(name=_("Newer than in the cache (stale)"), value=_count(database.stale)),
        Fact(name=_("Marks of ended sessions"), value=_count(database.ended)),
        _latency(database.latency_seconds),
    ]


def _breaker(stats: Stats, store: str) -> list[Fact]:
    state = stats.breakers.get(store)
    if state is None:
        return []
    words = {
        "open": pgettext("circuit breaker", "open: left alone"),
        "closed": pgettext("circuit breaker", "closed: in use"),
    }
    return [Fact(name=_("Breaker"), value=words[state], note=_("of the process that answered"))]


def _memory(used: int | None, most: int | None) -> Fact:
    name = _("Memory")
    if used is None:
        return Fact(name=name, value=_not_told())
    if most is None:
        return Fact(name=name, value=filesizeformat(used), note=_("no limit"))
    note = _("of %(size)s") % {"size": filesizeformat(most)}
    return Fact(name=name, value=filesizeformat(used), note=note, drawing=charts.gauge(used / most))


def _latency(seconds: float) -> Fact:
    value = _("%(number)s ms") % {"number": _number(seconds * 1000, 2)}
    return Fact(name=_("Round trip"), value=value)


def _periods(stats: Stats, span: str) -> Sequence[Period]:
    if stats.cache is None:
        return ()
    events = stats.cache.events
    return events.hours if span == "day" else events.minutes


def _count(number: int | None) -> str:
    return _not_told() if number is None else str(localize(number))


def _number(number: float | None, places: int) -> str:
    # Left to itself, number_format() cuts off what it should round.
    return _not_told() if number is None else number_format(round(number, places), places)


def _share(part: int | None, whole: int | None) -> str:
    if part is None or not whole:
        return _not_told()
    return _("%(number)s %%") % {"number": _number(100 * part / whole, 1)}


def _clock(moment: datetime) -> str:
    return timezone.localtime(moment).strftime("%H:%M")


def _sessions_word() -> str:
    # Django has the word too, and translates it as it likes.
    return pgettext("dashboard", "Sessions")


def _not_told() -> str:
    return _("not told")
