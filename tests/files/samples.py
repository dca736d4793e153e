"""Small pictures as programs and phones write them, and PNGs of any size."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from typing import Final

SECRET: Final = b"SECRET"
"""Stands in whatever of the samples is no picture."""

JPEG: Final = b64decode(
    """
/9j/4AAQSkZJRgABAQAAAQABAAD/4QB+RXhpZgAATU0AKgAAAAgAAwEPAAIAAAAOAAAAMgESAAMAAAABAAYAAIglAAQAAAABAAAAQAAAAABTRUNS
RVQgY2FtZXJhAAACAAEAAgAAAAJOAAAAAAIABQAAAAMAAABeAAAAAAAAACcAAAABAAAANgAAAAEAAAAPAAAAAf/+ABk8c2NyaXB0PlNFQ1JFVDwv
c2NyaXB0Pv/bAEMADQkKCwoIDQsKCw4ODQ8TIBUTEhITJxweFyAuKTEwLiktLDM6Sj4zNkY3LC1AV0FGTE5SU1IyPlphWlBgSlFST//bAEMBDg4O
ExETJhUVJk81LTVPT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT//AABEIADAAQAMBIgACEQEDEQH/xAAf
AAABBQEBAQEBAQAAAAAAAAAAAQIDBAUGBwgJCgv/xAC1EAACAQMDAgQDBQUEBAAAAX0BAgMABBEFEiExQQYTUWEHInEUMoGRoQgjQrHBFVLR8CQz
YnKCCQoWFxgZGiUmJygpKjQ1Njc4OTpDREVGR0hJSlNUVVZXWFlaY2RlZmdoaWpzdHV2d3h5eoOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0
tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4eLj5OXm5+jp6vHy8/T19vf4+fr/xAAfAQADAQEBAQEBAQEBAAAAAAAAAQIDBAUGBwgJCgv/xAC1EQAC
AQIEBAMEBwUEBAABAncAAQIDEQQFITEGEkFRB2FxEyIygQgUQpGhscEJIzNS8BVictEKFiQ04SXxFxgZGiYnKCkqNTY3ODk6Q0RFRkdISUpTVFVW
V1hZWmNkZWZnaGlqc3R1dnd4eXqCg4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2dri4+Tl5ufo6ery
8/T19vf4+fr/2gAMAwEAAhEDEQA/APOkh9qnSH2qykPtU6Q+1JSJpViskPtU6Q+1WUh9qnSH2q1I9GlWKyQ+1TpD7VZSH2qdIfaqUj0aVYrJD7VO
kPtVlIfap0h9q0Uj0aVY51Ifap0h9qspD7VOkPtXApH5xSrFZIfap0h9qspD7VOkPtVqR6FKsVkh9qnSH2qykPtU6Q+1WpHo0qxWSH2qdIfarKQ+
1TpD7VSkejSrHOpD7VOkPtVlIfap0h9q4VI/OKVYrJD7VOkPtVlIfap0h9qtSPRpViskPtU6Q+1WUh9qnSH2qlI9GlWKyQ+1TpD7VZSH2qdIfatF
I9ClWP/Z
"""
)
"""64 by 48 pixels, to be shown turned to the right; with Exif, a place and a comment."""

WEBP: Final = b64decode(
    """
UklGRlgBAABXRUJQVlA4WAoAAAAMAAAAPwAALwAAVlA4IKYAAABwBQCdASpAADAAPu1kq06/paOiLUgD8B2JZDt/uBf/9YMTyXDIMJgBHMFGvAw/
/aV///MAAP74D/lf1g/qJ/+m1gZNIe+o2M8hZV+rYB8UPcAlvloX1NuLkpUvoZps7sHb2sf04bzQrc9I7IWnoaRl0ZiRqt1qhH74v/zB3I7UWr1D
eXQ5VGq8/I5usfXaOibR0I2qex39HNXhW9nU7z9ryRE+QAAARVhJRnYAAABNTQAqAAAACAADAQ8AAgAAAA4AAAAyARIAAwAAAAEABgAAiCUABAAA
AAEAAABAAAAAAFNFQ1JFVCBjYW1lcmEAAAIAAQACAAAAAk4AAAAAAgAFAAAAAwAAAF4AAAAAAAAAJwAAAAEAAAA2AAAAAQAAAA8AAAABWE1QIA0A
AAA8eD5TRUNSRVQ8L3g+AA==
"""
)
"""64 by 48 pixels, lossy, with Exif and XMP."""

WEBP_LOSSLESS: Final = b64decode(
    """
UklGRjoAAABXRUJQVlA4TC0AAAAvE0AHALmM6H8sBAJJCPv77lCI6H/EQWnbBkzn/28XFxFI2uJtf8QEAHxZLgQA
"""
)
"""20 by 30 pixels, the simple format."""


def png(width: int = 5, height: int = 3, *, shade: int = 0, text: bytes = SECRET) -> bytes:
    """A grey PNG, with a comment."""
    rows = (b"\x00" + bytes((shade,)) * width) * height
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\x00" + text),
        (b"IDAT", zlib.compress(rows, 0)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
