"""Summaries on disk: one small safetensors file that knows which graph and which images it is from.

Its header has one entry, JSON with the version of this form, the two hashes and the names of the tensors
(one entry, because the order of several is not fixed). Its arrays have one element for each tensor, in the
order of the names, or are those of all tensors one after another.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialised

from edgekit.calibrate._summary import BINS, LOWEST_EXPONENT, Summary, exponent_for
from edgekit.data import ImageSet
from edgekit.errors import QuantizationError
from edgekit.files import write_bytes
from edgekit.spec import Preprocessing

_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_SCHEMA = 1
_HEADER = "edgekit.calibration"
_TYPES: Mapping[str, tuple[type[np.generic], ...]] = {
    "count": (np.int64,),
    "low": (np.float64,),
    "high": (np.float64,),
    "exponent": (np.int32,),
    "first_bin": (np.int32,),
    "bin_count": (np.int32,),
    "channel_count": (np.int32,),
    "bins": (np.uint32, np.int64),
    "channel_low": (np.float32,),
    "channel_high": (np.float32,),
}
# Sums of the bins of one tensor stay far from what int64 holds.
_MOST_VALUES = 1 << 48


def hash_graph(model: onnx.ModelProto) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a model with its weights."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def hash_images(images: ImageSet, preprocessing: Preprocessing) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of image files, their names and what is done to them.

    It reads the files and decodes none of them. Their order does not matter, as it does not for summaries.
    """
    lines = sorted(f"{images.content_sha256(index)}  {name}\n" for index, name in enumerate(images.identifiers))
    return hashlib.sha256("".join([preprocessing.to_json(), "\n", *lines]).encode()).hexdigest()


def save(summaries: Mapping[str, Summary], path: Path, graph_sha256: str, images_sha256: str) -> None:
    """Write summaries to one file, whole or not at all; equal summaries make equal bytes.

    Args:
        summaries: What is known of each tensor.
        path: The file.
        graph_sha256: What `hash_graph` says of the model that was run.
        images_sha256: What `hash_images` says of the images it was run on.

    Raises:
        UsageError: EK003 when the file cannot be written.
        ValueError: A summary has no values, or some that are not finite.
    """
    if unusable := [tensor for tensor, summary in summaries.items() if not summary.is_finite]:
        raise ValueError(f"these tensors have no finite values: {unusable}")
    header = {
        "schema": _SCHEMA,
        "graph_sha256": graph_sha256,
        "images_sha256": images_sha256,
        "tensors": list(summaries),
    }
    write_bytes(path, serialised(_arrays(list(summaries.values())), {_HEADER: json.dumps(header)}))


def _arrays(summaries: Sequence[Summary]) -> _Arrays:
    filled = [np.flatnonzero(summary.bins) for summary in summaries]
    firsts = [int(places[0]) if places.size else 0 for places in filled]
    lengths = [int(places[-1] - places[0] + 1) if places.size else 0 for places in filled]
    bins = [s.bins[first : first + length] for s, first, length in zip(summaries, firsts, lengths, strict=True)]
    all_bins = np.concatenate([np.zeros(0, np.int64), *bins])
    none = np.zeros(0, np.float32)
    return {
        "count": np.array([summary.count for summary in summaries], np.int64),
        "low": np.array([summary.low for summary in summaries], np.float64),
        "high": np.array([summary.high for summary in summaries], np.float64),
        "exponent": np.array([summary.exponent for summary in summaries], np.int32),
        "first_bin": np.array(firsts, np.int32),
        "bin_count": np.array(lengths, np.int32),
        "channel_count": np.array([summary.channel_low.size for summary in summaries], np.int32),
        "bins": all_bins.astype(np.uint32) if all_bins.max(initial=0) < 1 << 32 else all_bins,
        "channel_low": np.concatenate([none, *(summary.channel_low for summary in summaries)]),
        "channel_high": np.concatenate([none, *(summary.channel_high for summary in summaries)]),
    }


