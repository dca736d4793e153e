"""What is taken for a picture, and what is left of a file."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files import PictureFormat, PictureProblem
from services.files.formats import BadPicture, clean
from tests.files.samples import JPEG, SECRET, WEBP, WEBP_LOSSLESS, png

GOOD = {
    "jpeg": (JPEG, PictureFormat.JPEG, (48, 64)),
    "webp": (WEBP, PictureFormat.WEBP, (64, 48)),
    "webp lossless": (WEBP_LOSSLESS, PictureFormat.WEBP, (20, 30)),
    "png": (png(7, 9), PictureFormat.PNG, (7, 9)),
}
TRAILERS = [b"", b"PK\x03\x04", b"<html><script>SECRET</script>", JPEG, b"\x00"]


def problem(content: bytes, format: PictureFormat) -> PictureProblem:
    with pytest.raises(BadPicture) as caught:
        clean(content, format)
    return caught.value.problem


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("name", GOOD)
def test_the_picture_stays_and_nothing_else(name: str, trailer: bytes) -> None:
    content, format, size = GOOD[name]
    picture = clean(content + trailer, format)
    assert (picture.width, picture.height) == size
    assert SECRET not in picture.content and b"<script" not in picture.content
    assert clean(picture.content, format) == picture
    assert len(picture.content) <= len(content)


def test_what_is_left_of_a_jpeg_is_its_coded_data_and_how_the_camera_was_held() -> None:
    picture = clean(JPEG, PictureFormat.JPEG).content
    coded = JPEG[JPEG.index(b"\xff\xda") :]
    assert picture.endswith(coded) and picture.startswith(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    exif = picture[picture.index(b"Exif\x00\x00") + 6 :][:26]
    assert struct.unpack("<2sHIHHHIHHI", exif) == (b"II", 42, 8, 1, 274, 3, 1, 6, 0, 0)


def test_what_is_left_of_a_png_and_a_webp_are_their_chunks() -> None:
    kinds = [png()[i : i + 4] for i in range(len(png())) if png()[i : i + 4] in (b"IHDR", b"IDAT", b"IEND")]
    left = clean(png(), PictureFormat.PNG).content
    assert [kind for kind in kinds if kind in left] == kinds and b"tEXt" not in left
    webp = clean(WEBP, PictureFormat.WEBP).content
    assert b"EXIF" not in webp and b"XMP " not in webp and webp[20] & 0b1100 == 0
    assert struct.unpack("<I", webp[4:8])[0] == len(webp) - 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(60),
        b"\x7fELF" + bytes(60),
        b"#!/bin/sh\n",
        bytes(100),
    ],
)
@pytest.mark.parametrize("format", list(PictureFormat))
def test_what_is_no_picture_of_the_format(content: bytes, format: PictureFormat) -> None:
    assert problem(content, format) is PictureProblem.WRONG_TYPE


def test_a_picture_of_another_format_than_was_said() -> None:
    for content, actual, _ in GOOD.values():
        for said in set(PictureFormat) - {actual}:
            assert problem(content, said) is PictureProblem.WRONG_TYPE


@pytest.mark.parametrize("name", GOOD)
def test_a_file_that_is_cut_off_anywhere(name: str) -> None:
    content, format, _ = GOOD[name]
    for length in range(len(content)):
        assert problem(content[:length], format) in (PictureProblem.DAMAGED, PictureProblem.WRONG_TYPE), length


@pytest.mark.parametrize(
    ("width", "height"), [(12_001, 1), (1, 12_001), (2**31 - 1, 2**31 - 1), (10_000, 5_001)], ids=str
)
def test_more_pixels_than_fit_into_a_phone(width: int, height: int) -> None:
    small = png(1, 1)
    header = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
    large = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    assert problem(large, PictureFormat.PNG) is PictureProblem.TOO_MANY_PIXELS


def test_a_picture_without_pixels_and_a_png_with_a_wrong_checksum_are_damaged() -> None:
    assert problem(png(1, 0), PictureFormat.PNG) is PictureProblem.DAMAGED
    wrong = bytearray(png())
    wrong[-16] ^= 1
    assert problem(bytes(wrong), PictureFormat.PNG) is PictureProblem.DAMAGED


@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=6)), max_size=6),
)
def test_whatever_is_done_to_a_file_it_is_clean_or_refused(name: str, changes: list[tuple[int, bytes]]) -> None:
    content, format, _ = GOOD[name]
    broken = bytearray(content)
    for place, put in changes:
        place %= len(broken)
        broken[place : place + len(put)] = put
    try:
        picture = clean(bytes(broken), format)
    except BadPicture:
        return
    assert clean(picture.content, format) == picture
