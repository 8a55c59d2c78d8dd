"""What the admin's dashboard shows of CloudWatch: each node's metrics over the last hour."""

from __future__ import annotations

from collections.abc import Iterator

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from .. import charts
from ..conf import get_configuration
from ..dashboard import Fact, Section
from ..exceptions import AWSUnavailable
from ..texts import text_of, translated
from .metrics import Metric
from .reading import Readings, Series, read

TITLE = "Amazon CloudWatch"


def sections() -> list[Section]:
    """Return a section for each node, one that says what is wrong, or none without `CLOUDWATCH`."""
    if get_configuration().options.cloudwatch is None:
        return []
    try:
        readings = read()
    except AWSUnavailable as problem:
        return [Section(key="cloudwatch", title=TITLE, problem=translated(text_of(problem)))]
    return list(_of_nodes(readings)) or [Section(key="cloudwatch", title=TITLE)]


def _of_nodes(readings: Readings) -> Iterator[Section]:
    for place, node in enumerate(readings.target.nodes):
        series = readings.of(node)
        if series:
            yield Section(
                key=f"cloudwatch-{place}",
                title=f"{TITLE}: {node.name}",
                facts=[_fact(one, readings) for one in series],
            )


def _fact(series: Series, readings: Readings) -> Fact:
    values = [point.value for point in series.points]
    at = timezone.localtime(series.latest.at).strftime("%H:%M")
    least, most = (_text(series.metric, value) for value in (min(values), max(values)))
    note = _("at %(time)s; %(least)s to %(most)s in the last hour")
    return Fact(
        name=str(series.metric.title),
        value=_text(series.metric, series.latest.value),
        note=note % {"time": at, "least": least, "most": most},
        drawing=charts.sparkline(_by_period(series, readings)),
    )


def _by_period(series: Series, readings: Readings) -> list[float | None]:
    known = {point.at: point.value for point in series.points}
    count = int((readings.end - readings.begin).total_seconds()) // readings.period_seconds
    step = (readings.end - readings.begin) / count
    return [known.get(readings.begin + place * step) for place in range(count)]


def _text(metric: Metric, value: float) -> str:
    match metric.unit:
        case "Bytes":
            return str(filesizeformat(value))
        case "Microseconds":
            return _("%(number)s ms") % {"number": number_format(value / 1000, 2)}
        case "Percent":
            return _("%(number)s %%") % {"number": number_format(value, 1)}
        case "Seconds":
            return _("%(number)s s") % {"number": number_format(value, 3)}
        case "None":
            return _("yes") if value else _("no")
    return number_format(value, 0)
