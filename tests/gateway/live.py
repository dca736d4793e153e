"""The endpoint behind a real HTTP server on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from auth.authenticate import Authenticator
from auth.keys import SigningKeys
from auth.principals import Principal, View
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.edge import edge
from gateway.execution import Gateway
from gateway.http import GraphQLEndpoint
from gateway.operations import Operations
from models.database import Database
from resolvers.context import Context
from tests.gateway.tiny import tiny_schema
from tests.realtime.log import until

CONTRACTS = build_contracts(tiny_schema())
TEA = "{ thing { name } }"
MANY = "{ things(first: 100) { nodes { id name at } } }"


def make_context(principal: Principal, locale: str, request_id: str, address: str) -> Context:
    return Context(None, None, principal, locale, request_id, address)  # type: ignore[arg-type]


def make_app(settings: Settings) -> Starlette:
    """An application of the small schema, with two registered queries of consumers."""
    operations = Operations()
    for text in (TEA, MANY):
        operations.add(View.CONSUMER, CONTRACTS[View.CONSUMER], text)
    gateway = Gateway(CONTRACTS, settings, operations)
    endpoint = GraphQLEndpoint(gateway, Authenticator(Database(""), SigningKeys.generate()), make_context, settings)
    methods = ["GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
    routes = [
        Route("/graphql", endpoint.handle, methods=methods),
        Route("/graphql/{id}", endpoint.handle, methods=["GET", "OPTIONS"]),
    ]
    return Starlette(routes=routes, middleware=edge(settings))


@asynccontextmanager
async def live(**settings: Any) -> AsyncIterator[str]:
    """The address of a running server with these settings."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(Settings(**settings)), lifespan="off", log_config=None, access_log=False, proxy_headers=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))  # without its signal handlers
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
