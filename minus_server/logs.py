"""The log: a line for each record on standard error, as text or as JSON.

A record that belongs to a request carries its id. No record holds the address that was asked
for, because ids, secrets and tokens stand there: its route's template stands for it.
"""

import json
import logging
import logging.config
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

FORMATS = ("text", "json")
ACCESS = logging.getLogger("minus_server.access")
request_id: ContextVar[str] = ContextVar("request_id", default="")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Style:
    """What the operator wants of the log.

    form    one of FORMATS
    access  a line for each request
    """

    form: str = FORMATS[0]
    access: bool = False

    def config(self) -> dict[str, Any]:
        """All of it, as `logging.config` reads it; Granian applies it once more."""
        line = {"text": TextLine, "json": JsonLine}[self.form]
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": line}},
            "filters": {"told": {"()": _Told}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["told"],
                }
            },
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "_granian": {"level": "ERROR"},
                ACCESS.name: {"level": "INFO" if self.access else "WARNING"},
            },
        }

    def set_up(self) -> None:
        """Send through the formatter whatever Python would write to standard error."""
        logging.config.dictConfig(self.config())
        logging.captureWarnings(True)
        sys.excepthook = _unexpected
        threading.excepthook = lambda hook: _unexpected(
            hook.exc_type, hook.exc_value or hook.exc_type(), hook.exc_traceback
        )
        sys.unraisablehook = lambda hook: _unexpected(
            hook.exc_type, hook.exc_value or hook.exc_type(), hook.exc_traceback
        )


def _unexpected(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    _LOG.critical("Unexpected", exc_info=(kind, error, trace))


class Told(Exception):
    """A fault that the log has already, raised on so that the server breaks its answer off."""

    def __str__(self) -> str:
        return "the log has it already"


class _Told(logging.Filter):
    """Drops what Granian says of `Told`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith(f"\n{Told.__name__}: {Told()}")


class TextLine(logging.Formatter):
    """`TIME LEVEL MESSAGE key=value`, then a traceback where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        words = (f" {key}={_word(value)}" for key, value in _fields(record).items())
        return super().formatMessage(record) + "".join(words)


class JsonLine(logging.Formatter):
    """One JSON object, whatever the message holds; a traceback is its field `error`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """What a record has beside its message: what its maker added, and the request's id."""
    fields: dict[str, object] = dict(getattr(record, "fields", {}))
    if known := request_id.get():
        fields["request"] = known
    return fields


def _word(value: object) -> str:
    """A value that ends where the next begins, and drives no terminal."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
