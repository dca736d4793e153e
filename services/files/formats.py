"""What is in an uploaded file, by its content, and the picture in it without anything else.

A file may be two things at once: a picture to one reader and a page, a script or an archive to another, by what stands
in comments, in metadata or behind the end. So a published file is put together anew: the segments that make the picture
are copied, everything else is left out, also where it was taken and by which phone. Pixels are not decoded.

Formats: JPEG, ITU-T T.81 annex B and Exif 3.0; PNG, W3C Recommendation, third edition; WebP, RFC 9649.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import puremagic

from models.files import PictureFormat, PictureProblem

MAX_SIDE: Final = 12_000
MAX_PIXELS: Final = 50_000_000
"""A picture of so many takes 200 MB of memory where it is shown."""

_HEAD: Final = 4096
"""Bytes by which a type is recognised."""


class BadPicture(Exception):
    """The file is not a picture as it should be."""

    def __init__(self, problem: PictureProblem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A file that is a picture and nothing else. Pixels, as it is shown."""

    content: bytes
    width: int
    height: int


def clean(content: bytes, format: PictureFormat) -> Cleaned:
    """The picture in ``content``. Raises BadPicture."""
    try:
        detected = cast(Any, puremagic).from_string(content[:_HEAD], mime=True)
    except (puremagic.PureError, ValueError):
        detected = ""
    if detected != format.media_type:
        raise BadPicture(PictureProblem.WRONG_TYPE)
    try:
        picture = _CLEANERS[format](content)
    except (struct.error, IndexError, _Damaged):
        raise BadPicture(PictureProblem.DAMAGED) from None
    pixels = picture.width * picture.height
    if pixels == 0:
        raise BadPicture(PictureProblem.DAMAGED)
    if pixels > MAX_PIXELS or max(picture.width, picture.height) > MAX_SIDE:
        raise BadPicture(PictureProblem.TOO_MANY_PIXELS)
    return picture


class _Damaged(Exception):
    pass


def _require(condition: bool) -> None:
    if not condition:
        raise _Damaged


# JPEG

_SOI: Final = b"\xff\xd8"
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_KEPT: Final = _FRAMES | {0xC4, 0xCC, _SOS, 0xDB, 0xDC, 0xDD}
"""Frames, scans, tables, restart interval."""
_COLOURS: Final = {0xE0: b"JFIF\x00", 0xE2: b"ICC_PROFILE\x00", 0xEE: b"Adobe"}
"""Segments of applications, kept where they say what colours mean, which they do when they begin so."""
_AFTER_SCAN: Final = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""The next marker in coded data, in which FF stands before 00, or before one of the markers that restart it."""
_EXIF: Final = b"Exif\x00\x00"


def _clean_jpeg(content: bytes) -> Cleaned:
    parts: list[bytes] = [_SOI]
    size: tuple[int, int] | None = None
    turned, position, scans = 1, len(_SOI), 0
    while True:
        _require(content[position] == 0xFF)
        while content[position] == 0xFF:
            position += 1
        marker = content[position]
        position += 1
        if marker == _EOI:
            break
        end = position + _u16(content, position)
        segment = content[position:end]
        _require(2 <= len(segment) == end - position)
        if marker in _FRAMES:
            _require(size is None)
            height, width = struct.unpack_from(">HH", segment, 3)
            size = width, height
        if marker == _APP1 and segment[2:].startswith(_EXIF) and turned == 1:
            turned = _orientation(segment[2 + len(_EXIF) :])
            if turned != 1:
                parts.append(_only_orientation(turned))
        elif _kept(marker, segment):
            parts.append(bytes((0xFF, marker)) + segment)
        position = end
        if marker == _SOS:
            _require(size is not None)
            after = _AFTER_SCAN.search(content, position)
            _require(after is not None)
            assert after is not None
            parts.append(content[position : after.start()])
            position, scans = after.start(), scans + 1
    _require(scans > 0 and size is not None)
    assert size is not None
    parts.append(bytes((0xFF, _EOI)))
    width, height = size if turned < 5 else size[::-1]
    return Cleaned(b"".join(parts), width, height)


def _kept(marker: int, segment: bytes) -> bool:
    """Whether the picture in a JPEG needs the segment."""
    colours = _COLOURS.get(marker)
    return marker in _JPEG_KEPT if colours is None else segment[2:].startswith(colours)


def _orientation(tiff: bytes) -> int:
    """How a camera was held (Exif tag 274), 1 where it does not say."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if (tag, kind, count) == (274, 3, 1) and 1 <= value <= 8:
                return value
    except (KeyError, struct.error):
        pass
    return 1


