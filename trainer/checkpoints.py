"""Checkpoints: what a fit needs to go on where it was killed, and end with the same weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from feature_repo.atomic import replacing

FOLDER = "checkpoints"  # in the home


class Checkpoint:
    """One file, written whole or not at all.

    Parameters
    ----------
    path
        Where it stands.
    resume
        Whether a file that is there is gone on from; else the first write replaces it.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.resume = resume

    @property
    def again(self) -> Checkpoint:
        """That of the same fit when it learns once more, from all rows."""
        return Checkpoint(self.path.with_suffix(".again.pt"), self.resume)

    def read(self) -> dict[str, Any] | None:
        """The last state written; ``None`` where there is none, or none is wanted.

        A file that cannot be read is none: the fit then begins anew, which gives the same weights.
        """
        if not self.resume or not self.path.is_file():
            return None
        try:
            return torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception:  # whatever a damaged disk makes torch say
            return None

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file; ``state`` holds tensors, numbers, texts, lists and dicts alone."""
        with replacing(self.path) as fresh:
            torch.save(state, fresh)

    def clear(self) -> None:
        """Remove the files: the fit is done."""
        self.path.unlink(missing_ok=True)
        self.again.path.unlink(missing_ok=True)


def checkpoint_of(home: Path, resume: bool, **identity: Any) -> Checkpoint:
    """The checkpoint of a fit, named by a hash of everything that decides its weights.

    Parameters
    ----------
    home
        Home of the fit.
    resume
        See :class:`Checkpoint`.
    identity
        What the weights depend on, as plain values: another configuration, log or version has
        another checkpoint.
    """
    content = json.dumps(identity, sort_keys=True, default=str)
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    return Checkpoint(home / FOLDER / f"{name}.pt", resume)
