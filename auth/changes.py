"""Tells whoever holds a principal in this process that somebody's grants or sessions changed, so that they look again.

What another process changed arrives here by a signal (:mod:`services.access`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

Listener = Callable[[UUID], None]
"""Is told the person or client whose grants or sessions changed; must not block."""

_listeners: Final[set[Listener]] = set()
_revision = 0


def revision() -> int:
    """Grows with every change that this process knows of."""
    return _revision


def announce(subject: UUID | None) -> None:
    """Call after the commit of a change. None: it is not known whose."""
    global _revision
    _revision += 1
    if subject is not None:
        for listener in list(_listeners):
            listener(subject)


def listen(listener: Listener) -> Callable[[], None]:
    """Have ``listener`` told of every change; the returned function ends that."""
    _listeners.add(listener)
    return lambda: _listeners.discard(listener)
