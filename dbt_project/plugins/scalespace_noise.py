"""Noise for what is published of everybody: discrete Laplace, exactly, from the system's bits.

Rounded floating-point noise has gaps that betray what it was added to. So nothing here is a float:
each step is a comparison of whole numbers (Canonne, Kamath and Steinke, 2020, algorithms 1 and 2).
"""

import secrets
from fractions import Fraction


def discrete_laplace(sensitivity: str, epsilon: str, _cell: str) -> str:
    """Draw a whole number k with a chance in proportion to exp(-|k| epsilon / sensitivity).

    Parameters
    ----------
    sensitivity : str
        What one user can change of the sum of all cells that are published together.
    epsilon : str
        The privacy loss of publishing them.
    _cell : str
        What the number is for. It decides nothing, but keeps a query from drawing once for all.
    """
    scale = Fraction(sensitivity) / Fraction(epsilon)
    return str(_two_sided(scale.numerator, scale.denominator))


def _two_sided(numerator: int, denominator: int) -> int:
    while True:
        within = secrets.randbelow(numerator)
        if not _happens(within, numerator):
            continue
        blocks = 0
        while _happens(1, 1):
            blocks += 1
        size = (within + numerator * blocks) // denominator
        if secrets.randbelow(2):
            return size
        if size:
            return -size


def _happens(numerator: int, denominator: int) -> bool:
    """An event of chance exp(-numerator / denominator), for a ratio of at most 1."""
    turns = 1
    while secrets.randbelow(denominator * turns) < numerator:
        turns += 1
    return turns % 2 == 1
