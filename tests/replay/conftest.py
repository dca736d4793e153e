"""What is owed to the players of a day is waited for as long as a busy machine may need."""

from __future__ import annotations

import pytest

from replay import consumer, server, stage, world
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def patient_players(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (stage, "OWED_WITHIN"),
        (consumer, "OWED_WITHIN"),
        (consumer, "REFUND_WITHIN"),
        (consumer, "LOCATION_WITHIN"),
        (world, "CAUGHT_UP_WITHIN"),
        (server, "START_WITHIN"),
        (server, "STOP_WITHIN"),
    ):
        monkeypatch.setattr(module, name, 2 * PATIENCE)
