"""Where the files of a run live.

A run's home is ``SCALESPACE_HOME``, else ``data/build/<dataset>`` under the repository's root.
The names below are public interface: other tools may read these files.
"""

import os
from pathlib import Path

HOME_VARIABLE = "SCALESPACE_HOME"
DEFAULT_DATASET = "shop"

# A relative SCALESPACE_HOME means relative to where the command was started, but Feast changes the
# working directory on its way: remember the first one.
_STARTED_IN = os.getcwd()


def repository_root() -> Path:
    """Return the folder that holds ``feature_repo``, ``dbt_project`` and ``data``."""
    return Path(__file__).resolve().parent.parent


def home(dataset: str | None = None) -> Path:
    """Return the home of a run as an absolute path; it need not exist.

    Parameters
    ----------
    dataset : str, optional
        Name of the dataset (``dataset:`` in its file); default the bundled log, ``shop``.
        ``SCALESPACE_HOME``, where set, wins over it.
    """
    value = os.environ.get(HOME_VARIABLE)
    if value:
        return Path(os.path.abspath(Path(_STARTED_IN, Path(value).expanduser())))
    return repository_root() / "data" / "build" / (dataset or DEFAULT_DATASET)


def manifest_path(home: Path) -> Path:
    """Return the file in which dbt describes its models."""
    return home / "target" / "manifest.json"


def published_build_path(home: Path) -> Path:
    """Return the file that says until when the views in force know what arrived."""
    return features_dir(home).resolve().parent / "build.json"


def features_dir(home: Path) -> Path:
    """Return the folder of the feature views, a symlink into one published snapshot."""
    return home / "features"


def labels_dir(home: Path) -> Path:
    """Return the folder of the spine and labels, a symlink into one published snapshot."""
    return home / "labels"


def view_path(home: Path, name: str) -> Path:
    """Return the Parquet file of the feature view `name`."""
    return features_dir(home) / f"{name}.parquet"


def label_path(home: Path, name: str) -> Path:
    """Return the Parquet file of the label table `name`."""
    return labels_dir(home) / f"{name}.parquet"


def feast_dir(home: Path) -> Path:
    """Return the folder of everything that Feast writes."""
    return home / "feast"


def registry_path(home: Path) -> Path:
    """Return the file of Feast's registry."""
    return feast_dir(home) / "registry.db"


def online_store_path(home: Path) -> Path:
    """Return the SQLite file of the online store."""
    return feast_dir(home) / "online_store.db"


def online_ledger_path(home: Path) -> Path:
    """Return the SQLite file that says what was written to an online store that is not ours."""
    return feast_dir(home) / "online_ledger.db"


def sync_lock_path(home: Path) -> Path:
    """Return the file that a running sync holds locked."""
    return feast_dir(home) / "sync.lock"


def online_now_path(home: Path) -> Path:
    """Return the file that records the instant for which the online store is loaded."""
    return feast_dir(home) / "online_now.json"
