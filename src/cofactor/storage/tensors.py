"""Arrays in a safetensors file: written by the safetensors library, read by memory map.

The format (https://huggingface.co/docs/safetensors): 8 bytes N, unsigned little-endian; N bytes of a
JSON header, {name: {"dtype", "shape", "data_offsets": [begin, end]}}; then the arrays, end to end, in C
order, little-endian. The reader here takes less than the format allows (see ``map_tensors``), and
copies nothing: an array is read from disk when it is used.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from cofactor.errors import BadModel, shorten
from cofactor.storage.strict_json import parse_json

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "U64": "<u8",
    "I32": "<i4",
    "U32": "<u4",
    "I16": "<i2",
    "U16": "<u2",
    "I8": "i1",
    "U8": "u1",
}
_LONGEST_HEADER = 2**20
_MOST_DIMENSIONS = 8


def write_tensors(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, of the dtypes that ``map_tensors`` reads, to a new file. Raises ``OSError``-like errors.

    The library puts the widest dtypes first and pads the header to 8 bytes, so every array is aligned.
    """
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def map_file(file: BinaryIO, name: str) -> memoryview:
    """All bytes of an open file, as a read-only memory map. Raises ``BadModel`` where there are none."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:  # cannot be mapped
        raise BadModel(f"{name} is empty.")
    return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


def map_tensors(data: memoryview, name: str) -> dict[str, NDArray[Any]]:
    """The arrays in a safetensors file, by name: read-only views of ``data``, its mapped bytes.

    ``name`` is the file's name, for messages. Raises ``BadModel`` where the header is longer than
    1 MiB or than the file; is not strict JSON; has an entry with anything but dtype, shape and
    data_offsets; where an array's bytes do not go with its dtype and shape, or are not aligned; where
    the arrays leave a gap, overlap, or end before or after the end of the file. ``__metadata__`` is
    passed over.
    """
    size = len(data)
    if size < 10:  # the shortest there is: a length and "{}"
        raise BadModel(f"{name} has only {size} bytes: it is cut off.")
    length = int.from_bytes(data[:8], "little")
    if length > min(size - 8, _LONGEST_HEADER):
        raise BadModel(
            f"{name}: its header is said to be {length:,} bytes long, in a file of {size:,} bytes "
            f"(and at most {_LONGEST_HEADER:,} are allowed)."
        )
    header = parse_json(bytes(data[8 : 8 + length]), f"{name}: its header")
    header.pop("__metadata__", None)
    start = 8 + length
    entries = {key: _entry(key, value, f"{name}: tensor {shorten(key)}") for key, value in header.items()}
    arrays = {}
    expected = 0
    for key, (dtype, shape, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        where = f"{name}: tensor {shorten(key)}"
        if begin != expected:
            raise BadModel(f"{where} begins at byte {begin:,} of the data, where {expected:,} is due.")
        if end > size - start:
            raise BadModel(f"{where} ends at byte {end:,} of the data, of which there are {size - start:,}.")
        if (start + begin) % dtype.itemsize:
            raise BadModel(f"{where} is not aligned to its {dtype.itemsize} bytes.")
        try:
            arrays[key] = np.ndarray(shape, dtype, data, start + begin)
        except ValueError as error:  # zeros in a shape can hide other sizes that NumPy cannot take
            raise BadModel(f"{where} has an impossible shape ({shorten(str(error))}).") from None
        expected = end
    if start + expected != size:
        raise BadModel(
            f"{name} has {size - start - expected:,} bytes after its last tensor: it was written over or added to."
        )
    return arrays


def _entry(key: str, value: Any, where: str) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of a header entry, which agree with each other."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise BadModel(f"{where} is described by {shorten(value)}, not by dtype, shape and data_offsets.")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise BadModel(f"{where} has dtype {shorten(kind)}; known are {', '.join(_DTYPES)}.")
    if not _sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise BadModel(f"{where} has shape {shorten(shape)}; it must be a list of at most 8 sizes.")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadModel(f"{where} has data_offsets {shorten(offsets)}; they must be [begin, end].")
    dtype = np.dtype(_DTYPES[kind])
    needed = math.prod(shape) * dtype.itemsize  # Python integers: no product is too large
    if offsets[1] - offsets[0] != needed:
        raise BadModel(
            f"{where} is {kind}{shorten(shape)}, which is {shorten(needed)} bytes, but has {offsets[1] - offsets[0]:,}."
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)
