"""Composition root: reads the settings, wires the parts, and takes them apart again in the reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import services
from auth import http as oauth
from auth import registration
from auth.authenticate import Authenticator
from auth.keys import SigningKeys
from clients import sandbox_payments, sandbox_sms, sandbox_wechat
from clients.files import FileStore
from clients.latest import RedisLatest
from clients.local_files import LocalFiles
from clients.payments import NotificationInvalid, PaymentProvider
from clients.presence import Presence
from clients.s3_files import S3Files
from clients.sandbox_wechat import SandboxWeChat
from clients.sms import SandboxSms, SmsSender
from clients.unconfigured import NoPayments, NoSms
from clients.webhooks import HttpWebhooks
from clients.wechat import HttpWeChat, NoWeChat, WeChat
from core import logs, telemetry
from core.clock import Clock, ScaledClock, SystemClock, wall_now
from core.ids import uuid7
from core.settings import Settings
from gateway import metrics
from gateway.contracts import build_contracts
from gateway.edge import compressed, edge
from gateway.execution import Gateway
from gateway.graphiql import GraphiQL
from gateway.http import GraphQLEndpoint
from gateway.limits import Limits
from gateway.manifests import BUNDLED, read_manifest
from gateway.operations import Operations
from gateway.registrar import Registrar
from gateway.requests import Origins
from gateway.texts import RedisTexts
from gateway.throttle import RedisBuckets
from models.database import Database, migrate
from resolvers.context import Context
from schema.build import full_schema
from services import access, devices, payments, seed
from services.delivery.locations import Locations
from services.jobs import JobRunner
from services.runtime import Runtime
from subscriptions.feeds import Signal
from subscriptions.signals import BroadcastSignals
from subscriptions.sse import EventStreams
from subscriptions.tail import FeedTails
from subscriptions.websocket import GraphQLSockets

SANDBOX_WECHAT: Final = "sandbox wechat"
WEB: Final = Path(__file__).with_name("web")
MAX_NOTIFICATION: Final = 100_000
POSITIONS: Final = "hutong:positions"
POSITIONS_KEPT: Final = timedelta(days=1)
OPERATIONS_REFRESH: Final = timedelta(seconds=15)

Exposition = Callable[[], Awaitable[bytes]]
"""Makes metrics in the Prometheus text format."""

log = logs.get(__name__)


def make_clock(settings: Settings) -> Clock:
    """The domain clock that ``settings`` describe."""
    if settings.clock_speed == 1 and settings.clock_origin is None:
        return SystemClock()
    origin = settings.clock_origin or wall_now()
    if settings.clock_real_origin is None:
        return ScaledClock(origin, settings.clock_speed)
    return ScaledClock(origin, settings.clock_speed, settings.clock_real_origin)


def make_wechat(settings: Settings, keys: SigningKeys) -> WeChat:
    """The WeChat app that ``settings`` name; in the sandbox, the one that this program plays itself."""
    if settings.sandbox:
        base = settings.public_url or f"http://{settings.host}:{settings.port}"
        secret = SandboxWeChat(keys.derive(SANDBOX_WECHAT)).secret
        return HttpWeChat(sandbox_wechat.APP_ID, secret, base + sandbox_wechat.PREFIX)
    if settings.wechat_app_id and settings.wechat_app_secret:
        return HttpWeChat(settings.wechat_app_id, settings.wechat_app_secret, settings.wechat_url)
    return NoWeChat()


def make_files(settings: Settings, keys: SigningKeys) -> FileStore:
    """The store of files that ``settings`` describe."""
    if settings.files_bucket_url is None:
        # Without an own address, addresses of files are relative to whichever one the caller knows.
        base, secret = settings.public_url or "", keys.derive("files")
        return LocalFiles(settings.data_dir / "files", secret, base)
    access_key, secret_key = settings.files_access_key or "", settings.files_secret_key or ""
    return S3Files(settings.files_bucket_url, settings.files_region, access_key, secret_key, settings.files_public_url)


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncGenerator[str]:
    """URL of the database to use; without one in ``settings``, of an embedded one that runs meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    from models.embedded import EmbeddedPostgres  # production neither has nor needs its wheel

    server = EmbeddedPostgres(settings.data_dir / "postgres")
    await asyncio.to_thread(server.start)
    try:
        yield await asyncio.to_thread(server.create_database)
    finally:
        await asyncio.to_thread(server.stop)


def receiver(tails: FeedTails, locations: Locations) -> Callable[[Sequence[Signal] | None], None]:
    """What takes the signals of all processes."""

    def take(signals: Sequence[Signal] | None) -> None:
        # Who lost a right is known before what the right allowed to see.
        access.hear(signals)
        locations.deliver(signals)
        tails.deliver(signals)

    return take


