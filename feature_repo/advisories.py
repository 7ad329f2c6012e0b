"""Two of Feast's start-up warnings that are wrong for this repository.

Feast says at every command that ``serve_features_while_materializing`` has no effect on a file
registry. It has: without it, reads are refused while ``feast materialize`` runs, historical ones
too, and for good if it is killed.
"""

import logging


def silence() -> None:
    """Drop the advisories about ``serve_features_while_materializing``."""
    logging.getLogger("feast.repo_config").addFilter(_is_not_advisory)


def _is_not_advisory(record: logging.LogRecord) -> bool:
    return "serve_features_while_materializing" not in record.getMessage()
