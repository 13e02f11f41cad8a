"""Reading the weights of a checkpoint file that nobody vouches for."""

from __future__ import annotations

import dataclasses
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from edgekit.errors import ModelError
from edgekit.files import sha256_of

Format = Literal["safetensors", "torch"]

_SUFFIXES = frozenset({".safetensors", ".pth", ".pt"})
# Where training scripts put the weights, in the order in which they are taken when there are several.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "model_ema", "state_dict_ema")
_DEEPEST_WRAPPING = 4
_PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")
# What torch's weights_only unpickler says of names outside its list of harmless ones, and of the opcodes of pickle
# protocols 4 and 5, which torch.save does not write by itself.
_WANTS_CODE = re.compile(r"GLOBAL ([\w.]+)|unrecognized function|Unsupported class|Unsupported operand 1[45]\d")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights of a file.

    Attributes:
        tensors: Name to float32 tensor on the CPU, in file order (`.safetensors` files are sorted by name).
            Wrappers, prefixes that all names share and `num_batches_tracked` are gone.
        metadata: What a `.safetensors` file says about itself; empty for `.pth`.
        sha256: Hash of the file.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]
    sha256: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors`, `.pth` or `.pt` file, told apart by content. No code in it is run.

    Raises:
        ModelError: EK101 missing or unreadable, EK102 not a checkpoint or without weights, EK103 a pickle
            that wants to run code, EK104 damaged, EK110 weights with NaN or infinity.
    """
    try:
        kind = _format_of(path)
        sha256 = sha256_of(path)
        tensors, metadata = _read_safetensors(path) if kind == "safetensors" else (_read_torch(path), {})
    except OSError as error:
        raise ModelError(
            "EK101",
            f"the file cannot be read: {error.strerror or error}",
            where=str(path),
            hint="check the path and its permissions",
        ) from error
    weights = {name: _as_float32(name, tensor, path) for name, tensor in tensors.items() if not _is_counter(name)}
    if not weights:
        raise _not_a_checkpoint(path, "the file holds no weights")
    return Checkpoint(_without_prefix(weights), metadata, sha256)


def _format_of(path: Path) -> Format:
    if path.is_dir():
        raise _not_a_checkpoint(path, "this is a folder")
    size = path.stat().st_size
    if not path.is_file():
        raise _not_a_checkpoint(path, "this is not a file")
    with path.open("rb") as stream:
        head = stream.read(9)
    if head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= size:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    if path.suffix.lower() in _SUFFIXES:
        raise _damaged(path, "the file is empty" if not head else "it does not begin as such a file does")
    raise _not_a_checkpoint(path, "the file is no checkpoint")


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # The tensors of the library are views of the mapped file, which may change or vanish later.
            tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    _check_archive(path)
    try:
        # An open file, because torch.load goes by the suffix of a path.
        with warnings.catch_warnings(), path.open("rb") as stream:
            # Old pickle protocols and storage types warn; neither is anything the user can act on.
            warnings.simplefilter("ignore")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        wanted = _WANTS_CODE.search(str(error))
        if wanted is None:
            raise _damaged(path, "its pickle cannot be read") from error
        raise _wants_code(path, f"it wants {wanted[1] or 'more than weights'}") from error
    except Exception as error:  # Whatever the bytes of a broken pickle lead to: EOFError, KeyError, struct.error, …
        raise _damaged(path, f"its pickle cannot be read ({type(error).__name__})") from error
    return _find_weights(content, path)


def _check_archive(path: Path) -> None:
    """Check what torch.load does not: which kind of zip it is, and that no bit of it has flipped."""
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            broken = archive.testzip()
    except Exception as error:  # zipfile meets broken fields with anything from BadZipFile to OSError and zlib.error.
        raise _damaged(path, "its archive is cut short or broken") from error
    if "constants.pkl" in names:
        raise _wants_code(path, "it is a TorchScript archive")
    if "data.pkl" not in names:
        raise _not_a_checkpoint(path, "the file is a zip archive, but not one of torch.save")
    if broken:
        raise _damaged(path, f"the checksum of {broken} is wrong")


def _find_weights(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Go down through `{"state_dict": …}` and its like to the mapping that holds the tensors."""
    for _ in range(_DEEPEST_WRAPPING):
        if not isinstance(content, Mapping):
            break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        wrapper = next((name for name in _WRAPPERS if _holds_tensors(content.get(name), _DEEPEST_WRAPPING)), None)
        if wrapper is None and not tensors:
            # Under a name of its own: the one mapping of tensors. An optimizer's state lies deeper.
            inner = [name for name, value in content.items() if _holds_tensors(value, 1)]
            wrapper = inner[0] if len(inner) == 1 else None
        if wrapper is None:
            return tensors
        content = content[wrapper]
    raise _not_a_checkpoint(path, f"the file holds a {type(content).__name__}, not a state_dict")


def _holds_tensors(value: Any, depth: int) -> bool:
    """Whether a mapping holds tensors, itself or in mappings below it, down to `depth`."""
    if not isinstance(value, Mapping) or depth == 0:
        return False
    return any(isinstance(item, torch.Tensor) or _holds_tensors(item, depth - 1) for item in value.values())


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"


def _as_float32(name: str, tensor: torch.Tensor, path: Path) -> torch.Tensor:
    readable = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not (readable and tensor.is_floating_point()):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise _not_a_checkpoint(path, f"{name} is of type {kind}; weights must be plain floating-point tensors")
    converted = tensor.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(converted).all()):
        raise ModelError(
            "EK110",
            f"{name} holds NaN or infinity as float32",
            where=str(path),
            hint="use a checkpoint from before training diverged",
        )
    return converted


def _without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove what wrappers such as DataParallel put before every name."""
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _not_a_checkpoint(path: Path, what: str) -> ModelError:
    hint = "give a .safetensors file, or a .pth/.pt file made by torch.save(model.state_dict(), FILE)"
    return ModelError("EK102", what, where=str(path), hint=hint)


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError("EK104", f"the file is damaged: {what}", where=str(path), hint="copy or download it again")


def _wants_code(path: Path, what: str) -> ModelError:
    return ModelError(
        "EK103",
        f"reading the file would run code from it: {what}",
        where=str(path),
        hint="load it where you trust it and save the weights alone: torch.save(model.state_dict(), FILE)",
    )
