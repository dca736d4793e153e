"""Files in a bucket of an S3-compatible store: its objects ``incoming/…`` and ``public/…``.

Every request, the client's and ours, has a signed address (AWS Signature Version 4 in the query string).
An upload is a PUT whose ``content-length`` and ``content-type`` are signed: the store compares them with what comes.
That is understood by more stores than the signed forms of POST.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import quote

import aiohttp
from botocore.auth import S3SigV4QueryAuth  # pyright: ignore[reportMissingTypeStubs]
from botocore.awsrequest import AWSRequest  # pyright: ignore[reportMissingTypeStubs]
from botocore.credentials import Credentials  # pyright: ignore[reportMissingTypeStubs]
from yarl import URL

from clients.files import IMMUTABLE, INCOMING, PUBLIC, StoreUnavailable, UploadTarget
from core import logs
from core.clock import wall_now

log = logs.get(__name__)

TIMEOUT: Final = aiohttp.ClientTimeout(total=6, connect=2)
"""Reading and publishing one after the other still end before an operation has to."""
OWN_LIFE: Final = 60
"""Seconds for which the addresses of our own requests are good."""


class S3Files:
    """``bucket_url`` is the base address of the bucket's objects, ``public_url`` that under which everybody reads those
    below ``public/``. One per process; ``close`` at the end."""

    def __init__(self, bucket_url: str, region: str, access_key: str, secret_key: str, public_url: str | None) -> None:
        self._bucket = bucket_url.rstrip("/")
        self._public = (public_url or f"{self._bucket}/{PUBLIC}").rstrip("/")
        self._region = region
        self._credentials: Any = Credentials(access_key, secret_key)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def upload_target(self, key: str, media_type: str, size: int, ends_at: datetime) -> UploadTarget:
        life = max(1, round((ends_at - wall_now()).total_seconds()))
        headers = {"content-type": media_type, "content-length": str(size)}
        url = self._sign("PUT", f"{INCOMING}/{key}", life, headers)
        # Its length is the body's: clients set that header themselves, and a browser allows nobody else to.
        return UploadTarget(url, "PUT", (("content-type", media_type),))

    async def read(self, key: str, limit: int) -> bytes | None:
        status, content = await self._ask("GET", f"{INCOMING}/{key}", limit=limit)
        return None if status == 404 else content

    async def publish(self, name: str, content: bytes, media_type: str) -> None:
        headers = {"content-type": media_type, "cache-control": IMMUTABLE, "content-disposition": "inline"}
        await self._ask("PUT", f"{PUBLIC}/{name}", headers, content)

    async def remove(self, key: str | None, name: str | None) -> None:
        if key is not None:
            await self._ask("DELETE", f"{INCOMING}/{key}")
        if name is not None:
            await self._ask("DELETE", f"{PUBLIC}/{name}")

    def url(self, name: str) -> str:
        return f"{self._public}/{name}"

    def _sign(self, method: str, path: str, life: int, headers: dict[str, str] | None = None) -> str:
        request: Any = AWSRequest(method, f"{self._bucket}/{quote(path)}", headers=headers or {})
        signer: Any = S3SigV4QueryAuth(self._credentials, "s3", self._region, life)
        signer.add_auth(request)
        return cast(str, request.url)

    async def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        limit: int = 2_000,
    ) -> tuple[int, bytes]:
        """``(status, beginning of the answer)``, of success or of 404. Raises StoreUnavailable."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        url = self._sign(method, path, OWN_LIFE, headers)
        try:
            async with self._session.request(
                method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as response:
                content = await _beginning(response, limit)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # Not the error's text: the address in it is signed.
            log.warning("files.unavailable", method=method, path=path, error=type(error).__name__)
            raise StoreUnavailable(type(error).__name__) from None
        if response.status >= 300 and not (response.status == 404 and method != "PUT"):
            # 403 too: credentials and clocks are the operator's to mend.
            log.warning("files.refused", method=method, path=path, status=response.status, answer=content[:500])
            raise StoreUnavailable(f"status {response.status}")
        return response.status, content


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) >= limit:
            break
    return bytes(content[:limit])
