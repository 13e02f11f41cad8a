"""Where a training run computes: its device, and its part among the processes of one run."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edgekit.errors import TrainingError, UsageError

AUTO = "auto"
# How long a process waits for the others: more than the first takes to write its files.
TIMEOUT = dt.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one process of a run computes.

    Attributes:
        device: Device of weights and batches.
        rank: Number of this process among all, from 0; the first writes files and speaks for the run.
        processes: How many processes share each batch.
    """

    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks for the run."""
        return self.rank == 0

    def share(self, indices: Sequence[int]) -> Sequence[int]:
        """Return this process's part of what all share, of equal length in each; what is left over is dropped."""
        return indices[: len(indices) // self.processes * self.processes][self.rank :: self.processes]

    def check_batch(self, batch_size: int) -> None:
        """Raise UsageError EK001 when a batch cannot be shared equally, at least two images to each process."""
        share = max(2, -(-batch_size // self.processes))
        if share * self.processes != batch_size:
            raise UsageError(
                "EK001",
                f"a batch of {batch_size} images cannot be shared equally by {self.processes} processes",
                where="--batch-size",
                hint=f"take a multiple of {self.processes}, such as {share * self.processes}",
            )

    @contextlib.contextmanager
    def host(self, module: nn.Module, *others: nn.Module) -> Iterator[nn.Module]:
        """Keep modules on the device for a while; yields the first as what averages gradients over all processes.

        On a GPU only algorithms that give the same result each time are taken.
        """
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)
        with contextlib.nullcontext() if self.device.type == "cpu" else exact:
            try:
                for other in others:
                    other.to(self.device)
                module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                # Each process measures normalisation on its own images; `agree` joins the statistics once an epoch.
                yield module if self.processes == 1 else DistributedDataParallel(module, broadcast_buffers=False)
            finally:
                for hosted in (module, *others):
                    hosted.to("cpu")

    def agree(self, module: nn.Module) -> None:
        """Give the statistics of batch normalisation the mean of what each process measured."""
        if self.processes > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    distributed.all_reduce(buffer)
                    buffer.div_(self.processes)

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Return the sum of each number over all processes."""
        if self.processes == 1:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return tuple(sums.tolist())


@contextlib.contextmanager
def joined(
    device: str = AUTO, environment: Mapping[str, str] = os.environ, timeout: dt.timedelta = TIMEOUT
) -> Iterator[Place]:
    """Join the other processes of a run that `torchrun` started, and leave them at the end.

    Args:
        device: `auto` (a GPU where torch finds one), `cpu`, `cuda` or `cuda:N`.
        environment: Holds RANK, LOCAL_RANK and WORLD_SIZE where torchrun started the process.
        timeout: How long to wait for the others.

    Raises:
        UsageError: EK001 when there is no such device.
        TrainingError: EK304 when the processes cannot reach one another, or one of them is lost.
    """
    rank, count = (int(environment.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    place = Place(chosen_device(device, int(environment.get("LOCAL_RANK", "0"))), rank, count)
    if count == 1:
        yield place
        return
    try:
        if place.device.type == "cuda":
            torch.cuda.set_device(place.device)
        distributed.init_process_group("nccl" if place.device.type == "cuda" else "gloo", timeout=timeout)
        yield place
    except (distributed.DistError, RuntimeError) as error:
        # gloo reports a lost peer as a plain RuntimeError that names its own source file.
        if isinstance(error, distributed.DistError) or "gloo" in str(error) or "Connection" in str(error):
            raise TrainingError(
                "EK304",
                f"process {rank} of {count} lost the others ({str(error).splitlines()[0]})",
                hint="see what ended the other processes, then start the same command again with --resume",
            ) from error
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def chosen_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that a name stands for; each process of a machine takes a GPU of its own.

    Raises:
        UsageError: EK001 when the name is none, or torch finds no such device.
    """
    found = torch.cuda.device_count()
    if name == AUTO:
        name = "cuda" if found else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number.isdecimal() or not number):
        hint = "take auto, cpu, cuda or cuda:N"
        raise UsageError("EK001", f"{name!r} is no device to train on", where="--device", hint=hint)
    index = int(number or local_rank)
    if index >= found:
        seen = f"torch finds {found} of them" if found else "torch finds none"
        hint = "leave --device out, or install a torch that is built for your GPU"
        raise UsageError("EK001", f"there is no GPU number {index}: {seen}", where="--device", hint=hint)
    return torch.device("cuda", index)
