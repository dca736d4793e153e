"""A request that is not executed, and how errors look on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from graphql import GraphQLError

BAD_REQUEST: Final = "BAD_REQUEST"
INVALID_JSON: Final = "INVALID_JSON"
CSRF_PREVENTED: Final = "CSRF_PREVENTED"
PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT: Final = "BAD_USER_INPUT"
NO_SUCH_OPERATION: Final = "OPERATION_RESOLUTION_FAILURE"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
THROTTLED: Final = "THROTTLED"
TIMEOUT: Final = "OPERATION_TIMEOUT"
INTERNAL: Final = "INTERNAL"
UNAVAILABLE: Final = "SERVICE_UNAVAILABLE"
RESTARTING: Final = "RESTARTING"
RETRY_AFTER: Final = 1
"""Seconds after which to try again what was unavailable."""

SPECIFIED: Final = frozenset({PARSE_FAILED, VALIDATION_FAILED, BAD_USER_INPUT, NO_SUCH_OPERATION})
"""Request errors of the GraphQL specification, which clients of ``application/json`` expect with status 200."""


IN_CHINESE: Final = {
    UNAUTHENTICATED: "请重新登录。",
    THROTTLED: "操作过于频繁，请稍后再试。",
    UNAVAILABLE: "服务暂时不可用，请稍后重试。",
    RESTARTING: "服务正在重启，请重新连接。",
    INTERNAL: "服务器内部错误。",
}
"""What people may meet. The other refusals tell programmers what their program does wrong."""


class Refused(Exception):
    """Nothing was executed. ``errors`` go to the caller as they are; ``http_status`` is what HTTP says with them."""

    def __init__(self, errors: Sequence[dict[str, Any]], http_status: int = 400) -> None:
        super().__init__("; ".join(str(e.get("message")) for e in errors))
        self.errors = list(errors)
        self.http_status = http_status

    @property
    def code(self) -> str:
        return str(self.errors[0]["extensions"]["code"])


def refuse(code: str, message: str, http_status: int = 400, **facts: Any) -> Refused:
    """The Refused with one error."""
    return Refused([{"message": message, "extensions": {"code": code, **facts}}], http_status)


def restarting() -> Refused:
    """This process is about to end, and another one serves."""
    return refuse(RESTARTING, "This process is about to end; connect again.", 503)


def told(errors: Sequence[dict[str, Any]], locale: str) -> list[dict[str, Any]]:
    """The errors of a refusal in the caller's language, where they are for people."""
    if locale != "zh-CN":
        return list(errors)
    return [{**e, "message": IN_CHINESE.get(e["extensions"]["code"], e["message"])} for e in errors]


def shown(error: GraphQLError, code: str) -> dict[str, Any]:
    """An error of graphql-core about the request, with a code."""
    formatted: dict[str, Any] = {**error.formatted}
    formatted["extensions"] = {**formatted.get("extensions", {}), "code": code}
    return formatted
