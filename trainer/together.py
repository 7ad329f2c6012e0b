"""One network trained by one process or by several: the first prepares, all train, it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoints import Checkpoint
from trainer.config import FitConfig
from trainer.models.base import Training, silent
from trainer.models.network import Network
from trainer.progress import untracked
from trainer.refitting import train_twice
from trainer.team import Team
from trainer.training import Epoch, reproducible
from trainer.training_rows import StoredRows
from trainer.training_set import EVERY, FIT, STOP, PreparedRows

_APART = 1_000_003  # between the seeds of two processes: each draws dropout of its own


@dataclass(frozen=True)
class Job:
    """What the first process tells the others.

    Attributes
    ----------
    config
        The fit's configuration, as plain values.
    network
        Sizes and groups, see :class:`trainer.models.network.Network`.
    folder
        Where the rows are.
    parts
        Folders of the rows that there are.
    checkpoint
        The first process' file; ``None`` where it keeps none.
    resume
        Whether what it holds is gone on from.
    """

    config: dict[str, Any]
    network: dict[str, Any]
    folder: str
    parts: list[str]
    checkpoint: str | None
    resume: bool


def train_together(
    network: Network, prepared: PreparedRows, config: FitConfig, training: Training
) -> list[Epoch]:
    """Train in place, with the others of the team where there are any; the learning curve."""
    team, checkpoint = training.team, training.checkpoint
    if team.size > 1:
        assert prepared.folder is not None
        job = Job(
            config.model_dump(),
            network.sizes,
            str(prepared.folder.resolve()),
            [part for part in (FIT, STOP, EVERY) if getattr(prepared, part) is not None],
            None if checkpoint is None else str(checkpoint.path.resolve()),
            checkpoint is not None and checkpoint.resume,
        )
        team.told(asdict(job))
        training.report(f"training in {team.size} processes, each with its share of the users")
    curve = train_twice(
        network,
        prepared.fit,
        prepared.stop,
        prepared.every,
        config,
        config.seed,
        training.report,
        training.track,
        checkpoint,
        training.watch,
        team,
    )
    team.gathered(None)  # nobody reads the rows any more: they may be removed
    return curve


def follow(team: Team, device: torch.device) -> None:
    """Train with the first process, and leave everything else to it."""
    job = Job(**team.told())
    config = FitConfig.model_validate(job.config)
    with reproducible(config.seed, config.threads):
        network = Network(config, **job.network).to(device)
        folder = Path(job.folder)
        fit, stop, every = (
            StoredRows(folder / part, config, device, team) if part in job.parts else None
            for part in (FIT, STOP, EVERY)
        )
        assert fit is not None
        # To go on from, as the first does; it is the first that writes.
        checkpoint = Checkpoint(Path(job.checkpoint), job.resume) if job.checkpoint else None
        seed = config.seed + _APART * team.rank
        train_twice(
            network, fit, stop, every, config, seed, silent, untracked, checkpoint, team=team
        )
        team.gathered(None)
