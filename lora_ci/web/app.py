"""The WSGI application: `/webhook`, `/reports/<owner>/<name>/<run>`, `/healthz`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.app.records import FORGE, STATE
from lora_ci.core.errors import LoraCIError
from lora_ci.core.text import clean
from lora_ci.forge.local import REPORTS
from lora_ci.forge.payload import MAX_BYTES
from lora_ci.ledger.inbox import Inbox, Receipt
from lora_ci.report.script import SCRIPT_SOURCE
from lora_ci.web.signature import is_signed

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.exceptions import HTTPException

LOG = logging.getLogger("lora_ci.web")

RETRY_AFTER_S = 60
DELIVERY = re.compile(r"[0-9A-Za-z-]{1,64}")
EVENT = re.compile(r"[a-z_]{1,64}")
NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}")
# A page has its style and its pictures inside, and one script, which is known by its digest.
PAGE_POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {SCRIPT_SOURCE}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the application works with: beyond `limit` waiting things it asks for patience.

    `wake` tells the worker that something came; `repos` holds the clones, and in each its pages.
    """

    inbox: Inbox
    secret: bytes = field(repr=False)
    repos: Path
    limit: int
    wake: Callable[[], None]


def create_app(door: Door) -> Flask:
    """The application. Bodies beyond GitHub's own cap are refused before they are read."""
    from flask import Flask
    from werkzeug.exceptions import HTTPException

    app = Flask("lora_ci.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.add_url_rule("/webhook", "webhook", partial(receive, door), methods=["POST"])
    app.add_url_rule("/reports/<owner>/<name>/<run>", "report", partial(show_report, door))
    app.add_url_rule("/healthz", "health", partial(show_health, door))
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(LoraCIError, _broken)
    app.after_request(_guard)
    return app


def receive(door: Door) -> Response:
    """Keeps a delivery that knows the secret; whatever is to be done about it is done later."""
    from flask import request

    if request.mimetype != "application/json":
        return _told(415, "expected the content type application/json")
    signature = request.headers.get("X-Hub-Signature-256")
    # Without one there is no need to read the body.
    if not signature or not is_signed(request.get_data(), signature, door.secret):
        return _told(401, "X-Hub-Signature-256 is missing, or not made with our secret")
    delivery = request.headers.get("X-GitHub-Delivery", "")
    event = request.headers.get("X-GitHub-Event", "")
    if not DELIVERY.fullmatch(delivery) or not EVENT.fullmatch(event):
        return _told(400, "X-GitHub-Delivery or X-GitHub-Event is missing")
    receipt = door.inbox.receive(delivery, event, request.get_data(), limit=door.limit)
    if receipt is Receipt.FULL:
        full = _told(503, "too much is waiting; it is asked for again later")
        full.headers["Retry-After"] = str(RETRY_AFTER_S)
        return full
    door.wake()
    return _told(202, receipt)


def show_report(door: Door, owner: str, name: str, run: str) -> Response:
    """The page of a run, shut off from everything else in the browser."""
    from flask import send_from_directory

    if not all(NAME.fullmatch(part) for part in (owner, name, run)):
        return _told(404, "no such report")
    folder = door.repos / owner.lower() / name.lower() / STATE / FORGE / REPORTS
    page = send_from_directory(folder.resolve(), f"{run.removesuffix('.html')}.html")
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


def show_health(door: Door) -> Response:
    """What waits, if the ledger can be read."""
    waiting = door.inbox.waiting()
    return _told(200, "ok", deliveries=waiting.deliveries, jobs=waiting.jobs)


def _refused(error: HTTPException) -> Response:
    return _told(error.code or 500, error.name)


def _broken(error: LoraCIError) -> Response:
    LOG.error("web.broken error=%s", clean(str(error)))
    return _told(503, "the ledger cannot be used")


def _guard(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _told(status: int, message: str, **numbers: int) -> Response:
    from flask import jsonify

    response = jsonify({"message": message, **numbers})
    response.status_code = status
    return response
