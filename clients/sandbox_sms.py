"""The sandbox's telephone: reads the messages that :class:`clients.sms.SandboxSms` kept. Never in production."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clients.sms import SandboxSms
from core.phones import normalise


def routes(sms: SandboxSms) -> list[Route]:
    """``GET /sandbox/sms``: the last messages as ``[{"phone", "text"}]``; with ``?phone=`` the newest to that phone.

    ``phone`` is E.164; its plus sign may be written ``+``, ``%2B`` or be left out. 400 for what is no phone number.
    """

    async def read(request: Request) -> Response:
        wanted = request.query_params.get("phone")
        if wanted is not None:
            # An unescaped plus in a query string means a space.
            wanted = normalise("+" + wanted.strip().removeprefix("+"))
            if wanted is None:
                return Response("phone is not a phone number", 400, media_type="text/plain")
        found = await sms.messages(wanted)
        body = orjson.dumps([{"phone": phone, "text": text} for phone, text in found])
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return [Route("/sandbox/sms", read, methods=["GET"])]
