"""What a build has published, as bytes."""

from __future__ import annotations

from pathlib import Path

PUBLIC = ("features", "labels", "reports")


def published_bytes(home: Path) -> dict[str, bytes]:
    """Every published file, as ``features/<view>.parquet`` and so on."""
    return {
        f"{folder}/{path.name}": path.read_bytes()
        for folder in PUBLIC
        for path in sorted((home / folder).iterdir())
    }
