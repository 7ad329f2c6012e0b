"""A dataset file: one YAML file per log, which is also exactly the variables of the dbt project.

The dbt project checks the meaning of every key; here only what must hold before dbt can be called.
"""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_repo.errors import BadInput
from trainer.columns import LEAVE
from trainer.instants import parse_duration, parse_instant

REPOSITORY = Path(__file__).resolve().parents[1]
_FORM = "see data/shop.yml for the form"


class DatasetFile(BaseModel):
    """The keys of a dataset file. Other dbt variables (``known_at``, ...) may stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    events_path: str = Field(min_length=1)
    columns: dict[str, Any]
    actions: list[str] = Field(min_length=1)
    csv: dict[str, Any] | None = None
    measures: dict[str, Any] = {}
    timestamp_unit: str | None = None
    source_timezone: str = "UTC"
    action_map: dict[Any, str] = {}
    action_roles: dict[str, str] = {}
    unknown_actions: str = "reject"
    tie_order: list[str] = []
    split: dict[str, Any] = {}
    session_gap_minutes: float = Field(default=30, gt=0)
    horizons: dict[str, list[str]] = {}
    freshness: dict[str, str] = {}
    bots: dict[str, Any] | None = None
    item_vectors: str | None = None
    item_text: str | dict[str, Any] | None = None
    hash_user_ids: bool = False
    privacy: dict[str, Any] | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DatasetFile:
        """Read and check one dataset file.

        Parameters
        ----------
        path
            A path from the working directory or, failing that, from the repository.

        Raises
        ------
        BadInput
            When there is no such file, it is not YAML, or a key is missing or of the wrong kind.
        """
        file = find_dataset_file(path)
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            where = getattr(error, "problem_mark", None)
            line = f", line {where.line + 1}" if where is not None else ""
            raise BadInput(f"{file}{line}: this is not YAML; {_FORM}") from None
        if not isinstance(content, dict):
            raise BadInput(f"{file}: a dataset file is a list of keys; {_FORM}")
        for key in content:
            close = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.8)
            if key not in cls.model_fields and close:
                raise BadInput(f"{file}: unknown key {key!r}; did you mean {close[0]!r}?")
        try:
            dataset = cls(**{str(key): value for key, value in content.items()})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "missing":
                raise BadInput(f"{file}: the key {key!r} is missing; {_FORM}") from None
            raise BadInput(f"{file}: {key}: {first['msg'].lower()}") from None
        for column in ("user_id", "action_type", "event_timestamp"):
            if column not in dataset.columns:
                raise BadInput(f"{file}: columns.{column} is missing; name the log's column for it")
        return dataset

    def require_events(self, path: str | os.PathLike[str]) -> None:
        """Refuse a dataset whose ``events_path`` matches no file, before anything is started."""
        if "://" in self.events_path:
            return
        # An absolute path replaces the root it is joined to.
        pattern = str(REPOSITORY / self.events_path)
        if not glob.glob(pattern, recursive=True):  # noqa: PTH207 - the pattern may be absolute
            raise BadInput(
                f"{path}: events_path: no file matches {self.events_path!r} "
                "(relative paths start at the repository); put the log there or correct the path"
            )


def find_dataset_file(path: str | os.PathLike[str]) -> Path:
    """The dataset file at ``path``, seen from the working directory or from the repository."""
    for candidate in (Path(path), REPOSITORY / path):
        if candidate.is_file():
            return candidate
    known = sorted(f"data/{file.name}" for file in (REPOSITORY / "data").glob("*.yml"))
    close = difflib.get_close_matches(str(path), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'none'}"
    raise BadInput(f"{path}: there is no such dataset file; {hint}")


@dataclass(frozen=True)
class Taxonomy:
    """What a built dataset says about its log, as far as models need it.

    Attributes
    ----------
    dataset
        Name of the dataset.
    actions
        The actions in declared order.
    session_gap
        A session closes this long after its last event.
    longest_horizon
        The longest horizon of any label; zero where the dataset declares none.
    train_end, valid_end
        The cuts of the dataset file, or ``None`` where they follow from the events.
    horizons
        Those within which a conversion is labelled, as ``7d``; none without such a label.
    """

    dataset: str
    actions: tuple[str, ...]
    session_gap: np.timedelta64
    longest_horizon: np.timedelta64
    train_end: np.datetime64 | None = None
    valid_end: np.datetime64 | None = None
    horizons: tuple[str, ...] = ()

    @property
    def horizon_lengths(self) -> tuple[np.timedelta64, ...]:
        """Lengths of the horizons, in order."""
        return tuple(parse_duration(horizon, "horizons.conversion") for horizon in self.horizons)

    @property
    def states(self) -> tuple[str, ...]:
        """The actions, then ``leave``: the labels and the order of every probability vector."""
        return (*self.actions, LEAVE)

    @classmethod
    def from_vars(cls, variables: Mapping[str, Any]) -> Taxonomy:
        """Take it from the variables that a build ran with."""
        split = variables.get("split") or {}
        horizons = [
            parse_duration(horizon, f"horizons.{label}")
            for label, values in (variables.get("horizons") or {}).items()
            for horizon in values
        ]
        ends = {
            name: parse_instant(split[name], f"split.{name}")
            for name in ("train_end", "valid_end")
            if split.get(name) is not None
        }
        gap_minutes = float(variables.get("session_gap_minutes") or 30)
        return cls(
            dataset=str(variables.get("dataset", "")),
            actions=tuple(variables["actions"]),
            session_gap=np.timedelta64(int(gap_minutes * 60_000_000), "us"),
            longest_horizon=max(horizons, default=np.timedelta64(0, "us")),
            train_end=ends.get("train_end"),
            valid_end=ends.get("valid_end"),
            horizons=tuple((variables.get("horizons") or {}).get("conversion") or ()),
        )
