"""The WSGI application of a blind review: one person, one address that nobody can guess.

Whoever has the address may vote; everybody else is told that there is nothing. Other pages that are
open in the same browser cannot reach it: the address is secret, requests under a foreign host name
(DNS rebinding) and forms that another page sent are refused.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lora_ci.core.errors import LoraCIError
from lora_ci.core.votes import Against, Side
from lora_ci.store.store import ArtifactStore
from lora_ci.web.desk import Desk
from lora_ci.web.review_page import POLICY, Question, render_card, render_end, render_result

if TYPE_CHECKING:
    from flask import Flask, Response
    from waitress.server import BaseWSGIServer, MultiSocketServer

# A form of ours has a few bytes.
MOST_BYTES = 4096
THREADS = 4
MOST_CONNECTIONS = 32
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What the application works with.

    `token` is the secret part of the address, `host` the name it was told to listen on;
    `references` are real pictures (sha256), `against` is what made the other pictures.
    """

    desk: Desk
    store: ArtifactStore
    question: Question
    references: tuple[str, ...]
    against: Against | None
    token: str
    host: str


def create_review(review: Review) -> Flask:
    """The application. Everything lies below `/<token>/`."""
    from flask import Flask
    from werkzeug.exceptions import HTTPException

    app = Flask("lora_ci.web.review", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.before_request(partial(_refuse_strangers, review))
    app.after_request(_guard)
    app.register_error_handler(HTTPException, lambda error: _told(error.code or 500, error.name))
    app.register_error_handler(LoraCIError, lambda error: _told(503, str(error)))

    def add(rule: str, view: Callable[..., Response], method: str = "GET") -> None:
        app.add_url_rule(f"/<token>/{rule}", view.__name__, partial(view, review), methods=[method])

    add("", show)
    add("picture/<int:number>/<side>", show_picture)
    add("reference/<int:index>", show_reference)
    for answer in (vote, skip, undo, again, close):
        add(answer.__name__, answer, "POST")
    return app


def show(review: Review) -> Response:
    """Where the person is: a pair, the end, or the result."""
    from flask import Response

    state = review.desk.state()
    if state.card:
        page = render_card(state.card, state, review.question)
    elif not state.closed:
        page = render_end(state)
    else:
        page = render_result(review.desk.result(), review.against)
    return Response(page)


def show_picture(review: Review, number: int, side: str) -> Response:
    """The picture on a side of a card."""
    card = review.desk.card(number)
    if card is None or side not in tuple(Side):
        return _told(404, "no such picture")
    return _picture(review, card.picture(Side(side)))


def show_reference(review: Review, index: int) -> Response:
    """A real picture."""
    if index >= len(review.references):
        return _told(404, "no such picture")
    return _picture(review, review.references[index])


def vote(review: Review) -> Response:
    """Keeps a choice."""
    from flask import request

    choice = request.form.get("choice", "")
    if choice not in (*Side, "none"):
        return _told(400, "expected the choice left, right or none")
    answer = None if choice == "none" else Side(choice)
    return _next(review.desk.vote(_card_number(), answer))


def skip(review: Review) -> Response:
    """Puts a card aside."""
    return _next(review.desk.skip(_card_number()))


def undo(review: Review) -> Response:
    """Takes the last answer back."""
    review.desk.undo()
    return _next(True)


def again(review: Review) -> Response:
    """Asks again what was skipped."""
    review.desk.again()
    return _next(True)


def close(review: Review) -> Response:
    """Ends the voting."""
    if review.desk.state().card is None:
        review.desk.close()
    return _next(True)


def open_review_server(
    app: Flask, host: str, port: int
) -> tuple[MultiSocketServer | BaseWSGIServer, int]:
    """A server that listens, and its port; `run()` serves until a signal. Raises OSError."""
    from waitress.server import create_server

    # A browser asks for all pictures of a page at once; that they queue up is no news.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    server = create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=MOST_CONNECTIONS,
        max_request_body_size=MOST_BYTES + 1,
        ident=None,
        clear_untrusted_proxy_headers=True,
    )
    return server, listening.getsockname()[1]


def is_known_host(header: str, host: str) -> bool:
    """True for a Host header that no foreign name server can have led here: an IP address does.

    `host` is the name that we were told to listen on.
    """
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if name in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refuse_strangers(review: Review) -> Response | None:
    from flask import request

    if not is_known_host(request.headers.get("Host", ""), review.host):
        return _told(421, "this server has another name")
    # Those who answer need it no more.
    token = (request.view_args or {}).pop("token", "")
    if not hmac.compare_digest(str(token).encode(), review.token.encode()):
        return _told(404, "nothing here")
    if request.method == "POST":
        ours = f"http://{request.host}"
        if request.headers.get("Origin", ours) != ours:
            return _told(403, "another page sent this form")
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _told(403, "another page sent this form")
    return None


def _card_number() -> int:
    """The card that a form is about; -1, which no card has, for what is no number."""
    from flask import request

    found = request.form.get("card", "")
    return int(found) if found.isascii() and found.isdigit() and len(found) < 9 else -1


def _next(taken: bool) -> Response:
    """To the page that stands now, so that loading it again sends nothing twice."""
    from flask import Response

    if not taken:
        return _told(409, "not taken: there is no such pair, or the voting is over")
    return Response(status=303, headers={"Location": "./"})


def _picture(review: Review, sha256: str) -> Response:
    from flask import Response

    return Response(review.store.get(sha256).read_bytes(), mimetype="image/png")


def _guard(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


def _told(status: int, message: str) -> Response:
    from flask import Response

    return Response(f"{message}\n", status=status, mimetype="text/plain")
