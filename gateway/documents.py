"""Documents: text → parsed, limited and validated against a contract, once.

The cache is bounded by tokens, because it is the syntax tree that costs memory (about 1 kB a token) and callers
choose the text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    Source,
    VariableValues,
    specified_rules,
    validate,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.language.parser import Parser

from auth.principals import View
from gateway.compiler.variables import VariableReader
from gateway.contracts import Contract
from gateway.cost import Costing, cost_of
from gateway.limits import DEFAULT, Limits, check_size, too_large
from gateway.refusals import BAD_USER_INPUT, NO_SUCH_OPERATION, PARSE_FAILED, VALIDATION_FAILED, Refused, refuse, shown
from schema.selection import columns_of
from services.columns import Columns

MAX_ERRORS: Final = 5
"""Mistakes that are told of one document: enough to go on, and no multiple of what was sent."""
CACHED_TOKENS: Final = 200_000


def document_id(text: str) -> str:
    """Lower-case hexadecimal SHA-256 of the text: the id of a document everywhere."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document of one contract, ready for the executor."""

    id: str
    text: str
    node: DocumentNode
    operations: dict[str | None, OperationDefinitionNode]
    fragment_definitions: dict[str, FragmentDefinitionNode]
    fragments: dict[str, FragmentDetails]
    tokens: int
    columns: dict[str | None, Columns]
    """What each operation shows of the records it reads."""
    costings: dict[str | None, Costing]
    """What each of the operations costs."""
    readers: dict[str | None, VariableReader] = field(default_factory=dict[str | None, VariableReader], compare=False)

    @property
    def cost(self) -> int:
        """The highest cost of any request for any of the operations."""
        return max(costing.worst for costing in self.costings.values())

    def variables(
        self, contract: Contract, node: OperationDefinitionNode, inputs: Mapping[str, Any], *, hide_suggestions: bool
    ) -> VariableValues:
        """The variables of an operation, coerced. Raises Refused."""
        name = node.name.value if node.name else None
        reader = self.readers.get(name)
        if reader is None:
            reader = self.readers[name] = VariableReader(contract.schema, node, hide_suggestions=hide_suggestions)
        values = reader.read(inputs, MAX_ERRORS)
        if isinstance(values, list):
            raise Refused([shown(error, BAD_USER_INPUT) for error in values])
        return values

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation called ``name``, or the only one. Raises Refused."""
        if name is None:
            if len(self.operations) == 1:
                return next(iter(self.operations.values()))
            raise refuse(NO_SUCH_OPERATION, "The document has several operations: say operationName.")
        if name not in self.operations:
            raise refuse(NO_SUCH_OPERATION, f"The document has no operation named '{name}'.")
        return self.operations[name]


class Documents:
    """Bounded cache of valid documents by contract and id."""

    def __init__(self, *, introspection: bool, cached_tokens: int = CACHED_TOKENS, limits: Limits = DEFAULT) -> None:
        self._introspection = introspection
        self._rules = specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule)
        self._cache: OrderedDict[tuple[View, str], Document] = OrderedDict()
        self._tokens = 0
        self._limit = cached_tokens
        self._limits = limits

    def get(self, view: View, id: str) -> Document | None:
        """The document, if the cache still has it."""
        found = self._cache.get((view, id))
        if found is not None:
            self._cache.move_to_end((view, id))
        return found

    def load(self, contract: Contract, text: str, id: str | None = None) -> Document:
        """The document of ``text``, parsed and validated unless it was before. Raises Refused.

        ``id``: of the text, where it is known.
        """
        id = id or document_id(text)
        document = self.get(contract.view, id)
        if document is None:
            document = self._prepare(contract, id, text)
            self._cache[contract.view, id] = document
            self._tokens += document.tokens
            while self._tokens > self._limit:
                self._tokens -= self._cache.popitem(last=False)[1].tokens
        return document

    def prepare(self, contract: Contract, text: str) -> Document:
        """The document of ``text``, not kept in the cache: for those that are kept elsewhere. Raises Refused."""
        return self._prepare(contract, document_id(text), text)

    def _prepare(self, contract: Contract, id: str, text: str) -> Document:
        try:
            node, tokens = _parse(text, self._limits.max_tokens)
            operations: dict[str | None, OperationDefinitionNode] = {}
            fragments: dict[str, FragmentDefinitionNode] = {}
            for part in node.definitions:
                if isinstance(part, OperationDefinitionNode):
                    operations[part.name.value if part.name else None] = part
                elif isinstance(part, FragmentDefinitionNode):
                    fragments[part.name.value] = part
            for operation in operations.values():
                check_size(contract.view, self._limits, operation, fragments)
            # Suggestions would tell the contract to someone who may not introspect it.
            errors = validate(
                contract.schema, node, self._rules, max_errors=MAX_ERRORS, hide_suggestions=not self._introspection
            )
        except RecursionError:
            raise too_large("DEPTH_LIMIT_EXCEEDED", "levels of selections", self._limits.max_depth, None) from None
        if errors:
            # The last of too many is one object of graphql-core's, which would keep the frames of all who met it.
            errors[-1].with_traceback(None)
            raise Refused([shown(error, VALIDATION_FAILED) for error in errors])
        if not operations:
            raise refuse(NO_SUCH_OPERATION, "The document has no operation.")
        details = {name: FragmentDetails(fragment) for name, fragment in fragments.items()}
        columns = {name: columns_of(contract.schema, operation, fragments) for name, operation in operations.items()}
        costings = {
            name: cost_of(contract.schema, one, fragments, self._limits.max_page) for name, one in operations.items()
        }
        return Document(id, text, node, operations, fragments, details, tokens, columns, costings)


def _parse(text: str, max_tokens: int) -> tuple[DocumentNode, int]:
    parser = Parser(Source(text), max_tokens=max_tokens)
    try:
        return parser.parse_document(), parser.token_count
    except GraphQLSyntaxError as error:
        if parser.token_count > max_tokens:
            raise too_large("TOKEN_LIMIT_EXCEEDED", "tokens", max_tokens, max_tokens + 1) from None
        raise Refused([shown(error, PARSE_FAILED)]) from None
