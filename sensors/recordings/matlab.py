"""Reads one array of floats from a MATLAB 5 file, compressed or not, without trusting a size that it states.

Source: MathWorks, "MAT-File Format", chapter 1, level 5 MAT-files: a header of 128 bytes, then elements of a type, a
size and data; an array's element holds elements of its own: flags, dimensions, name, values.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.errors import RecordingError

_HEADER: Final = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_FLOATS: Final = {6: "float64", 7: "float32"}  # classes of arrays
_COMPLEX: Final = 0x800
_MOST_VARIABLES: Final = 64
_LARGEST: Final = 16 << 20  # bytes of an array: about 20 minutes
_PEEK: Final = 1024  # bytes; enough for flags, dimensions and name


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Matrix:
    """An array: its shape, its class, and its values in float64 where the class is one of real floats."""

    shape: tuple[int, ...]
    kind: str
    values: NDArray[np.float64] | None


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a MATLAB 5 file."""
    return head.startswith(b"MATLAB") and head[124:_HEADER] in (b"\x00\x01IM", b"\x01\x00MI")


def read_matrix(data: bytes, name: str) -> Matrix | None:
    """The array `name` of a file's content, or None where there is none of that name. Raises RecordingError."""
    if not looks_like(data):
        raise RecordingError("it is no MATLAB 5 file")
    order = "<" if data[126:_HEADER] == b"IM" else ">"
    try:
        for element in islice(_elements(memoryview(data)[_HEADER:], order), _MOST_VARIABLES):
            matrix = _matrix(element, order, _PEEK)
            if matrix is not None and _name(matrix, order) == name.encode():
                return _decoded(_matrix(element, order, _LARGEST), order)
    except (struct.error, zlib.error, ValueError):
        pass  # raised out here, so that no error that quotes the recording hangs on to it
    else:
        return None
    raise RecordingError("it is damaged: it cannot be read as a MATLAB 5 file")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element. Raises ValueError where one is longer than what is left."""
    while data:
        (word,) = struct.unpack_from(f"{order}I", data)
        if word >> 16:  # up to four bytes stand in the tag itself
            kind, start, size, step = word & 0xFFFF, 4, word >> 16, 8
        else:
            (size,) = struct.unpack_from(f"{order}I", data, 4)
            kind, start = word, 8
            step = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data) or (start == 4 and size > 4):
            raise ValueError("an element is longer than what is left")
        yield kind, data[start : start + size]
        data = data[step:]


def _matrix(element: tuple[int, memoryview], order: str, most: int) -> memoryview | None:
    """The content of an array's element, of a compressed one the first `most` bytes; None for anything else."""
    kind, content = element
    if kind == _COMPRESSED:
        content = memoryview(zlib.decompressobj().decompress(content, most))
        (kind,) = struct.unpack_from(f"{order}I", content)
        content = content[8:]
    return content if kind == _MATRIX else None


def _name(matrix: memoryview, order: str) -> bytes:
    _, _, (_, name) = islice(_elements(matrix, order), 3)
    return bytes(name)


def _decoded(matrix: memoryview | None, order: str) -> Matrix:
    (_, flags), (_, dimensions), _, (stored, content) = islice(_elements(matrix or memoryview(b""), order), 4)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    kind = "complex" if flag & _COMPLEX else _FLOATS.get(flag & 0xFF, "no floats")
    if kind not in _FLOATS.values():
        return Matrix(shape, kind, None)
    values = np.frombuffer(content, f"{order}{_STORED.get(stored, 'V0')}").astype(np.float64)
    if min(shape, default=0) < 0 or prod(shape) != len(values):
        raise ValueError("its values are not as many as its shape says")
    return Matrix(shape, kind, values.reshape(shape, order="F"))
