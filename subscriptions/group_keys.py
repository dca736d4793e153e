"""Which subscriptions are told the same, and so may share what is made for one of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

import orjson

from gateway.execution import Operation
from gateway.visibility import Visibility, visibility_of
from resolvers.context import Context
from resolvers.feeds import Following

_REMEMBERED: Final = 2000
"""Documents of which it is remembered what their answers depend on."""


class GroupKeys:
    """Makes the keys of groups."""

    def __init__(self) -> None:
        self._visibilities: OrderedDict[tuple[str, str, str], Visibility] = OrderedDict()

    def of(self, operation: Operation, context: Context, following: Following[Any]) -> Hashable:
        """Equal for subscriptions that are told the same of every event.

        Everything that an answer can depend on is in it: what is followed, the view and its document, the variables
        that are used below the root field, the language, and, unless all selected fields are declared shared, who
        asks and with which grants.
        """
        visibility = self._visibility(operation)
        given = operation.variables
        used = {name: given[name] for name in visibility.variables if name in given}
        variables = orjson.dumps(used, option=orjson.OPT_SORT_KEYS)
        principal = context.principal
        viewer = None
        if not visibility.shared:
            viewer = (principal.kind, principal.subject, principal.rider_id, principal.city_id, principal.grants)
        return (
            following.key, operation.contract.view, operation.document.id, operation.name, variables, context.locale,
            viewer,
        )  # fmt: skip

    def _visibility(self, operation: Operation) -> Visibility:
        key = (operation.contract.view, operation.document.id, operation.name)
        found = self._visibilities.get(key)
        if found is None:
            found = visibility_of(operation.contract, operation.document, operation.node)
            self._visibilities[key] = found
            if len(self._visibilities) > _REMEMBERED:
                self._visibilities.popitem(last=False)
        return found
