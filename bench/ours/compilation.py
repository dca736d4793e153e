"""What compiling the registered operations costs, in a process of its own; prints one JSON object.

Times are CPU of the best of several compilations, each from the parsed and valid document; memory is what is allocated
when all of them are held.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any, Final

from graphql import VariableValues

from core import logs
from gateway.compiler import Unsupported, compile_operation
from gateway.contracts import Contract, build_contracts
from gateway.documents import Document, Documents
from gateway.manifests import BUNDLED, read_manifest
from gateway.operations import Operations
from schema.build import full_schema

TIMES: Final = 7
NO_VARIABLES: Final = VariableValues({}, {})


def compiled(contract: Contract, document: Document) -> list[Any]:
    """The operations of ``document``, each with the plan of a call that gives no variables."""
    made: list[Any] = []
    for node in document.operations.values():
        operation = compile_operation(contract.schema, document.node, node, planner=contract.planner)
        made.append((operation, operation.variant(NO_VARIABLES)))
    return made


def main() -> None:
    logs.configure("warning")
    contracts = build_contracts(full_schema())
    documents = Documents(introspection=False)
    operations = Operations()
    for operation in read_manifest(BUNDLED):
        operations.offer(operation, contracts, documents)
    found: list[dict[str, Any]] = []
    held: list[Any] = []
    for registered in operations.all():
        view, document = registered.view, registered.document
        contract, id = contracts[view], document.id
        try:
            held.append(compiled(contract, document))
        except Unsupported as unsupported:
            print(f"{id}: {unsupported}")
            continue
        best = float("inf")
        for _ in range(TIMES):
            began = time.process_time()
            compiled(contract, document)
            best = min(best, time.process_time() - began)
        name = next(iter(document.operations)) or id
        found.append({"name": name, "view": view, "tokens": document.tokens, "ms": best * 1000})
    held.clear()
    tracemalloc.start()
    held.extend(compiled(contracts[registered.view], registered.document) for registered in operations.all())
    allocated = tracemalloc.get_traced_memory()[0]
    print(json.dumps({"operations": found, "bytes": allocated}))


if __name__ == "__main__":
    main()
