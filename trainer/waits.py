"""Waits: the time to a user's next event, of which some were not seen to their end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Levels of the quantiles that are predicted; the outer two bound the interval of 80 %.
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
LEVEL_NAMES = tuple(f"p{100 * level:.0f}" for level in LEVELS)


def censored_quantiles(
    waits: NDArray, watched: NDArray, weights: NDArray | None = None
) -> NDArray[np.float64]:
    """Quantiles of waits of which some are only known to be longer than what was watched.

    Parameters
    ----------
    waits, watched
        # [rows], in any unit; a wait of as much as was watched was not seen to its end
    weights
        # [rows], or ``None`` for rows that count alike

    Returns
    -------
    quantiles
        # [levels]; where too few waits ended to tell, the longest that was watched. 0 without rows.

    Notes
    -----
    Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations".

    Examples
    --------
    >>> censored_quantiles(np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, 9.0)).tolist()
    [1.0, 1.0, 2.0, 3.0, 4.0]
    """
    if len(waits) == 0:
        return np.zeros(len(LEVELS))
    weights = np.ones(len(waits)) if weights is None else weights
    times, place = np.unique(waits, return_inverse=True)
    ended = np.bincount(place, weights=weights * (waits < watched), minlength=len(times))
    left = np.bincount(place, weights=weights, minlength=len(times))
    at_risk = np.cumsum(left[::-1])[::-1]
    shares = np.divide(ended, at_risk, out=np.zeros(len(times)), where=at_risk > 0)
    reached = 1 - np.cumprod(1 - shares)
    found = np.searchsorted(reached, np.array(LEVELS) - 1e-12)
    return np.where(found < len(times), times[np.minimum(found, len(times) - 1)], times[-1])


def as_seconds(quantiles: NDArray) -> NDArray[np.float64]:
    """Quantiles of log1p of seconds as seconds; what lies before now is now."""
    return np.expm1(np.maximum(quantiles.astype(np.float64), 0.0))


def pinball_loss(quantiles: NDArray, waits: NDArray, watched: NDArray) -> NDArray[np.float64]:
    """Pinball loss of log1p of seconds, cut at what was watched, averaged over the levels.

    Parameters
    ----------
    quantiles
        # [rows, levels], seconds
    waits, watched
        # [rows], seconds
    """
    levels = np.array(LEVELS)
    missed = np.log1p(waits)[:, None] - np.log1p(np.minimum(quantiles, watched[:, None]))
    return np.maximum(levels * missed, (levels - 1) * missed).mean(axis=1)


def interval_hits(quantiles: NDArray, waits: NDArray, watched: NDArray) -> NDArray[np.float64]:
    """Whether each wait lies in its interval of 80 %; # [rows], NaN where that cannot be told.

    Told are rows that were watched to the interval's end. Which these are depends on the interval
    and on when one asked, and not on the wait; to take in whatever ended sooner would favour short
    waits.
    """
    low, high = quantiles[:, 0], quantiles[:, -1]
    inside = (low <= waits) & (waits <= high)
    return np.where(watched > high, inside.astype(np.float64), np.nan)


def show_wait(seconds: float) -> str:
    """A length of time in the unit that a person would choose."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
