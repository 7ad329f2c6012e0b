"""Noise has the deviation that the guarantee counts on, and never comes twice."""

from __future__ import annotations

import numpy as np
import torch

from trainer.private.noise import gaussian, gaussian_like


def test_noise_is_normal_with_the_asked_deviation() -> None:
    noise = gaussian(400_000, 3.0)
    assert abs(noise.mean()) < 0.03  # six standard errors
    assert abs(noise.std() / 3.0 - 1) < 0.01
    assert abs((np.abs(noise) > 3.0).mean() - 0.3173) < 0.005
    assert abs((np.abs(noise) > 6.0).mean() - 0.0455) < 0.002
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.01


def test_noise_does_not_follow_from_a_seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state, on purpose
    one = gaussian(5, 1.0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert not np.array_equal(one, gaussian(5, 1.0))


def test_it_takes_the_shape_of_what_it_is_added_to() -> None:
    like = torch.zeros(3, 5, dtype=torch.float32)
    noise = gaussian_like(like, 1.0)
    assert noise.shape == like.shape
    assert noise.dtype == like.dtype
    assert not gaussian(7, 0.0).any()
