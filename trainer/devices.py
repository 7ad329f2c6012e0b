"""Where a network is trained."""

from __future__ import annotations

import os

import torch

from feature_repo.errors import BadInput
from trainer.config import DeviceName


def choose_device(name: DeviceName) -> torch.device:
    """The device of a configuration; ``auto`` is CUDA where there is one.

    Raises
    ------
    BadInput
        When CUDA was asked for by name and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BadInput("device=cuda: torch finds no CUDA device here; take device=auto or cpu")
    if name == "cpu" or not available:
        return torch.device("cpu")
    # Else cuBLAS sums in an order of its own, and torch refuses to be deterministic. It is read
    # when the first product is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda")
