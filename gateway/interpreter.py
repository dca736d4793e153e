"""graphql-core's executor, which runs what is not compiled."""

from __future__ import annotations

from typing import Any

from graphql import Executor


class SteadyExecutor(Executor[Any]):
    """graphql-core 3.3.0 remembers sub-selections by the ids of field details, and lets go of those of the root.

    Their ids are then used again, and a later object of the same type gets the selections of another. So keep them.
    """

    _kept: Any = None

    def execute_root_grouped_field_set(
        self, root_type: Any, root_value: Any, grouped_field_set: Any, serially: bool, position_context: Any
    ) -> Any:
        self._kept = grouped_field_set
        return super().execute_root_grouped_field_set(
            root_type, root_value, grouped_field_set, serially, position_context
        )