@asynccontextmanager
async def open_runtime(
    settings: Settings, tails: bool = False, *, migrated: bool = False
) -> AsyncGenerator[tuple[Runtime, FeedTails | None]]:
    """The ports of the program on a migrated database: all that services, jobs and the operator's commands need.

    With ``tails`` also what subscriptions follow feeds by. ``migrated``: somebody else has seen to the schema.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_url(settings))
        if not migrated:
            await migrate(url)
        database = Database(url, settings.database_pool_size)
        await database.open()
        stack.push_async_callback(database.close)
        keys = SigningKeys.of(settings)
        signals = BroadcastSignals(settings.redis_url)
        clock = make_clock(settings)
        following = FeedTails(database, clock, settings.feed_head_check) if tails else None
        shared = RedisLatest(settings.redis_url, POSITIONS, POSITIONS_KEPT) if settings.redis_url else None
        locations = Locations(settings, database, clock, signals, shared)
        await signals.start(receiver(following, locations) if following else None)
        stack.push_async_callback(signals.close)
        await locations.start()
        stack.push_async_callback(locations.close)
        if following is not None:
            await following.start()
            stack.push_async_callback(following.close)
        sms: SmsSender = NoSms()
        provider: PaymentProvider = NoPayments()
        if settings.sandbox:
            sms = SandboxSms(database)
            await sms.start()
            provider = sandbox_payments.SandboxPayments(settings, keys.derive("sandbox payments"))
            await provider.start(url, settings.public_url or f"http://{settings.host}:{settings.port}")
            stack.push_async_callback(provider.stop)
        registrar = Registrar(lambda: build_contracts(full_schema()), Limits.of(settings))
        presence = Presence(settings.redis_url)
        stack.push_async_callback(presence.close)
        files = make_files(settings, keys)
        if isinstance(files, LocalFiles):
            await files.start()
        elif isinstance(files, S3Files):
            stack.push_async_callback(files.close)
        ports = (signals, sms, provider, keys, locations, registrar, presence, files)
        wechat = make_wechat(settings, keys)
        if isinstance(wechat, HttpWeChat):
            stack.push_async_callback(wechat.close)
        webhooks = HttpWebhooks(settings.webhook_timeout.total_seconds(), allow_loopback=settings.sandbox)
        stack.push_async_callback(webhooks.close)
        yield Runtime(settings, database, clock, uuid7, *ports, wechat=wechat, webhooks=webhooks), following


@dataclass
class Program:
    """The running parts that the routes talk to."""

    runtime: Runtime
    tails: FeedTails
    gateway: Gateway
    authenticator: Authenticator
    sockets: GraphQLSockets
    jobs: JobRunner | None
    exposition: Exposition
    endpoint: GraphQLEndpoint
    draining: bool = False

    async def drain(self, window: timedelta | None = None) -> None:
        """Say not ready, and :meth:`disconnect`."""
        self.draining = True
        await self.disconnect(window)

    async def disconnect(self, window: timedelta | None = None) -> None:
        """Ask the connected terminals to come back elsewhere, over ``window`` at the longest.

        Default: the settings' ``drain_window``.
        """
        await self.sockets.drain(self.runtime.settings.drain_window if window is None else window)

    async def follow_operations(self) -> None:
        """Take over operations that are registered while the program runs."""
        while True:
            await asyncio.sleep(OPERATIONS_REFRESH.total_seconds())
            try:
                await self.gateway.follow_registered(self.runtime.database)
            except OSError as error:
                log.warning("operations.not_read", error=repr(error))

    def routes(self) -> list[BaseRoute]:
        settings = self.runtime.settings
        graphql = self.endpoint.handle
        routes: list[BaseRoute] = [
            Route("/graphql", graphql, methods=["GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]),
            Route("/graphql/{id}", graphql, methods=["GET", "OPTIONS"]),
            *oauth.routes(self.runtime, self.runtime.keys),
            registration.route(partial(devices.claim, self.runtime)),
            Route("/webhooks/payments/{channel}", self._payment_notified, methods=["POST"]),
            Route("/healthz", self._healthy),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
        ]
        if settings.graphiql:
            routes += GraphiQL().routes()
        if isinstance(self.runtime.files, LocalFiles):
            routes += self.runtime.files.routes()
        if isinstance(self.runtime.sms, SandboxSms):
            routes += sandbox_sms.routes(self.runtime.sms)
        if isinstance(self.runtime.payments, sandbox_payments.SandboxPayments):
            routes += self.runtime.payments.routes()
        if settings.sandbox:
            routes += SandboxWeChat(self.runtime.keys.derive(SANDBOX_WECHAT)).routes()
            routes.append(Route("/sandbox/tokens", self._demo_tokens))
        return [*routes, Mount("/", StaticFiles(directory=WEB, html=True, check_dir=False))]

    async def _payment_notified(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_NOTIFICATION:
            return Response(status_code=413)
        try:
            await payments.handle_notification(self.runtime, dict(request.headers), body)
        except NotificationInvalid as error:
            log.warning("payment.notification_invalid", channel=request.path_params["channel"], reason=str(error))
            return Response(status_code=400)
        except Exception:
            log.exception("payment.notification_failed", channel=request.path_params["channel"])
            return Response(status_code=500)  # the provider sends it again
        return Response(status_code=204)

    async def _demo_tokens(self, request: Request) -> Response:
        """Fresh tokens of the demo accounts, by which the sandbox's terminals open without a sign-in."""
        tokens = await seed.demo_tokens(self.runtime)
        return Response(orjson.dumps(tokens), headers={"content-type": "application/json", "cache-control": "no-store"})

    async def _healthy(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _ready(self, request: Request) -> Response:
        checks = {"serving": not self.draining, "database": await self._database_answers()}
        if self.jobs is not None:
            checks["jobs"] = self.jobs.connected.is_set()
        ready = all(checks.values())
        return Response(orjson.dumps(checks), 200 if ready else 503, {"content-type": "application/json"})

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(2):
                return await self.runtime.database.fetchval("SELECT 1") == 1
        except Exception:
            return False

    async def _metrics(self, request: Request) -> Response:
        return Response(await self.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


async def own_metrics() -> bytes:
    """The metrics of this process."""
    return metrics.exposition()


@asynccontextmanager
async def running(
    settings: Settings, *, migrated: bool = False, exposition: Exposition = own_metrics
) -> AsyncGenerator[Program]:
    """The whole program, from its database to its job runner."""
    async with AsyncExitStack() as stack:
        spans = telemetry.configure(settings.otlp_endpoint)
        if spans is not None:
            log.info("tracing", endpoint=settings.otlp_endpoint, functions=telemetry.trace_functions(services))
            stack.callback(spans.shutdown)
        runtime, tails = await stack.enter_async_context(open_runtime(settings, tails=True, migrated=migrated))
        assert tails is not None
        contracts = build_contracts(full_schema())
        gateway = Gateway(contracts, settings, Operations())
        stack.push_async_callback(gateway.throttle.close)
        for operation in read_manifest(settings.operations_manifest or BUNDLED):
            if not gateway.operations.offer(operation, contracts, gateway.documents):
                log.warning("operation.unusable", name=operation.name, id=operation.id)
        await gateway.follow_registered(runtime.database)
        if settings.redis_url is not None:
            gateway.throttle.share(RedisBuckets(settings.redis_url))
            texts = RedisTexts(settings.redis_url)
            gateway.admission.store = texts
            stack.push_async_callback(texts.close)
        authenticator = Authenticator(runtime.database, runtime.keys)
        jobs = JobRunner(runtime) if settings.jobs_in_process else None
        sockets = GraphQLSockets(gateway, authenticator, runtime, tails, Origins.of(settings))
        runtime.presence.start(sockets.census)
        streams = EventStreams(sockets, settings.max_body)
        endpoint = GraphQLEndpoint(gateway, authenticator, partial(Context, runtime, tails), settings, streams)
        program = Program(runtime, tails, gateway, authenticator, sockets, jobs, exposition, endpoint)
        following = asyncio.create_task(program.follow_operations())
        stack.callback(following.cancel)
        stack.push_async_callback(sockets.close)
        if jobs is not None:
            jobs.start()
            stack.push_async_callback(jobs.stop)
        try:
            yield program
        finally:
            program.draining = True


class GraphQLFirst:
    """Takes what goes to ``/graphql`` before everything that is for other requests.

    A socket stays open for hours, and each layer that it has passed keeps half a kilobyte for it; and for the others
    layers and routing cost a fifth of a small query.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._answer = compressed(_answer, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] != "/graphql":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _program(scope).sockets(scope, receive, send)
        elif scope["method"] in ("GET", "POST"):
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _program(scope: Scope) -> Program:
    return scope["app"].state.program


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await _program(scope).endpoint(scope, receive, send)


def create_app(
    settings: Settings,
    prepare: Callable[[Program], Awaitable[None]] | None = None,
    *,
    migrated: bool = False,
    exposition: Exposition = own_metrics,
) -> Starlette:
    """The ASGI application. Its parts come to life with its lifespan; ``app.state.program`` has them then.

    ``prepare`` runs before the first request is taken. ``migrated``: somebody else has seen to the database's
    schema. ``exposition`` makes the answer of ``/metrics``.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with running(settings, migrated=migrated, exposition=exposition) as program:
            app.state.program = program
            if prepare is not None:
                await prepare(program)
            app.router.routes.extend(program.routes())
            log.info("serving", database="own" if settings.database_url else "embedded", sandbox=settings.sandbox)
            yield

    around = edge(settings)
    proxies = [layer for layer in around if layer.cls is ProxyHeadersMiddleware]
    rest = [layer for layer in around if layer.cls is not ProxyHeadersMiddleware]
    return Starlette(lifespan=lifespan, middleware=[*proxies, Middleware(GraphQLFirst, settings), *rest])