def _only_orientation(turned: int) -> bytes:
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 274, 3, 1, turned, 0, 0)
    return bytes((0xFF, _APP1)) + struct.pack(">H", 2 + len(_EXIF) + len(tiff)) + _EXIF + tiff


def _u16(content: bytes, position: int) -> int:
    return struct.unpack_from(">H", content, position)[0]


# PNG

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_CRITICAL: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_KEPT: Final = _PNG_CRITICAL | {
    b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip


def _clean_png(content: bytes) -> Cleaned:
    parts = [_PNG]
    seen: set[bytes] = set()
    for kind, chunk in _png_chunks(content):
        _require(bool(seen) or kind == b"IHDR")
        _require(bool(kind[0] & 0x20) or kind in _PNG_CRITICAL)  # of an unknown critical chunk nobody knows the sense
        seen.add(kind)
        if kind in _PNG_KEPT:
            parts.append(chunk)
    _require({b"IHDR", b"IDAT", b"IEND"} <= seen)
    width, height = struct.unpack_from(">II", parts[1], 8)
    return Cleaned(b"".join(parts), width, height)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``(type, whole chunk)`` up to the end of the picture."""
    position, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        chunk = content[position : position + 12 + length]
        _require(len(chunk) == 12 + length and struct.unpack(">I", chunk[-4:])[0] == zlib.crc32(chunk[4:-4]))
        yield kind, chunk
        position += len(chunk)


# WebP

_WEBP_KEPT: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_WEBP_METADATA: Final = 0b1100
"""The bits of Exif and XMP among the flags of a VP8X chunk."""


def _clean_webp(content: bytes) -> Cleaned:
    size: tuple[int, int] | None = None
    parts: list[bytes] = []
    pictures = 0
    for kind, chunk in _webp_chunks(content):
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes((chunk[8] & ~_WEBP_METADATA,)) + chunk[9:]
        if kind in _WEBP_KEPT:
            size = size or _webp_size(kind, chunk[8:])
            pictures += kind in (b"VP8 ", b"VP8L", b"ANMF")
            parts.append(chunk)
    _require(pictures > 0 and size is not None)
    assert size is not None
    body = b"WEBP" + b"".join(parts)
    return Cleaned(b"RIFF" + struct.pack("<I", len(body)) + body, *size)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    (length,) = struct.unpack_from("<I", content, 4)
    position, end = 12, 8 + length
    _require(len(content) >= end)
    while position < end:
        kind, length = struct.unpack_from("<4sI", content, position)
        chunk = content[position : position + 8 + length + length % 2]
        position += len(chunk)
        _require(len(chunk) == 8 + length + length % 2 and position <= end)
        yield kind, chunk


def _webp_size(kind: bytes, data: bytes) -> tuple[int, int] | None:
    """``(width, height)`` that the first chunk says."""
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if kind == b"VP8L":
        _require(data[0] == 0x2F)
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        _require(data[3:6] == b"\x9d\x01\x2a")
        width, height = struct.unpack_from("<HH", data, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


_CLEANERS: Final = {
    PictureFormat.JPEG: _clean_jpeg,
    PictureFormat.PNG: _clean_png,
    PictureFormat.WEBP: _clean_webp,
}
