"""Every promise of the table, under a site that is in use."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from ..servers.databases import Unavailable
from .plans import SHORT, perform
from .stages import Setup


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("setup", "faults"), SHORT, ids=[str(setup) for setup, _ in SHORT])
def test_what_is_promised_of_every_fault_is_kept(setup: Setup, faults: Sequence[str], capsys):
    try:
        report = perform(setup, faults)
    except Unavailable as missing:
        pytest.skip(f"this machine lacks {missing}")
    with capsys.disabled():
        sys.stdout.write(f"\n{setup}\n{report.table()}\n")
    assert report.broken == {}
