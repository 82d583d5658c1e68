"""Images from strangers, before an engine decodes them: only such as stand in the message, and whole ones.

Looked at is what a decoder in C trusts: base64, the format's magic, width and height, the chunks of a PNG and
how much they unpack to, the segments of a JPEG up to its size.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Sequence

from registry.errors import UsageError

MOST_IMAGES = 16
MOST_BYTES = 20 << 20
MOST_SIDE = 16384
LEAST_SIDE = 2
MOST_PIXELS = 1 << 25

_KINDS = "PNG, JPEG, GIF or BMP"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def check_images(urls: Sequence[str]) -> None:
    """Raise UsageError for the first that is no data: URL, or no image that may go to an engine."""
    if len(urls) > MOST_IMAGES:
        raise UsageError(f"There are more than {MOST_IMAGES} images.")
    for url in urls:
        check_image(image_bytes(url))


def image_bytes(url: str) -> bytes:
    """What a data: URL in base64 holds. No other URL is ever asked."""
    head, comma, data = url.partition(",")
    if not head.lower().startswith("data:") or not comma:
        raise UsageError(
            "A message names an image by its address; no address is asked.",
            hint="Put the image into the message as a data: URL.",
        )
    if not head.lower().endswith(";base64"):
        raise UsageError("An image's data: URL is not in base64.")
    if len(data) > MOST_BYTES * 4 // 3 + 4:
        raise UsageError(f"An image has more than {MOST_BYTES >> 20} MiB.")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("An image is not valid base64.") from None


def check_image(data: bytes) -> None:
    """Raise UsageError for what is no whole image of a kind and size that engines read."""
    if len(data) > MOST_BYTES:
        raise UsageError(f"An image has more than {MOST_BYTES >> 20} MiB.")
    try:
        width, height = _size(data)
    except (struct.error, IndexError, zlib.error):
        raise UsageError("An image is cut off or broken.") from None
    if (
        not LEAST_SIDE <= min(width, height) <= max(width, height) <= MOST_SIDE
        or width * height > MOST_PIXELS
    ):
        raise UsageError(
            f"An image is {width} by {height} pixels large; a side has {LEAST_SIDE} to {MOST_SIDE}, and all "
            f"together are {MOST_PIXELS:,} at most."
        )
    if data.startswith(_PNG):
        try:
            _check_png(data)
        except (struct.error, zlib.error):
            raise UsageError("An image is cut off or broken.") from None


def _size(data: bytes) -> tuple[int, int]:
    if data.startswith(_PNG):
        return struct.unpack(">II", data[16:24])
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return struct.unpack("<HH", data[6:10])
    if data.startswith(b"BM"):
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    raise UsageError(f"An image is none of {_KINDS}.")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the first frame header; the file has to reach its end mark."""
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind in _JPEG_BARE or kind == 0xFF:
            at += 1 if kind == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        if kind in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if b"\xff\xd9" not in data[-1024:]:
                raise IndexError
            return width, height
        at += 2 + length
    raise IndexError


def _check_png(data: bytes) -> None:
    """Chunks in order to IEND, and image data that unpacks to no more than the size says."""
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    row = 2 + (width * _PNG_CHANNELS.get(color, 4) * depth + 7) // 8
    left = height * row + (row + height) * 8 + 1024  # interlaced ones have more, shorter rows
    unpack = zlib.decompressobj()
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        if zlib.crc32(kind + chunk) != checksum:
            raise zlib.error
        while kind == b"IDAT" and chunk:
            left -= len(unpack.decompress(chunk, 1 << 16))
            chunk = unpack.unconsumed_tail
            if left < 0:
                raise UsageError("An image unpacks to more than its size says.")
        at += 12 + length
    if not unpack.eof:
        raise zlib.error
