"""What the configuration that Feast reads says, without opening a store."""

import os
from pathlib import Path
from typing import Any

import yaml

CONFIGURATION_VARIABLE = "FEAST_FS_YAML_FILE_PATH"  # Feast's own: another file than the usual one
REPOSITORY = Path(__file__).resolve().parent


def configuration() -> dict[str, Any]:
    """Return the file as it is written; empty where there is none, which Feast itself refuses."""
    path = Path(os.environ.get(CONFIGURATION_VARIABLE) or REPOSITORY / "feature_store.yaml")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        return {}


def reads_with_spark() -> bool:
    """Return whether the offline store is Feast's Spark store."""
    return (configuration().get("offline_store") or {}).get("type") == "spark"


def registry_is_ours() -> bool:
    """Return whether the registry is the file in the home."""
    return (configuration().get("registry") or {}).get("registry_store_type") is not None
