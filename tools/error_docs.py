"""``python -m cli error-docs``: writes docs/errors.md from the errors that the program can give.

What the code cannot tell, the meaning of a gateway code, is in tables here; a code of the gateway that a table lacks
ends the command with an error.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from graphql import GraphQLObjectType, GraphQLSchema, GraphQLUnionType, get_named_type
from rich.console import Console

from auth.tokens import Reason
from core.errors import BusinessError
from gateway import refusals
from schema.base import COMMON
from schema.build import full_schema
from services import errors
from subscriptions.protocol import REASONS, Close

PAGE: Final = Path("docs/errors.md")
SOURCES: Final = ("gateway", "subscriptions")

REQUESTS: Final[dict[str, tuple[str, str]]] = {
    "BAD_REQUEST": (
        "400, 405, 406, 415",
        "The request is not one of GraphQL over HTTP: method, media type, JSON, types of its members, or a"
        " mutation by GET, a subscription over HTTP. Repeating it is useless.",
    ),
    "GRAPHQL_PARSE_FAILED": ("400 or 200", "The document is not GraphQL."),
    "GRAPHQL_VALIDATION_FAILED": (
        "400 or 200",
        "The document asks for something that the caller's contract does not have, or uses it wrongly.",
    ),
    "BAD_USER_INPUT": ("400 or 200", "A variable, or an argument, does not have its declared type."),
    "OPERATION_RESOLUTION_FAILURE": (
        "400 or 200",
        "`operationName` names none of the document's operations, or is needed and missing.",
    ),
    "TOKEN_LIMIT_EXCEEDED": ("400", "The document is too long. `limit`, `value`: tokens."),
    "DEPTH_LIMIT_EXCEEDED": ("400", "Selections are nested too deeply. `limit`, `value`: levels."),
    "ALIAS_LIMIT_EXCEEDED": ("400", "Too many aliases. `limit`, `value`."),
    "ROOT_FIELD_LIMIT_EXCEEDED": ("400", "Too many fields of the root type. `limit`, `value`."),
    "MUTATION_LIMIT_EXCEEDED": ("400", "Too many mutations in one operation. `limit`, `value`."),
    "FIELD_LIMIT_EXCEEDED": ("400", "Too many fields after expanding fragments. `limit`, `value`."),
    "DIRECTIVE_LIMIT_EXCEEDED": ("400", "Too many directives. `limit`, `value`."),
    "BODY_LIMIT_EXCEEDED": ("413", "The body is too long. `limit`, `value`: bytes, of what was read or announced."),
    "BATCH_LIMIT_EXCEEDED": ("400", "Several operations in one request. `limit` is 1; `value`: how many."),
    "INPUT_STRING_LIMIT_EXCEEDED": ("400", "A string in a variable or argument is too long. `limit`, `value`."),
    "INPUT_LIST_LIMIT_EXCEEDED": ("400", "A list in a variable or argument is too long. `limit`, `value`."),
    "INPUT_DEPTH_LIMIT_EXCEEDED": (
        "400",
        "A variable or argument is nested too deeply. `limit`, `value`: levels.",
    ),
    "PAGE_SIZE_LIMIT_EXCEEDED": ("400", "More than a page has is asked for. `limit`, `value`: of `first`."),
    "NODE_LIMIT_EXCEEDED": (
        "400",
        "The answer may have too many objects. `limit`, `value`. Ask for smaller pages, above all inside others.",
    ),
    "COST_LIMIT_EXCEEDED": ("400", "The operation may cost more than its caller may ever spend. `limit`, `value`."),
    "THROTTLED": (
        "429, with `Retry-After`",
        "The caller has spent what it may for now. `cost` of the operation, `available` and `max` points, `restoreRate`"
        " per second, `retryAfter` in seconds. Nothing was executed.",
    ),
    "INVALID_JSON": ("400", "The body, or `variables` or `extensions` of a request by GET, is not JSON."),
    "CSRF_PREVENTED": (
        "403",
        "A page of another site made a browser send a query by GET without asking first. Your own page on another "
        "origin sends the header `apollo-require-preflight`.",
    ),
    "PERSISTED_QUERY_ID_REQUIRED": ("400", "A partner may call registered operations only, by their id."),
    "PERSISTED_QUERY_NOT_IN_LIST": ("404", "No operation is registered for this view under this id."),
    "QUERY_NOT_IN_SAFELIST": ("403", "The view takes registered documents only, and this text is none of them."),
    "PERSISTED_QUERY_NOT_FOUND": (
        "200",
        "Automatic persisted queries: the server does not have the text; send it with the hash once.",
    ),
    "PERSISTED_QUERY_HASH_MISMATCH": ("400", "Automatic persisted queries: the hash is not that of the text."),
    "PERSISTED_QUERY_NOT_SUPPORTED": ("400", "Automatic persisted queries of a version other than 1."),
    "CANNOT_SEND_PQ_ID_AND_BODY": ("400", "The request has an id and the text of another document."),
    "UNAUTHENTICATED": (
        "401; 200 within an answer",
        "Sign in, or get a new access token. `reason`: {reasons}.",
    ),
    "ORIGIN_NOT_ALLOWED": ("403", "A browser page of an origin that may not call the API."),
    "TOO_MANY_OPERATIONS": (
        "429; WebSocket",
        "The socket or event stream already runs as many operations as it may.",
    ),
    "TOO_MANY_STREAMS": ("503", "Too many event streams are reserved and not open yet. Try again later."),
    "STREAM_ALREADY_OPEN": ("409", "The event stream of this token is open already."),
    "STREAM_NOT_FOUND": ("404", "No event stream is reserved for this token, or its reservation has expired."),
    "OPERATION_EXISTS": ("409", "An operation of this id already runs on the event stream."),
    "ANOTHER_SUBJECT": ("403", "The event stream is somebody else's."),
    "OPERATION_TIMEOUT": (
        "200",
        "The operation took longer than `HUTONG_OPERATION_TIMEOUT` and was stopped. `limit`, `value`:"
        " seconds. A mutation may or may not have had its effect:"
        " repeat it with the same idempotency key.",
    ),
    "SERVICE_UNAVAILABLE": (
        "200; 503 before execution",
        "The database is out of reach. Try again after `retryAfterSeconds`, a mutation with the same idempotency key.",
    ),
    "RESTARTING": (
        "503",
        "The process is about to end and did not finish the request, or takes none any more. Repeat it, a"
        " mutation with the same idempotency key: another process answers.",
    ),
    "INTERNAL": ("200; 500 before execution", "A fault of the server, logged under `errorId`."),
}
"""Code → (HTTP status, meaning)."""

CLOSES: Final[dict[Close, tuple[str, str]]] = {
    Close.TOO_BIG: ("Message too long", "no"),
    Close.RESTART: ("service restart", "yes, with the last cursor"),
    Close.TRY_LATER: ("try again later", "yes, with the last cursor, after a pause"),
    Close.RESUME: ("resume", "yes, with the last cursor"),
    Close.SILENT: ("silent", "yes, with the last cursor"),
    Close.BAD_REQUEST: ("Invalid message received: …", "no"),
    Close.UNAUTHORIZED: ("Unauthorized", "no; send `connection_init` and wait for its answer first"),
    Close.FORBIDDEN: (
        "{forbidden}",
        "with a fresh token; after `session revoked` only by signing in",
    ),
    Close.SUBPROTOCOL: ("Subprotocol not acceptable", "no; ask for `graphql-transport-ws`"),
    Close.INIT_TIMEOUT: ("Connection initialisation timeout", "yes"),
    Close.SUBSCRIBER_EXISTS: ("Subscriber for … already exists", "no; ids of running operations must differ"),
    Close.TOO_MANY_INITS: ("Too many initialisation requests", "no"),
}
"""Close code → (reason, whether to connect again)."""

Check = Annotated[bool, typer.Option("--check", help="Write nothing; fail when the page is not up to date.")]


def error_docs(check: Check = False) -> None:
    """Write docs/errors.md from the errors of the services, the gateway and the sockets."""
    text = errors_page(full_schema())
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text)
        Console().print(f"wrote {PAGE}")
    elif not PAGE.exists() or PAGE.read_text() != text:
        Console(stderr=True).print(f"[red]{PAGE} is not what the code says.[/] Run: python -m cli error-docs")
        raise typer.Exit(1)
    else:
        Console().print(f"{PAGE} is up to date.")


def errors_page(schema: GraphQLSchema) -> str:
    """The page. Raises RuntimeError when a code of the gateway has no meaning here."""
    if missing := _codes_in_use() - REQUESTS.keys():
        raise RuntimeError(f"tools/error_docs.py does not explain {', '.join(sorted(missing))}")
    forbidden = ", ".join(dict.fromkeys([*REASONS.values(), "another subject"]))
    reasons = ", ".join(reason.value for reason in Reason)
    lines = [
        "# Errors",
        "",
        "Codes and type names do not change and are not translated; messages are for people and follow"
        " `Accept-Language` (`zh-CN` or `en`). What only a programmer can mend is told in English.",
        "This page is generated by `python -m cli error-docs`.",
        "",
        "## Business errors",
        "",
        "Facts that a caller can act on. A mutation returns them as members of its result union, all with"
        " `interface UserError { code message }`; in a query or a subscription they are in `errors[].extensions`,"
        " with `code` and the same facts.",
        f"{_listed([error.__name__ for error in COMMON])} can be in the result of every mutation.",
    ]
    for error in errors.CATALOGUE:
        lines += ["", *_section(schema, error)]
    lines += [
        "",
        "## Codes of the request",
        "",
        "In `errors[].extensions.code`. With two statuses, the first is for"
        " `Accept: application/graphql-response+json` and the second for `application/json`. Over WebSocket the"
        " same errors are the payload of an `error` message.",
        "",
        "| Code | HTTP status | Meaning |",
        "|---|---|---|",
    ]
    for code, (status, meaning) in REQUESTS.items():
        lines.append(f"| `{code}` | {status} | {meaning.replace('{reasons}', reasons)} |")
    lines += [
        "",
        "## Close codes of WebSockets",
        "",
        "| Code | Reason | Connect again? |",
        "|---|---|---|",
    ]
    for close in Close:
        reason, again = CLOSES[close]
        lines.append(f"| {close.value} | {reason.replace('{forbidden}', forbidden)} | {again} |")
    return "\n".join(lines) + "\n"


def _section(schema: GraphQLSchema, error: type[BusinessError]) -> list[str]:
    name = error.__name__
    kind = schema.type_map.get(name)
    lines = [f"### {name}", ""]
    doc = inspect.getdoc(error)
    if doc and "__doc__" in vars(error) and not doc.startswith(f"{name}("):
        lines += [re.sub(r"``(\w+)``", lambda m: f"`{_camel(m[1])}`", doc.replace("\n", " ")), ""]
    lines += ["| | |", "|---|---|", f"| code | `{error.code}` |"]
    if isinstance(kind, GraphQLObjectType):
        fields = cast(dict[str, Any], kind.fields)
        facts = [f"`{n}: {field.type}`" for n, field in fields.items() if n not in ("code", "message")]
        lines.append(f"| facts | {', '.join(facts) or 'none'} |")
    for locale, message in error.messages.items():
        shown = re.sub(r"\{(\w+)\}", lambda m: f"`{_camel(m[1])}`", message)
        lines.append(f"| {locale} | {shown} |")
    if error not in COMMON:
        lines.append(f"| in the result of | {_listed(_mutations(schema, name)) or 'no mutation'} |")
    return lines


def _mutations(schema: GraphQLSchema, error: str) -> list[str]:
    fields = cast(dict[str, Any], schema.mutation_type.fields if schema.mutation_type else {})
    found = [name for name, field in fields.items() if error in _members(get_named_type(field.type))]
    return sorted(found)


def _members(kind: Any) -> list[str]:
    return [member.name for member in kind.types] if isinstance(kind, GraphQLUnionType) else []


def _codes_in_use() -> set[str]:
    constants = {v for n, v in vars(refusals).items() if n.isupper() and isinstance(v, str)}
    literal = re.compile(r"(?:refuse|refusal|_too_large|check)?\(\s*\"([A-Z]+(?:_[A-Z]+)+)\"")
    texts = (path.read_text() for folder in SOURCES for path in Path(folder).glob("*.py"))
    return constants | {code for text in texts for code in literal.findall(text)}


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
