"""The processes that train one network together, as ``torchrun`` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.errors import BadInput

if TYPE_CHECKING:
    import torch  # which a server does without
    from torch import Tensor

# The others wait while the first reads the data. Who dies is noticed by a closed connection.
_PATIENCE = timedelta(days=7)
_LOST = ("connection", "gloo", "nccl", "socket", "tcpstore", "broken pipe")


@dataclass(frozen=True)
class Team:
    """How many processes there are, and which one this is.

    Attributes
    ----------
    rank
        From 0; the process 0 reads the log and writes the run.
    size
        Processes.
    """

    rank: int = 0
    size: int = 1

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes, without a gradient."""
        if self.size == 1:
            return value
        import torch

        value = value.detach().clone()
        torch.distributed.all_reduce(value)
        return value

    def gathered(self, value: Any) -> list[Any]:
        """A value of each process, in order."""
        if self.size == 1:
            return [value]
        import torch

        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def told(self, value: Any = None) -> Any:
        """What the process 0 says."""
        if self.size == 1:
            return value
        import torch

        said = [value]
        torch.distributed.broadcast_object_list(said, src=0)
        return said[0]


ALONE = Team()


def processes() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started; alone without it.

    Parameters
    ----------
    device
        Where the network is trained: gloo joins processors, nccl CUDA devices, one a process.

    Raises
    ------
    BadInput
        When another process ends before the work is done.
    """
    size = processes()
    if size == 1:
        yield ALONE
        return
    import torch

    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend, timeout=_PATIENCE)
        yield Team(rank, size)
    except RuntimeError as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        if not any(word in line.lower() for word in _LOST):
            raise
        line = line.rpartition(".cc:")[2].partition("] ")[2] or line  # what, without where
        raise BadInput(
            f"process {rank} of {size}: another process of this training ended, so this one does "
            f"too, and no run was written; the other one says why ({line})"
        ) from None
    finally:
        if torch.distributed.is_initialized():
            with contextlib.suppress(RuntimeError):
                torch.distributed.destroy_process_group()
