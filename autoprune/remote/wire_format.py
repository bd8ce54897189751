"""An artifact as a message and its bytes by SHA-256. Knows what can be named apart, so that nothing goes out twice.

The tensors of an ONNX graph are parts of their own: of two graphs that share some, the second brings the others only.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from autoprune.bench.artifact import Array, Artifact
from autoprune.errors import RefusedError

#: Tensors below this many bytes stay with what is around them.
_APART: Final = 2**16
_NAME: Final = re.compile(r"[0-9a-f]{64}")
#: Field numbers: ModelProto.graph, GraphProto.initializer.
_GRAPH, _INITIALIZER = 7, 5
_LENGTH_DELIMITED: Final = 2


def packed(artifact: Artifact) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The message, and the bytes that it names."""
    blobs: dict[str, bytes] = {}

    def named(content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        blobs[name] = content
        return name

    expected = {f"{k:04d}": each for k, each in enumerate(artifact.expected)}
    message = {
        "format": artifact.format,
        "content": [named(part) for part in split(artifact.format, artifact.content)],
        "slices": {name: list(kept) for name, kept in artifact.slices.items()},
        "inputs": named(_stored(artifact.inputs)) if artifact.inputs else "",
        "expected": named(_stored(expected)) if expected else "",
        **({"precision": artifact.precision} if artifact.precision else {}),
    }
    return message, blobs


def unpacked(message: Mapping[str, Any], read: Callable[[str], bytes]) -> Artifact:
    """The artifact of a message. read: the bytes of a name.

    Raises:
        RefusedError: a name that is not a hash, or bytes that have another one.
    """

    def checked(name: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise RefusedError(
                expected="a SHA-256 in hexadecimal", received=repr(name)[:80], cure="send it by its hash"
            )
        content = read(name)
        if hashlib.sha256(content).hexdigest() != name:
            raise RefusedError(expected=f"bytes with the hash {name}", received="others", cure="send them again")
        return content

    return Artifact(
        str(message["format"]),
        b"".join(checked(name) for name in message["content"]),
        message["slices"],
        dict(_arrays(message["inputs"], checked)),
        tuple(array for _, array in _arrays(message["expected"], checked)),
        precision=str(message.get("precision", "")),
    )


def split(form: str, content: bytes) -> Iterator[bytes]:
    """The parts of a file, in order; a graph's large tensors are parts of their own."""
    start = 0
    for begin, end in _tensors(content) if form == "onnx" else ():
        if begin > start:
            yield content[start:begin]
        yield content[begin:end]
        start = end
    if start < len(content):
        yield content[start:]


def _tensors(content: bytes) -> Iterator[tuple[int, int]]:
    """Where an ONNX file has large initializers; none where it is no such file."""
    try:
        for number, begin, end in _fields(content, 0, len(content)):
            if number == _GRAPH:
                for inner, first, last in _fields(content, begin, end):
                    if inner == _INITIALIZER and last - first >= _APART:
                        yield first, last
    except (IndexError, ValueError):
        return


def _fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, begin, end) of the length-delimited fields of a protocol buffer's message."""
    while at < end:
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH_DELIMITED:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError("a field beyond its message")
            yield number, at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(content, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("no such kind of field")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _stored(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **dict(arrays))  # type: ignore[arg-type]
    return file.getvalue()


def _arrays(name: str, read: Callable[[str], bytes]) -> Iterator[tuple[str, Array]]:
    if name:
        with np.load(io.BytesIO(read(name)), allow_pickle=False) as stored:
            yield from ((key, stored[key]) for key in stored.files)