def load(
    path: Path, graph_sha256: str, images_sha256: str, tensors: Collection[str] | None = None
) -> dict[str, Summary] | None:
    """Read the summaries that `save` wrote, if they are from the same graph and the same images.

    Args:
        path: The file.
        graph_sha256: What `hash_graph` says of the model.
        images_sha256: What `hash_images` says of the images.
        tensors: Names of the tensors that are needed; None takes whatever the file has.

    Returns:
        The summary of each tensor in the file; None when there is no file, when it is from another graph,
        other images or another version of edgekit, or when it lacks one of `tensors`.

    Raises:
        QuantizationError: EK506 when the file is damaged, or is something else.
    """
    try:
        if not path.exists():
            return None
        header, arrays = _read(path)
        if header.get("schema") != _SCHEMA:
            return None
        if (header["graph_sha256"], header["images_sha256"]) != (graph_sha256, images_sha256):
            return None
        names = _names(header["tensors"])
        if tensors is not None and not set(tensors) <= set(names):
            return None
        return dict(zip(names, _summaries(_checked(arrays, len(names))), strict=True))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise QuantizationError(
            "EK506",
            f"not a calibration file that can be read ({reason})",
            where=str(path),
            hint="delete it, and it is made again from the images",
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], _Arrays]:
    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})[_HEADER])
        if not isinstance(header, dict):
            raise TypeError("its header is no JSON object")
        if header.get("schema") != _SCHEMA:
            return header, {}
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict


def _names(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("tensors is not a list of names")
    if len(set(names)) != len(names):
        raise ValueError("a tensor is there twice")
    return names


def _checked(arrays: _Arrays, tensors: int) -> _Arrays:
    """Return the arrays when each has its type and its length; raises ValueError otherwise."""
    if arrays.keys() != _TYPES.keys():
        raise ValueError(f"it holds {', '.join(sorted(arrays)) or 'nothing'}")
    lengths = dict.fromkeys(_TYPES, tensors)
    for counts, concatenated in (("bin_count", ("bins",)), ("channel_count", ("channel_low", "channel_high"))):
        if arrays[counts].size and int(arrays[counts].min()) < 0:
            raise ValueError(f"{counts} is negative")
        lengths |= dict.fromkeys(concatenated, int(arrays[counts].sum(dtype=np.int64)))
    for name, types in _TYPES.items():
        if arrays[name].dtype not in types or arrays[name].shape != (lengths[name],):
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}")
    return arrays


def _summaries(arrays: _Arrays) -> Iterator[Summary]:
    bins = _split(arrays["bins"].astype(np.int64), arrays["bin_count"])
    low = _split(arrays["channel_low"], arrays["channel_count"])
    high = _split(arrays["channel_high"], arrays["channel_count"])
    numbers = zip(*(arrays[name].tolist() for name in ("count", "low", "high", "exponent", "first_bin")), strict=True)
    for (count, lowest, highest, exponent, first), *rest in zip(numbers, bins, low, high, strict=True):
        yield _summary(Summary(count, lowest, highest, exponent, *rest), first)


def _split(values: npt.NDArray[Any], lengths: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[Any]]:
    ends = itertools.accumulate(lengths.tolist(), initial=0)
    return (values[start:end].copy() for start, end in itertools.pairwise(ends))


def _summary(stored: Summary, first: int) -> Summary:
    """Return a summary with all of its bins, of which those from `first` on were stored.

    Raises:
        ValueError: No values make such a summary.
    """
    low, high, kept = stored.low, stored.high, stored.bins
    if not (stored.is_finite and low <= high and 0 < stored.count < _MOST_VALUES):
        raise ValueError("a tensor has no finite values")
    channels = stored.channel_low, stored.channel_high
    if channels[0].size:
        ends = float(channels[0].min()), float(channels[1].max())
        if ends != (low, high) or not np.all(channels[0] <= channels[1]):
            raise ValueError("the channels of a tensor are not within its range")
    if not kept.size:
        return Summary(stored.count, low, high, LOWEST_EXPONENT, np.zeros(0, np.int64), *channels)
    if not 0 <= first <= BINS - kept.size or kept.min() < 0 or kept.max() > stored.count or kept.sum() != stored.count:
        raise ValueError("the bins of a tensor do not add up")
    bins = np.zeros(BINS, np.int64)
    bins[first : first + kept.size] = kept
    whole = Summary(stored.count, low, high, stored.exponent, bins, *channels)
    last = first + kept.size - 1
    if stored.exponent != exponent_for(max(-low, high)):
        raise ValueError("the bins of a tensor have the wrong width")
    if not (whole.edge(first) <= low < whole.edge(first + 1) and whole.edge(last) <= high < whole.edge(last + 1)):
        raise ValueError("the bins of a tensor are not within its range")
    return whole
