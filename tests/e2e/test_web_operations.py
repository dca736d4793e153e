"""What the browser terminals send fits the contract of the view that they send it as."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from graphql import parse, validate

from auth.principals import View
from gateway.contracts import build_contracts
from schema.build import full_schema
from tests import node

OPERATIONS = Path(__file__).parents[2] / "web" / "js" / "operations.js"
SCRIPT = f"import {{ BY_VIEW }} from '{OPERATIONS.as_uri()}'; console.log(JSON.stringify(BY_VIEW))"


def test_every_operation_is_valid_for_its_view() -> None:
    try:
        command = node.node_command()
    except node.NodeMissing as error:
        pytest.skip(str(error))
    told = subprocess.run(
        [*command, "--no-warnings", "--input-type=module", "--eval", SCRIPT], check=True, capture_output=True,
        env=node.environment(),
    )  # fmt: skip
    contracts = build_contracts(full_schema())
    by_view = json.loads(told.stdout)
    assert {"ANONYMOUS", *View} - {"PARTNER"} == set(by_view)
    for view, operations in by_view.items():
        schema = contracts[View.CONSUMER if view == "ANONYMOUS" else View(view)].schema
        for name, text in operations.items():
            assert validate(schema, parse(text)) == [], (view, name)
