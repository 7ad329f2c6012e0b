"""Log lines of the service: one JSON object each, on standard error."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

ACCESS = logging.getLogger("scalespace.access")
EVENTS = logging.getLogger("scalespace.serving")
FIELDS = "fields"  # the key of `extra` whose values become keys of the line


class JsonFormatter(logging.Formatter):
    """Time, level and logger, then the fields of the line; a cause with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["cause"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def configure(level: int = logging.INFO) -> None:
    """Send all log lines of this process to standard error, as JSON; ours from `level` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries tell of every cache that they refresh
    for name in ("scalespace", "uvicorn"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"  # ours says the same, and more
