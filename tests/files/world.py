"""Uploading as clients do it."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.api.city import City, key

REQUEST = """mutation ($store: ID!, $format: PictureFormat!, $size: Int!, $key: String!) {
    requestPictureUpload(store: $store, format: $format, size: $size, idempotencyKey: $key) { __typename
        ... on PictureUpload { id url method headers { name value } expiresAt maxSize }
        ... on UserError { code message } ... on PictureTooLarge { maximum } ... on TooManyUploads { maximum } } }"""
COMPLETE = """mutation ($upload: ID!) { completePictureUpload(upload: $upload) { __typename
    ... on Picture { id url format size width height } ... on UserError { code message }
    ... on PictureRejected { problem } ... on FilesUnavailable { retryAfterSeconds } } }"""
SET_ITEM = """mutation ($item: ID!, $picture: ID) { setItemPicture(item: $item, picture: $picture) { __typename
    ... on Item { id picture { id url width height } } ... on UserError { code message } } }"""
SET_LOGO = """mutation ($store: ID!, $picture: ID) { setStoreLogo(store: $store, picture: $picture) { __typename
    ... on Store { id logo { id url } } ... on UserError { code message } } }"""
SET_PHOTOS = """mutation ($store: ID!, $pictures: [ID!]!) { setStorePhotos(store: $store, pictures: $pictures) {
    __typename ... on Store { id photos { id url } } ... on UserError { code message } } }"""
ITEMS = "query ($store: ID!) { store(id: $store) { menu { items { id picture { id url width height } } } } }"
SHOWN = "query ($store: ID!) { store(id: $store) { logo { id } photos { id } } }"


async def request(city: City, token: str, store: str, size: int, format: str = "PNG", once: str | None = None) -> Any:
    return await city.do(token, REQUEST, store=store, format=format, size=size, key=once or key())


async def send(
    city: City, upload: dict[str, Any], content: Any, *, url: str | None = None, **headers: str
) -> tuple[int, str]:
    """Upload as the answer of the request says, but for what is given."""
    said = {header["name"]: header["value"] for header in upload["headers"]} | headers
    where = city.url + (url or upload["url"])
    async with city.http.request(upload["method"], where, data=content, headers=said) as response:
        return response.status, await response.text()


async def picture(city: City, token: str, store: str, content: bytes, format: str = "PNG") -> dict[str, Any]:
    """A picture that is ready."""
    upload = await request(city, token, store, len(content), format)
    status, text = await send(city, upload, content)
    assert status == 200, text
    ready = await city.do(token, COMPLETE, upload=upload["id"])
    assert ready["__typename"] == "Picture", ready
    return ready


async def get(city: City, url: str, method: str = "GET", **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    async with city.http.request(method, city.url + url, headers=headers) as response:
        return response, await response.read()
