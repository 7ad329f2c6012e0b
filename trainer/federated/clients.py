"""Who is whose: partitions of the users, none of which sees another's rows."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import BadInput
from trainer.columns import Columns as C
from trainer.config import FitConfig
from trainer.examples import Dataset
from trainer.held_out import modal_locations
from trainer.labels import read_label_table

_SALT = "client:"  # apart from the users that early stopping and a split take
_OTHERS = ""  # sorts before every name


def client_numbers(folder: Path, dataset: Dataset, config: FitConfig) -> NDArray[np.int64] | None:
    """The client of each user; # [users] of the sequences, ``None`` for a central fit.

    Parameters
    ----------
    folder
        ``<home>/labels``.
    dataset
        Whose users.
    config
        By what they are parted.

    Raises
    ------
    BadInput
        Where there is one client alone, or the configuration cannot be fitted by clients.
    """
    federated = config.federated
    if federated.by == "none":
        return None
    if config.model != "recurrent":
        raise BadInput(
            f"federated.by={federated.by}: model={config.model} is no network to average"
        )
    if config.tasks.conversion and config.tasks.next_action and not config.tasks.together:
        raise BadInput(
            f"federated.by={federated.by}: a head of conversions is trained by clients together "
            "with the encoder alone; add tasks.together=true"
        )
    users = dataset.examples.sequences.users
    if federated.by == "users":
        hashed = [zlib.crc32((_SALT + str(user)).encode()) for user in users]
        names = np.array([str(each % federated.clients) for each in hashed], dtype=object)
    else:
        events = read_label_table(folder.resolve(), "events", [C.USER, C.INSTANT, C.LOCATION])
        locations = modal_locations(events, users, dataset.cuts.train_end).to_pylist()
        names = np.array([_OTHERS if each is None else each for each in locations], dtype=object)
    numbers = gathered(names, federated.fewest)
    if numbers.max(initial=0) == 0 and federated.clients > 1:
        raise BadInput(
            f"federated.by={federated.by}: no two clients have {federated.fewest} users; lower "
            "federated.fewest, or part by users"
        )
    return numbers


def gathered(names: NDArray, fewest: int) -> NDArray[np.int64]:
    """Number partitions by name, those of too few users together as the first; # [users].

    A client of a few users would give away what these few do.

    Examples
    --------
    >>> gathered(np.array(["b", "a", "b", "c", "a"], dtype=object), 2).tolist()
    [2, 1, 2, 0, 1]
    """
    known, place, counts = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    kept = (counts >= fewest) & (known != _OTHERS)
    renamed = np.where(kept, known, _OTHERS)[place]
    return np.unique(renamed, return_inverse=True)[1].astype(np.int64)
