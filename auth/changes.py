"""Tells this process's authenticators that somebody's grants or session changed, so that they look again at once.

Other processes look again within a second (``auth.authenticate.REMEMBERED_FOR``).
"""

from __future__ import annotations

_revision = 0


def revision() -> int:
    """Grows with every change that this process made."""
    return _revision


def announce() -> None:
    """Call after the commit of a change of grants or sessions."""
    global _revision
    _revision += 1
