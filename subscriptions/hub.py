"""Between the gateway and the sockets: an admitted operation becomes a stream of serialised answers.

Today every subscriber has an execution of its own. Sharing one execution and its bytes among subscribers that ask
the same and may see the same belongs here, behind the same method.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final

from graphql import OperationType

from gateway.execution import Answer, Gateway, Interrupted, Operation
from gateway.refusals import INTERNAL, TIMEOUT
from resolvers.context import Context

_OURS: Final = frozenset({INTERNAL, TIMEOUT})


class Hub:
    """Runs the operations of sockets."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._mutations: set[asyncio.Task[Answer]] = set()

    async def answers(self, operation: Operation, context: Context) -> AsyncGenerator[bytes, None]:
        """JSON of each answer: one of a query or mutation, one per event of a subscription.

        A mutation that has begun goes on to its end when nobody waits for its answer any more, as over HTTP.
        Raises Refused when the source says no, and Interrupted when a subscription fails for a reason of ours. An
        event of which nothing could be read counts as such a failure: a client that was given it as an answer could
        not ask for it again, one that comes back with its last cursor gets it.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            work = self._gateway.respond(operation, context)
            if operation.kind is OperationType.MUTATION:
                running = asyncio.create_task(work)
                self._mutations.add(running)
                running.add_done_callback(self._mutations.discard)
                work = asyncio.shield(running)
            yield (await work).body
            return
        async with aclosing(self._gateway.source(operation, context)) as events:
            async for event in events:
                rendering = self._gateway.render(operation, context, event)
                answer = await rendering if isinstance(rendering, Awaitable) else rendering
                if not answer.has_data and not _OURS.isdisjoint(answer.codes):
                    raise Interrupted(answer.error_id)
                yield answer.body

    async def finish(self) -> None:
        """Wait for the mutations that are still running."""
        if self._mutations:
            await asyncio.wait(self._mutations)
