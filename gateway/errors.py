"""From exceptions to GraphQL errors: the only place where that happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, cast, get_args, get_origin, get_type_hints
from uuid import UUID, uuid4

from graphql import GraphQLError
from strawberry.utils.str_converters import to_camel_case

from auth.tokens import Unauthenticated
from core import ids, logs
from core.errors import BusinessError
from core.money import Money
from gateway.refusals import BAD_USER_INPUT, INTERNAL, RETRY_AFTER, UNAUTHENTICATED, UNAVAILABLE
from models import database
from resolvers.context import Context

log = logs.get(__name__)

_SIGN_IN: Final = {"en": "Please sign in.", "zh-CN": "请先登录。"}
_UNAVAILABLE: Final = {"en": "Please try again in a moment.", "zh-CN": "服务暂时不可用，请稍后重试。"}
_INTERNAL: Final = {"en": "Something went wrong on our side.", "zh-CN": "服务器内部错误。"}


def present(errors: Sequence[GraphQLError], context: Context, *, mask: bool) -> list[dict[str, Any]]:
    """``errors`` of an execution as the caller may see them."""
    return [_present(error, context, mask) for error in errors]


def _present(error: GraphQLError, context: Context, mask: bool) -> dict[str, Any]:
    cause = _cause(error)
    shown: dict[str, Any] = {"message": error.message}
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        shown["path"] = error.path
    shown["message"], shown["extensions"] = describe(cause, context, mask=mask)
    return shown


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return error


def describe(cause: BaseException, context: Context, *, mask: bool) -> tuple[str, dict[str, Any]]:
    """``(message, extensions)`` for the caller. What is nobody's business is logged and named by an error id."""
    if isinstance(cause, BusinessError):
        return cause.message(context.locale), {"code": cause.code, **facts(cause)}
    if isinstance(cause, Unauthenticated):
        return _in(_SIGN_IN, context.locale), {"code": UNAUTHENTICATED, "reason": cause.reason.value}
    # The executor's own complaint about the value of an argument: the caller's mistake.
    if isinstance(cause, GraphQLError) and cause.message.startswith("Argument "):
        return cause.message, {"code": BAD_USER_INPUT}
    if is_outage(cause):
        log.warning("unavailable", request_id=context.request_id, error=repr(cause))
        return _in(_UNAVAILABLE, context.locale), {"code": UNAVAILABLE, "retryAfterSeconds": RETRY_AFTER}
    error_id = uuid4().hex
    log.error("internal error", error_id=error_id, request_id=context.request_id, exc_info=cause)
    message = _in(_INTERNAL, context.locale) if mask else f"{type(cause).__name__}: {cause}"
    return message, {"code": INTERNAL, "errorId": error_id}


def is_outage(cause: BaseException) -> bool:
    """Whether the database could not be reached or did not take what was asked: the same may work soon."""
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionError):
        return False  # files and the like
    return isinstance(cause, database.UNAVAILABLE)


def _in(messages: dict[str, str], locale: str) -> str:
    return messages.get(locale) or messages["en"]


def facts(error: BusinessError) -> dict[str, Any]:
    """The facts of a business error by their GraphQL names, keys as public ids."""
    return {to_camel_case(name): _outside(getattr(error, name), reference) for name, reference in _fields(type(error))}


@cache
def _fields(error: type[BusinessError]) -> list[tuple[str, str | None]]:
    """``(fact, GraphQL type that it is a key of)`` of an error class."""
    if not dataclasses.is_dataclass(error):
        return []
    hints = get_type_hints(error, include_extras=True)
    return [(field.name, _reference(hints[field.name])) for field in dataclasses.fields(error)]


def _reference(annotation: Any) -> str | None:
    candidates = [annotation, *get_args(annotation)]
    return next((get_args(c)[1] for c in candidates if get_origin(c) is Annotated and get_args(c)[0] is UUID), None)


def _outside(value: Any, reference: str | None) -> Any:
    if isinstance(value, UUID):
        return ids.encode(reference, value) if reference else str(value)
    if isinstance(value, Money):
        return {"amount": value.amount, "currency": value.currency}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_outside(item, reference) for item in cast(Sequence[Any], value)]
    return value
