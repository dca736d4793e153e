"""How the Python peers are served: by uvicorn with its fast parts, on a free loopback port that it says."""

from __future__ import annotations

import gc
import json
import socket
from typing import Any

import uvicorn
import uvloop


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        gc.collect()
        gc.freeze()
        print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)


def serve(app: Any) -> None:
    """Serve until it is ended."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    config = uvicorn.Config(
        app, http="httptools", ws="websockets-sansio", ws_per_message_deflate=False, access_log=False,
        log_level="warning", lifespan="on",
    )  # fmt: skip
    uvloop.run(_Server(config).serve([listener]))
