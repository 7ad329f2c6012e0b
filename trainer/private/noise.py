"""Gaussian noise from the operating system's random numbers.

Notes
-----
A guarantee holds against who cannot guess the noise. The seed of a run stands in its folder, and a
Mersenne twister can be followed once enough of it was seen; so noise is drawn from the system's
generator, and no run can be made a second time. A normal number in floating point has gaps that
betray what it was added to (Mironov, 2012): the sum of four, as in Holohan and Braghin (2021),
makes them too costly to search.
"""

from __future__ import annotations

import os
import secrets

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SUMMED = 4
_BLOCK = 1 << 18  # normal numbers made at a time


def gaussian(size: int, deviation: float) -> NDArray[np.float64]:
    """Independent normal numbers of mean 0; # [size]."""
    total = np.zeros(size)
    if deviation == 0:
        return total
    for _ in range(_SUMMED):
        for begin in range(0, size, _BLOCK):
            part = total[begin : begin + _BLOCK]
            part += _normal(len(part))
    return total * (deviation / np.sqrt(_SUMMED))


def gaussian_like(reference: Tensor, deviation: float) -> Tensor:
    """Noise of the shape, type and device of a tensor."""
    noise = gaussian(reference.numel(), deviation).reshape(tuple(reference.shape))
    return torch.from_numpy(noise).to(reference.device, reference.dtype)


def secret_generator() -> np.random.Generator:
    """A generator that starts from the system's random numbers, for draws that are not released."""
    return np.random.default_rng(secrets.randbits(256))


def _normal(size: int) -> NDArray[np.float64]:
    """Standard normal numbers by Box and Muller's transform of uniform ones of 53 bits."""
    pairs = (size + 1) // 2
    words = np.frombuffer(os.urandom(16 * pairs), dtype=np.uint64).reshape(2, pairs)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # never 0
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), uniform[1] * (2 * np.pi)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
