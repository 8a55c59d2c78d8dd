"""A run's results, made up."""

from __future__ import annotations

from typing import Any

import pytest

ENGINES = ("ours", "cache", "cached_db")


def costs(*wall_us: float, **more: float) -> dict[str, dict[str, float]]:
    """Return costs by engine, of half as much processor time."""
    values = dict(zip(ENGINES, wall_us, strict=True)) | more
    return {name: {"wall_us": value, "cpu_us": value / 2} for name, value in values.items()}


def crossed(round_trips: float, sent_bytes: float) -> dict[str, float]:
    """Return traffic with a reply of 100 bytes."""
    return {"round_trips": round_trips, "sent_bytes": sent_bytes, "received_bytes": 100.0}


@pytest.fixture
def results() -> dict[str, Any]:
    """What `benchmarks.__main__.measure` returns, with three engines and canned numbers."""
    sizes = ("0.6 KB", "10 KB", "20 x 1 KB")
    timings = {
        "read": costs(70, 100, 200, floor=60),
        "change": costs(60, 100, 200, floor=30),
        "login": costs(300, 600, 900),
    }
    traffic = {
        "change": {
            "ours": crossed(2, 300),
            "cache": crossed(3, 20_000),
            "cached_db": crossed(0, 0),
        },
        "login": {"ours": crossed(3, 1000), "cache": crossed(6, 2000), "cached_db": crossed(0, 0)},
    }
    rates = dict(zip(ENGINES, (900.0, 800.0, 500.0), strict=True))
    return {
        "environment": {"Python": "3.13"},
        "engines": {
            "ours": {"title": "Ours", "reason": None},
            "gone": {"title": "Gone <&>", "reason": "ImportError: No module named 'gone'"},
        },
        "timings": dict.fromkeys(sizes, timings),
        "traffic": dict.fromkeys(sizes, traffic),
        "delayed": costs(1000, 2000, 3000),
        "memory": {
            "0.6 KB": dict(zip(ENGINES, (800.0, 700.0, 700.0), strict=True)),
            "10 KB": dict(zip(ENGINES, (9000.0, 9000.0, 9000.0), strict=True)),
        },
        "http": {"gunicorn": rates, "uvicorn": rates},
        "problems": ["gone under uvicorn: it did not start"],
    }
