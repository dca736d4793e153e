"""A partner's way: the documents are registered once, and called by their ids.

python stores.py manifest > manifest.json      # what to register
HUTONG_TOKEN=… python stores.py http://127.0.0.1:8000/graphql
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys

from hutong_partner import Client, GeoPointInput, operations
from hutong_partner.base_client import GraphQLFailed, document_id
from hutong_partner.resuming import Token

NEAR = GeoPointInput(latitude=39.9042, longitude=116.4074)


async def token() -> Token:
    """A real client gets a new one here, from ``/oauth/token``."""
    return Token(os.environ["HUTONG_TOKEN"])


def manifest() -> str:
    """Apollo's format, of the texts that the generated client has."""
    entries: list[dict[str, str]] = []
    for text in (getattr(operations, name) for name in operations.__all__):
        kind, name = re.match(r"\s*(\w+) (\w+)", text).groups()
        entries.append({"id": document_id(text).removeprefix("sha256:"), "name": name, "type": kind, "body": text})
    return json.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": entries}, indent=2)


async def main(url: str) -> None:
    async with Client(url, token, by_id=True) as client:
        print("cities", [city.slug for city in (await client.cities()).cities])
        for store in (await client.stores_near(near=NEAR, first=10)).stores.nodes:
            print(store.name, "open" if store.is_open else "closed")
    async with Client(url, token) as client:
        try:
            await client.cities()
        except GraphQLFailed as failed:
            print("by text:", failed.codes)


if __name__ == "__main__":
    if sys.argv[1:] == ["manifest"]:
        print(manifest())
    else:
        asyncio.run(main(*sys.argv[1:]))
