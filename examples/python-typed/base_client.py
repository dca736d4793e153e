"""What the generated clients stand on: queries and mutations by HTTP, subscriptions that resume by themselves.

It is copied into each generated package, beside ``resuming.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from .base_model import UNSET
from .resuming import Client as Resuming
from .resuming import Token

ACCEPT = "application/graphql-response+json, application/json;q=0.9"


class GraphQLFailed(Exception):
    """The answer has errors; ``data`` is what there is beside them. ``codes`` are their ``extensions.code``."""

    def __init__(self, errors: list[dict[str, Any]], data: dict[str, Any] | None) -> None:
        super().__init__("; ".join(str(error.get("message")) for error in errors))
        self.errors = errors
        self.data = data

    @property
    def codes(self) -> list[str]:
        return [str(error.get("extensions", {}).get("code", "")) for error in self.errors]


class HutongClient:
    """:param url: of the endpoint, ``https://…/graphql``; its socket is at the same place.
    :param token: gives an access token that has just been got, or None for anonymous callers. One that says when it
        ends is kept for requests for half of the time that it has left.
    :param by_id: send the ids of registered documents in place of their texts; partners have to.
    :param locale: language of messages.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], Awaitable[Token | None]] | None = None,
        *,
        by_id: bool = False,
        locale: str = "en",
    ) -> None:
        self._url = url
        self._tokens = Tokens(token) if token is not None else None
        self._by_id = by_id
        self._http = httpx.AsyncClient(headers={"accept": ACCEPT, "accept-language": locale})

    async def __aenter__(self) -> HutongClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def execute(
        self, query: str, operation_name: str | None = None, variables: dict[str, Any] | None = None, **_: Any
    ) -> httpx.Response:
        """Raises httpx.TransportError: send it again, a mutation with the same idempotency key."""
        document = {"documentId": document_id(query)} if self._by_id else {"query": query}
        body = {**document, "operationName": operation_name, "variables": plain(variables)}
        given = await self._tokens.current() if self._tokens is not None else None
        headers = {"authorization": f"Bearer {given.access_token}"} if given is not None else None
        return await self._http.post(self._url, json=body, headers=headers)

    def get_data(self, response: httpx.Response) -> dict[str, Any]:
        """Raises GraphQLFailed, and httpx.HTTPStatusError for an answer that is not one to the operation."""
        if "json" not in response.headers.get("content-type", ""):
            response.raise_for_status()
        answer: dict[str, Any] = response.json()
        if answer.get("errors"):
            raise GraphQLFailed(answer["errors"], answer.get("data"))
        response.raise_for_status()
        data: dict[str, Any] = answer["data"]
        return data

    async def execute_ws(
        self, query: str, operation_name: str | None = None, variables: dict[str, Any] | None = None, **_: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """A socket for each subscription, over any number of connections. Raises resuming.Ended."""
        token = self._tokens.fresh if self._tokens is not None else None
        async with (
            Resuming(self._url.replace("http", "ws", 1), token) as client,
            aclosing(client.answers(query, plain(variables))) as answers,
        ):
            async for data in answers:
                yield data


class Tokens:
    """Keeps the newest token, and asks for one at a time: a refresh token is good for one use."""

    def __init__(self, ask: Callable[[], Awaitable[Token | None]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._held: Token | None = None
        self._until = datetime.min.replace(tzinfo=UTC)

    async def fresh(self) -> Token | None:
        """One that has just been got."""
        async with self._asking:
            return await self._get()

    async def current(self) -> Token | None:
        """The one that there is, while it is good for longer."""
        async with self._asking:
            return self._held if datetime.now(UTC) < self._until else await self._get()

    async def _get(self) -> Token | None:
        self._held = await self._ask()
        now = datetime.now(UTC)
        ends = self._held.expires_at if self._held is not None else None
        self._until = now + (ends - now) / 2 if ends is not None else now
        return self._held


def document_id(text: str) -> str:
    """What a registered document is called by."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def plain(variables: dict[str, Any] | None) -> dict[str, Any]:
    """JSON of ``variables``, without what was not given."""
    jsonable: dict[str, Any] = to_jsonable_python(
        {name: _given(value) for name, value in (variables or {}).items() if value is not UNSET}
    )
    return jsonable


def _given(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    return [_given(item) for item in value] if isinstance(value, list) else value
