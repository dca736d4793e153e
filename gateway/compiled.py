"""The compiled operations of a process: which are compiled, when, and how much of them is kept.

Registered documents are compiled when they are registered. Others are compiled at their second use, since a document
that is used once costs more to compile than to interpret, and are forgotten least recently used first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from graphql import OperationDefinitionNode, OperationType, VariableValues, get_variable_values

from auth.principals import View
from core import logs
from gateway import metrics
from gateway.compiler import Compiled, Limits, Unsupported, compile_operation
from gateway.contracts import Contract
from gateway.documents import Document

log = logs.get(__name__)

KEPT_BYTES: Final = 96_000_000
"""Memory for operations that are not registered, as estimated."""
SEEN: Final = 10_000
"""Operations of which the first use is remembered."""
AD_HOC: Final = Limits(source=100_000, fields=1_000, variants=4)
"""For operations that callers make up."""
REGISTERED: Final = Limits()

_PER_TOKEN: Final = 700
"""Bytes of a document's syntax tree for each of its tokens. Operations keep it, for the places of errors, longer than
the cache of documents does."""
_PER_CODE: Final = 3
"""Bytes of memory for each of code, with the tree that it was generated from."""
_REFUSAL: Final = 1_000

Key = tuple[View, str, str]


class CompiledOperations:
    """Compiles and keeps operations.

    :param kept_bytes: bound of the memory of operations that are not registered.
    """

    def __init__(self, *, hide_suggestions: bool, kept_bytes: int = KEPT_BYTES) -> None:
        self._hide_suggestions = hide_suggestions
        self._kept_bytes = kept_bytes
        self._registered: dict[Key, Compiled | Unsupported] = {}
        self._documents: set[tuple[View, str]] = set()
        self._kept: OrderedDict[Key, tuple[Compiled | Unsupported, int]] = OrderedDict()
        self._bytes = 0
        self._seen: OrderedDict[Key, None] = OrderedDict()

    def find(self, contract: Contract, document: Document, node: OperationDefinitionNode) -> Compiled | Unsupported:
        """The compiled operation, or why there is none. A subscription is compiled at its first use: it runs often."""
        key = _key(contract, document, node)
        known = self._registered.get(key)
        if known is not None:
            return known
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            self._account(key, kept[0], document.tokens)
            return kept[0]
        if key not in self._seen and node.operation is not OperationType.SUBSCRIPTION:
            self._seen[key] = None
            if len(self._seen) > SEEN:
                self._seen.popitem(last=False)
            return Unsupported("first use")
        compiled = self._compile(contract, document, node, AD_HOC)
        self._kept[key] = (compiled, 0)
        self._account(key, compiled, document.tokens)
        return compiled

    def holds(self, contract: Contract, document: Document) -> bool:
        """Whether an operation of ``document`` is kept, registered or not."""
        keys = [_key(contract, document, node) for node in document.operations.values()]
        return any(key in self._registered or key in self._kept for key in keys)

    def is_registered(self, view: View, id: str) -> bool:
        """Whether :meth:`register` was called for this document."""
        return (view, id) in self._documents

    def register(self, contract: Contract, document: Document) -> list[Compiled | Unsupported]:
        """Compile all operations of a registered document, to be kept for good."""
        self._documents.add((contract.view, document.id))
        made: list[Compiled | Unsupported] = []
        for node in document.operations.values():
            key = _key(contract, document, node)
            if key not in self._registered:
                self._registered[key] = self._compile(contract, document, node, REGISTERED)
            made.append(self._registered[key])
        held = sum(_PER_CODE * c.size for c in self._registered.values() if isinstance(c, Compiled))
        metrics.COMPILED_BYTES.labels("registered").set(held)
        return made

    def forget(self, contract: Contract, document: Document) -> None:
        """A document is no longer registered."""
        self._documents.discard((contract.view, document.id))
        for node in document.operations.values():
            self._registered.pop(_key(contract, document, node), None)

    def _compile(
        self, contract: Contract, document: Document, node: OperationDefinitionNode, limits: Limits
    ) -> Compiled | Unsupported:
        try:
            compiled = compile_operation(
                contract.schema, document.node, node,
                planner=contract.planner, limits=limits, hide_suggestions=self._hide_suggestions,
            )  # fmt: skip
        except Unsupported as unsupported:
            metrics.NOT_COMPILED.labels(str(unsupported)).inc()
            return Unsupported(*unsupported.args)  # without the frames of this one, which hold the document
        metrics.COMPILATION_SECONDS.observe(compiled.seconds)
        log.debug("operation compiled", document=document.id[:16], ms=round(compiled.seconds * 1000, 2))
        return compiled

    def _account(self, key: Key, compiled: Compiled | Unsupported, tokens: int) -> None:
        """Count what the operation holds now (variants come later) and make room."""
        size = _PER_TOKEN * tokens + _PER_CODE * compiled.size if isinstance(compiled, Compiled) else _REFUSAL
        if size == self._kept[key][1]:
            return
        self._bytes += size - self._kept[key][1]
        self._kept[key] = (compiled, size)
        while self._bytes > self._kept_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        metrics.COMPILED_BYTES.labels("ad hoc").set(self._bytes)


def _key(contract: Contract, document: Document, node: OperationDefinitionNode) -> Key:
    return contract.view, document.id, node.name.value if node.name else ""


def explain(contract: Contract, document: Document, variables: dict[str, Any]) -> str:
    """The generated Python of each operation of ``document``, or why there is none."""
    texts: list[str] = []
    for node in document.operations.values():
        values = get_variable_values(contract.schema, node.variable_definitions or (), variables)
        # What @skip and @include do not ask is of no importance to the plan.
        known = VariableValues({}, {}) if isinstance(values, list) else values
        try:
            compiled = compile_operation(contract.schema, document.node, node, planner=contract.planner)
            variant = compiled.variant(known)
            texts.append(
                f"# {compiled.seconds * 1000:.1f} ms to compile, {variant.size} bytes of code\n\n{variant.source}"
            )
        except Unsupported as unsupported:
            texts.append(f"# not compiled, graphql-core runs it: {unsupported}\n")
    return "\n".join(texts)
