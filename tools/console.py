"""What the operator's commands share."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console

from core.settings import Settings

console = Console()
complaints = Console(stderr=True)


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment with ``overrides``; a mistake in them ends the program with its explanation."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        for problem in error.errors():
            name = (
                "_".join(["HUTONG", *(str(part).upper() for part in problem["loc"])]) if problem["loc"] else "Settings"
            )
            complaints.print(f"[red]{name}[/]: {problem['msg']}")
        raise typer.Exit(2) from None
