"""Logs as lines of JSON on stderr. Nothing in them names a user, an item, a rating or a key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_FACTS = ("request_id", "method", "route", "status", "milliseconds", "key", "job")


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "process": record.process,
        }
        line |= {name: getattr(record, name) for name in _FACTS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            # Where, and of what kind; not what it says: that may quote what was sent.
            trace, at = record.exc_info[2], []
            while trace is not None:
                code = trace.tb_frame.f_code
                at.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
                trace = trace.tb_next
            line |= {"error": record.exc_info[0].__name__, "at": at[-12:]}
        return json.dumps(line)


def to_stderr(level: str = "INFO") -> None:
    """Let everything be logged there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = [], True
