"""Every fault, under a shop that is in use: nothing acknowledged is lost, nobody is another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .drill import drill
from .stage import FAULTS, ServerStage


@pytest.mark.timeout(300)
def test_the_shop_survives_every_fault(tmp_path: Path, capsys):
    with ServerStage(tmp_path) as servers:
        found = drill(servers, FAULTS)
    with capsys.disabled():
        sys.stdout.write(f"\n{found.table()}\n")
    found.judge()
