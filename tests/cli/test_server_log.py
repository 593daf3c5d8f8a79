"""The server's log as JSON: a line a record, whatever is in it."""

import json
import logging
import sys

from lora_ci.cli.server_log import JsonLines


def line(message: str, *args: object, name: str = "lora_ci.bot", **further: object) -> dict:
    record = logging.LogRecord(name, logging.INFO, "f.py", 1, message, args, None)
    record.__dict__.update(further)
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_fact_has_its_values_by_name():
    told = line("job.done id=%d repo=%s number=%s note=%s", 7, "acme/loras", None, 'a "b"\nc')
    assert told["event"] == "job.done"
    assert told["facts"] == {"id": 7, "repo": "acme/loras", "number": None, "note": 'a "b"\nc'}
    assert (told["level"], told["logger"]) == ("info", "lora_ci.bot")
    assert told["time"].endswith("+00:00")
    assert line("serve.ended")["facts"] == {}


def test_what_others_log_is_a_message():
    told = line("Task queue depth is %d", 3, name="waitress.queue")
    assert told["message"] == "Task queue depth is 3"
    assert "event" not in told


def test_a_traceback_is_one_value():
    try:
        raise ValueError("a\nb")
    except ValueError:
        told = line("worker.broken", exc_info=sys.exc_info())
    assert told["event"] == "worker.broken"
    assert "ValueError: a\nb" in told["traceback"]
