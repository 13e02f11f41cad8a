"""The workers of a Ray cluster: one that is there already, or one that is started on this machine for the while."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import pickle
import platform
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import edgekit
from edgekit.errors import EdgekitError, UsageError

# How often a piece of work is begun again where its worker was lost.
RETRIES: Final = 3
# Seconds within which a cluster must answer; and after which, when nothing was done, its nodes are counted.
PATIENCE: Final = 10.0
_STORE_BYTES: Final = 256 << 20
# What the bytes of a result depend on.
_PACKAGES: Final = ("numpy", "onnx", "onnxruntime", "pillow", "torch")


@contextlib.contextmanager
def ray_workers(address: str | None = None, count: int | None = None) -> Iterator[RayWorkers]:
    """Yield the workers of a Ray cluster, and leave it, or end it where it was started here.

    Args:
        address: `HOST:PORT` or `ray://HOST:PORT` of a cluster; `auto` takes the one that this machine belongs to.
            None starts one on this machine; Ray lets nobody into it who has not the token of this user.
        count: Pieces of work at the same time; None takes one for each core of the cluster.

    Raises:
        UsageError: EK004 when Ray is not installed, EK020 when there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("EK004", "Ray is not installed", hint="pip install 'edgekit[ray]'") from error
    # Ray would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {"num_cpus": count, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    else:
        _require_answer(address)
        options |= {"address": address}
    try:
        context = ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise _unreachable(address or "this machine", str(error).partition("\n")[0]) from error
    with context:
        cores = _cores()
        if not cores:
            raise _unreachable(address or "this machine", "the cluster has no core that takes work")
        yield RayWorkers(count or cores)


class RayWorkers:
    """Workers of the cluster that this process is connected to; see `Workers`.

    Args:
        count: Pieces of work at the same time.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(
        self, function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], *, waiting: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the place of each item and what the function returned, as they are done."""
        import ray

        task = ray.remote(max_retries=RETRIES)(_work)
        shared = ray.put(common)
        room = self.count + (self.count if waiting is None else waiting)
        numbered = enumerate(items)
        pending: dict[Any, int] = {}
        try:
            while True:
                while len(pending) < room and (following := next(numbered, None)) is not None:
                    index, item = following
                    pending[task.remote(pickle.dumps((versions(), function, item)), shared)] = index
                if not pending:
                    return
                done, _ = ray.wait(list(pending), timeout=PATIENCE)
                for reference in done:
                    index = pending.pop(reference)
                    yield index, _result(reference)
                if not done:
                    _require_nodes()
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def _work(pickled: bytes, common: Any) -> Any:
    """Do one piece of work on a worker; an error that a person can cause is returned, not raised."""
    try:
        wanted, function, item = pickle.loads(pickled)
        require_versions(wanted)
        return function(common, item)
    except EdgekitError as error:
        return error


def _result(reference: Any) -> Any:
    import ray

    try:
        result = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise _lost(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    if isinstance(result, EdgekitError):
        raise result
    return result


def _cores() -> int:
    import ray

    resources: Callable[[], Mapping[str, float]] = ray.cluster_resources
    return int(resources().get("CPU", 0))


def _require_nodes() -> None:
    # Nothing may be done for long where the work is long; but where no node is left, nothing ever will be.
    if not _cores():
        raise _lost("no node is left that takes work")


@functools.lru_cache
def versions() -> Mapping[str, str]:
    """Return the version here of Python and of each package that the bytes of a result depend on."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "edgekit": edgekit.__version__, **packages}


def require_versions(wanted: Mapping[str, str]) -> None:
    """Raise UsageError EK022 when this machine has other versions than the one that asks for work."""
    here = versions()
    if differing := [f"{name} {here.get(name)}, not {version}" for name, version in wanted.items()
                     if here.get(name) != version]:  # fmt: skip
        raise UsageError(
            "EK022",
            f"the worker has {' and '.join(differing)}",
            where=platform.node(),
            hint="install the same versions on every machine of the cluster, with pip install -c constraints.txt",
        )


def _require_answer(address: str) -> None:
    """Raise UsageError EK020 when nothing listens at an address: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise _unreachable(address, "that is not HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE):
            pass
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(where: str, what: str) -> UsageError:
    return UsageError(
        "EK020",
        f"no Ray cluster can be used there: {what}",
        where=where,
        hint="start one with ray start --head and give what it prints with --ray-address; --ray takes this machine",
    )


def _lost(what: str) -> UsageError:
    return UsageError(
        "EK021",
        f"the cluster lost the work, {RETRIES} times over ({what})",
        hint="see ray status for nodes that are dead or out of memory; what was finished is kept, so run it again",
    )
