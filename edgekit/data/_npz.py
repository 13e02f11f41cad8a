"""Images as one uint8 array in an npz file, mapped into memory rather than read into it."""

from __future__ import annotations

import io
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgekit.data._archive import Archive, MemberError
from edgekit.errors import DataError

_IMAGE_KEYS = ("images", "x", "data")
_LABEL_KEYS = ("labels", "y")
_PIECE = 1 << 18

_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]  # shape, Fortran order, dtype

# Fixed part of a member's own header in a zip file: signature, 22 bytes that the directory repeats,
# length of the name, length of the extra field (PKWARE APPNOTE 4.3.7).
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class NpzSource:
    """Rows of a memory-mapped array (N, H, W, C) or (N, H, W)."""

    def __init__(self, rows: npt.NDArray[np.uint8], key: str, numbers: Sequence[int] | None = None) -> None:
        self._rows = rows
        self._key = key
        self._numbers = range(len(rows)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._rows)

    def identifier(self, index: int) -> str:
        """Return e.g. `images[17]`."""
        return f"{self._key}[{self._numbers[index]}]"

    def size(self, index: int) -> int:
        """Return the bytes of one row."""
        return int(self._rows[index].nbytes)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of one row in C order."""
        return bytes(self._rows[index].tobytes())

    def archive(self, index: int) -> int:
        """Return 0: there is one file."""
        return 0

    def read(self, index: int) -> Image.Image:
        """Return one row as an image."""
        row = np.array(self._rows[index])
        return Image.fromarray(row[:, :, 0] if row.shape[2:] == (1,) else row).convert("RGB")

    def only(self, indices: Sequence[int]) -> NpzSource:
        """Return a source of the rows at `indices`, copied out of the file."""
        chosen = list(indices)
        return NpzSource(np.array(self._rows[chosen]), self._key, [self._numbers[index] for index in chosen])


def open_npz(path: Path, *, where: str) -> tuple[NpzSource, tuple[int, ...] | None]:
    """Open the images and labels of an npz file without reading the images.

    An array that is stored as it is (`np.savez`) is mapped in place; a compressed one
    (`np.savez_compressed`) is inflated once, piece by piece, into an unnamed temporary file. Either way
    memory does not grow with the number of images. Nothing is unpickled.

    Returns:
        The images, and the label of each or None.

    Raises:
        DataError: EK201 when it is no zip archive; EK205 when it is unsafe to read; EK206 when its arrays
            are not uint8 (N, H, W, 1 or 3), uint8 (N, H, W) and integer (N,).
    """
    archive = Archive(path, where=where)
    image_key = next((key for key in _IMAGE_KEYS if f"{key}.npy" in archive.names()), None)
    if image_key is None:
        raise _unknown_form(f"it has no array {', '.join(_IMAGE_KEYS[:-1])} or {_IMAGE_KEYS[-1]}", where)
    try:
        rows = _open_images(path, archive.member(f"{image_key}.npy"), image_key, where)
        label_key = next((key for key in _LABEL_KEYS if f"{key}.npy" in archive.names()), None)
        labels = None
        if label_key is not None:
            # Labels are numbers of at most 8 bytes, with room for the header.
            limit = len(rows) * 8 + 65536
            labels = _parse_labels(archive.read(f"{label_key}.npy", limit), label_key, len(rows), where)
    except (
        ValueError,
        EOFError,
        OSError,
        MemberError,
        zipfile.BadZipFile,
        NotImplementedError,
        zlib.error,
    ) as e:
        raise _unknown_form(f"its arrays are not readable ({e})", where) from e
    return NpzSource(rows, image_key), labels


def _open_images(path: Path, member: zipfile.ZipInfo, key: str, where: str) -> npt.NDArray[np.uint8]:
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        shape, fortran_order, dtype = _read_header(stream)
        if dtype != np.uint8:
            raise _unknown_form(f"{key} is {dtype}, not uint8", where)
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape[1:]:
            raise _unknown_form(f"{key} has the shape {shape}", where)
        size = math.prod(shape)
        if stream.tell() + size != member.file_size:
            raise _unknown_form(f"{key} holds less or more than its shape {shape} says", where)
        if size == 0:
            return np.empty(shape, dtype=np.uint8)
        order: Any = "F" if fortran_order else "C"
        if member.compress_type == zipfile.ZIP_STORED:
            offset = _content_offset(path, member) + stream.tell()
            return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape, order=order)
        with tempfile.TemporaryFile() as spool:
            while piece := stream.read(_PIECE):
                spool.write(piece)
            spool.flush()
            return np.memmap(spool, dtype=np.uint8, mode="r", shape=shape, order=order)


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header: _Header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy version {version} is not known")
    return header


def _content_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where in the archive the bytes of a stored member begin."""
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise zipfile.BadZipFile("a member has no header")
    return int(member.header_offset + _LOCAL_HEADER.size + name_length + extra_length)


def _parse_labels(content: bytes, key: str, count: int, where: str) -> tuple[int, ...]:
    labels = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if not np.issubdtype(labels.dtype, np.integer):
        raise _unknown_form(f"{key} is {labels.dtype}, not an integer type", where)
    if labels.shape not in ((count,), (count, 1)):
        raise _unknown_form(f"{key} has the shape {labels.shape} beside {count} images", where)
    if labels.size and labels.min() < 0:
        raise _unknown_form(f"{key} has the negative label {labels.min()}", where)
    return tuple(int(label) for label in labels.ravel())


def _unknown_form(what: str, where: str) -> DataError:
    hint = "save images as uint8 (N, H, W, 3) or (N, H, W), and labels as integers (N,), with numpy.savez"
    return DataError("EK206", what, where=where, hint=hint)
