"""Putting row groups of Parquet files together without decoding them.

A build that changes few rows of a view writes those anew and takes over the row groups that hold
none of them, byte for byte: decoding and encoding them again would cost as much as the write of a
full build. A view whose rows are too wide to be sorted at once is written in parts. No library
offers that, so this reads and writes the files' footers (Thrift's compact protocol, see
https://parquet.apache.org/docs/file-format/); the pages themselves are only copied.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"PAR1"

# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)

# Fields of parquet.thrift that hold a place in the file, or that speak of something not copied.
_NUM_ROWS, _ROW_GROUPS, _SCHEMA = 3, 4, 2
_GROUP_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _CHUNK_META, _CHUNK_INDEXES = 2, 3, (4, 5, 6, 7)
_COMPRESSED_SIZE, _DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _BLOOM = 7, 9, 10, 11, (14, 15)

# What a kernel says that cannot copy between these two files.
_NOT_IN_KERNEL = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP)

Fields = dict[int, tuple[int, Any]]  # id -> (type, value), in the order of the file


@dataclass
class _Footer:
    fields: Fields

    @property
    def groups(self) -> list[Fields]:
        return self.fields[_ROW_GROUPS][1][1]


def splice(request: str) -> str:
    """Write a file of the row groups of others, in their order.

    Parameters
    ----------
    request : str
        JSON: ``{"parts": [{"file": path, "keep": [row group, ...]}, ...], "drop": [path, ...],
        "out": path}``. A part without ``keep`` is taken whole. The files in ``drop`` go.

    Returns
    -------
    str
        ``out``, or an empty text where the files' schemas differ: they cannot be put together.
    """
    wanted = json.loads(request)
    footers = [_read_footer(part["file"]) for part in wanted["parts"]]
    result = footers[-1].fields
    if any(footer.fields[_SCHEMA] != result[_SCHEMA] for footer in footers):
        return ""
    groups: list[Fields] = []
    partial = Path(wanted["out"] + ".spliced")
    with partial.open("wb", buffering=0) as out:
        end = _write_all(out, MAGIC)
        for part, footer in zip(wanted["parts"], footers, strict=True):
            with open(part["file"], "rb", buffering=0) as source:
                for number in sorted(part.get("keep", range(len(footer.groups)))):
                    start, length = _place_of(footer.groups[number])
                    _copy_bytes(source, start, length, out)
                    groups.append(_moved(footer.groups[number], end - start, end, len(groups)))
                    end += length
        result[_ROW_GROUPS] = (_LIST, (_STRUCT, groups))
        result[_NUM_ROWS] = (_I64, sum(group[_GROUP_ROWS][1] for group in groups))
        footer_bytes = bytearray()
        _write_struct(footer_bytes, result)
        _write_all(out, footer_bytes + struct.pack("<I", len(footer_bytes)) + MAGIC)
    os.replace(partial, wanted["out"])
    for path in wanted["drop"]:
        os.unlink(path)
    return str(wanted["out"])


def _place_of(group: Fields) -> tuple[int, int]:
    """Where the pages of a row group begin, and how many bytes reach to the last one's end."""
    starts, ends = [], []
    for chunk in group[_GROUP_COLUMNS][1][1]:
        meta: Fields = chunk[_CHUNK_META][1]
        starts.append(
            min(meta[f][1] for f in (_DICTIONARY_PAGE, _DATA_PAGE) if f in meta and meta[f][1] > 0)
        )
        ends.append(starts[-1] + meta[_COMPRESSED_SIZE][1])
    return min(starts), max(ends) - min(starts)


