"""How long tests wait for what must come."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 60.0
"""Seconds after which what a test waits for will not come any more: no measure of speed, machines may be busy."""
