"""What the tests of private training have in common."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.chunks import Chunks
from trainer.config import FitConfig
from trainer.models.network import Network
from trainer.tensors import Targets, Tensors


@dataclass(frozen=True)
class Small:
    """A fresh network beside the records of a small log."""

    config: FitConfig
    network: Network
    tensors: Tensors
    targets: Targets
    records: Chunks