def _moved(group: Fields, shift: int, start: int, ordinal: int) -> Fields:
    """A row group's part of the footer, for pages that lie `shift` bytes farther on."""
    for chunk in group[_GROUP_COLUMNS][1][1]:
        meta: Fields = chunk[_CHUNK_META][1]
        for field in (_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE):
            if field in meta and meta[field][1] > 0:
                meta[field] = (_I64, meta[field][1] + shift)
        if chunk.get(_CHUNK_OFFSET, (_I64, 0))[1] > 0:
            chunk[_CHUNK_OFFSET] = (_I64, chunk[_CHUNK_OFFSET][1] + shift)
        # Page indexes and Bloom filters lie outside the pages; readers do without them.
        for field in _CHUNK_INDEXES:
            chunk.pop(field, None)
        for field in _BLOOM:
            meta.pop(field, None)
    if _GROUP_OFFSET in group:
        group[_GROUP_OFFSET] = (_I64, start)
    if _GROUP_ORDINAL in group:
        group[_GROUP_ORDINAL] = (_I16, ordinal)
    return group


def _copy_bytes(source: BinaryIO, start: int, length: int, out: BinaryIO) -> None:
    """Append bytes of one file to another; in the kernel, where it does that for these files."""
    in_kernel = hasattr(os, "copy_file_range")
    while length:
        copied = 0
        if in_kernel:
            try:
                copied = os.copy_file_range(source.fileno(), out.fileno(), length, start)
            except OSError as error:
                if error.errno not in _NOT_IN_KERNEL:
                    raise
            in_kernel = copied > 0
        else:
            copied = _write_all(out, os.pread(source.fileno(), min(length, 1 << 20), start))
            if not copied:
                raise ValueError(f"{source.name}: ends before its pages do")
        start, length = start + copied, length - copied


def _write_all(out: BinaryIO, data: bytes | bytearray) -> int:
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]
    return len(data)


def _read_footer(path: str) -> _Footer:
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != MAGIC:
            raise ValueError(f"{path}: not a Parquet file")
        file.seek(-8 - length, os.SEEK_END)
        return _Footer(_Reader(file.read(length)).fields())


class _Reader:
    """Compact protocol into Python: structs as `Fields`, lists as ``(element type, items)``."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def fields(self) -> Fields:
        found: Fields = {}
        last = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            last = last + delta if delta else self._zigzag()
            found[last] = (kind, self._value(kind))
        return found

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:  # a field's truth is its type
                return kind == _TRUE
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._zigzag()
            case 7:
                self.place += 8
                return self.data[self.place - 8 : self.place]
            case 8:
                length = self._varint()
                self.place += length
                return self.data[self.place - length : self.place]
            case 9 | 10:
                header = self._byte()
                size, element = header >> 4, header & 15
                size = self._varint() if size == 15 else size
                if element in (_TRUE, _FALSE):  # an element's truth is a byte
                    return element, [self._byte() for _ in range(size)]
                return element, [self._value(element) for _ in range(size)]
            case 12:
                return self.fields()
        raise ValueError(f"type {kind} in a Parquet footer")

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _varint(self) -> int:
        byte = self.data[self.place]
        if byte < 128:
            self.place += 1
            return byte
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)


def _write_struct(out: bytearray, fields: Fields) -> None:
    last = 0
    for field, (kind, value) in sorted(fields.items()):
        kind = (_TRUE if value else _FALSE) if kind in (_TRUE, _FALSE) else kind
        if 0 < field - last <= 15:
            out.append((field - last) << 4 | kind)
        else:
            out.append(kind)
            _write_zigzag(out, field)
        last = field
        if kind not in (_TRUE, _FALSE):
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    match kind:
        case 1 | 2 | 3:
            out.append(value)
        case 4 | 5 | 6:
            _write_zigzag(out, value)
        case 7:
            out += value
        case 8:
            _write_varint(out, len(value))
            out += value
        case 9 | 10:
            element, items = value
            if len(items) < 15:
                out.append(len(items) << 4 | element)
            else:
                out.append(15 << 4 | element)
                _write_varint(out, len(items))
            for item in items:
                _write_value(out, element, item)
        case 12:
            _write_struct(out, value)


def _write_varint(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _write_zigzag(out: bytearray, number: int) -> None:
    _write_varint(out, (number << 1) ^ (number >> 63))
