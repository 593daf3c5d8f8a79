"""The server's log: a line a fact, for people or as JSON."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Literal

import msgspec

Format = Literal["human", "json"]
FORMATS: tuple[Format, ...] = ("human", "json")
HUMAN = "%(asctime)s %(levelname)s %(message)s"
# `job.started id=%s repo=%s`: what our own lines are made of.
EVENT = re.compile(r"[a-z_]+\.[a-z_-]+(?= |$)")
FACT = re.compile(r"(\w+)=%[a-z]")


def set_up_log(form: Format) -> None:
    """Every log line of this process goes to stderr in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(HUMAN))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("lora_ci").setLevel(logging.INFO)


class JsonLines(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `message`; of ours `event` and `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if event := EVENT.match(str(record.msg)):
            line |= {"event": event[0], "facts": _facts(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """The values that a line is about, by the names that stand before them."""
    names, values = FACT.findall(str(record.msg)), record.args
    if not isinstance(values, tuple) or len(names) != len(values):
        return {}
    plain = (v if isinstance(v, int | float) or v is None else str(v) for v in values)
    return dict(zip(names, plain, strict=True))
