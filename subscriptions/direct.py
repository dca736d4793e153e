"""A shorter way to the wire than ASGI.

:class:`DirectWebSocketProtocol` is uvicorn's own protocol on the sans-I/O core of ``websockets``, which besides offers
itself to the application as the ASGI extension :data:`EXTENSION`. Through it a message goes into the transport in one
call, without a task, a lock or a copy of what several connections share, and the application sees whether the peer
takes what it is sent, which ASGI has no word for. Without the extension everything works over plain ASGI messages.
"""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION: Final = "hutong.direct"
WRITE_BUFFER: Final = 64 * 1024
"""Bytes that may wait in the transport of a connection, besides those in the kernel, before it counts as blocked."""

_FINAL_TEXT: Final = 0x81


def text_header(length: int) -> bytes:
    """The header of an unfragmented, unmasked text frame (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((_FINAL_TEXT, length))
    if length < 65536:
        return bytes((_FINAL_TEXT, 126)) + length.to_bytes(2, "big")
    return bytes((_FINAL_TEXT, 127)) + length.to_bytes(8, "big")


_HEADERS: Final = [text_header(length) for length in range(4096)]
"""Made once, for the usual lengths."""


def text_frame(parts: tuple[bytes, ...]) -> bytes:
    """A text frame with the concatenation of ``parts``."""
    payload = b"".join(parts)
    length = len(payload)
    return (_HEADERS[length] if length < 4096 else text_header(length)) + payload


class _Inbox:
    """What uvicorn uses of :class:`asyncio.Queue`, in 100 bytes instead of 2,800; most connections only wait."""

    __slots__ = ("_getter", "_messages")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._getter: asyncio.Future[None] | None = None

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        return self._messages.pop(0)

    def empty(self) -> bool:
        return not self._messages


class _Turn:
    """Connections that were sent something in this turn of an event loop, and are written to at its end.

    A connection gets all that it was sent in one call of the system; and many calls in a row cost less than as many
    with something else between them, because receivers are awake.
    """

    __slots__ = ("_loop", "_unwritten")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unwritten: list[DirectWebSocketProtocol] = []

    def add(self, connection: DirectWebSocketProtocol) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._end)
        self._unwritten.append(connection)

    def _end(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            connection.flush()


_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn]] = WeakKeyDictionary()


class DirectWebSocketProtocol(WebSocketsSansIOProtocol):
    """Give this class to uvicorn as ``ws``."""

    # What every message needs lies together, and not in the dict of uvicorn's forty attributes: with thousands of
    # connections each of its lines comes from far away in memory.
    __slots__ = ("_turn", "_unwritten", "close_sent", "disconnected", "paused", "resumed", "transport")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.paused = False
        """The peer takes less than it is sent: nothing more should be written until ``resumed`` is called."""
        self.resumed: Callable[[], None] | None = None
        self.queue = cast(Any, _Inbox())
        self._turn = _turns.get(self.loop) or _turns.setdefault(self.loop, _Turn(self.loop))
        self._unwritten: tuple[bytes, ...] | bytearray | None = None

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The handshake is over, and its headers are in the scope.
            self.request = self.response = cast(Any, None)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast("dict[str, Any]", self.scope)["extensions"][EXTENSION] = self

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        if self.resumed is not None:
            self.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.resumed = None

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self.disconnected else self.transport.get_write_buffer_size()

    def send_text(self, parts: tuple[bytes, ...]) -> None:
        """Send the concatenation of ``parts``, UTF-8, as one message; nothing when the connection is ending.

        It is written at the end of this turn of the event loop.
        """
        unwritten = self._unwritten
        if unwritten is None:
            self._unwritten = parts
            self._turn.add(self)
            return
        if isinstance(unwritten, tuple):
            self._unwritten = unwritten = bytearray(text_frame(unwritten))
        unwritten += text_frame(parts)
        if len(unwritten) > WRITE_BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what was sent in this turn."""
        unwritten, self._unwritten = self._unwritten, None
        if unwritten is None or self.close_sent or self.disconnected:
            return
        # A single message becomes a frame only now, so that thousands take the same memory one after the other.
        self.transport.write(text_frame(unwritten) if isinstance(unwritten, tuple) else unwritten)

    def end(self, code: int, reason: str, patience: float) -> None:
        """Send a close frame, and cut the connection when it is not over in ``patience`` seconds.

        uvicorn would wait for a peer that takes nothing for as long as the kernel does.
        """
        if self.close_sent or self.disconnected or self.transport.is_closing():
            self.abort()
            return
        self.flush()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(patience, self.abort)

    def abort(self) -> None:
        """Cut the connection; what was not sent is dropped."""
        if not self.disconnected:
            self.transport.abort()


class DirectHttpProtocol(HttpToolsProtocol):
    """Give this class to uvicorn as ``http``: a response that nobody takes can be cut off."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope).setdefault("extensions", {})[EXTENSION] = self

    def abort_unsent(self) -> None:
        """Cut the connection if the peer has not taken all that it was sent."""
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.transport.abort()


def direct(scope: Scope) -> DirectWebSocketProtocol | None:
    """The extension, where the server offers it."""
    return cast("DirectWebSocketProtocol | None", scope.get("extensions", {}).get(EXTENSION))
