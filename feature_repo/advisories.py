"""Warnings of Feast's that are wrong for this repository.

Feast says at every command that ``serve_features_while_materializing`` has no effect on a file
registry. It has: without it, reads are refused while ``feast materialize`` runs, historical ones
too, and for good if it is killed. And it says at every apply that on-demand views do not scale
offline; those of this repository are a few subtractions of whole columns.
"""

import logging
import warnings


def silence() -> None:
    """Drop the advisories about ``serve_features_while_materializing`` and on-demand views."""
    logging.getLogger("feast.repo_config").addFilter(_is_not_advisory)
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental feature")


def _is_not_advisory(record: logging.LogRecord) -> bool:
    return "serve_features_while_materializing" not in record.getMessage()
