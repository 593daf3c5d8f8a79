"""HTTP: from bytes to a call, to an answer, to bytes; with all that may go wrong on the way."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from traceback import format_exc
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tests.fake_github import extras, git_http, limits
from tests.fake_github.call import Answer, Call, Refusal, Request, not_found
from tests.fake_github.faults import Fault, answer_of
from tests.fake_github.routes import ROUTES
from tests.fake_github.routing import Route
from tests.fake_github.state import Logged, Token
from tests.fake_github.tokens import authorize, identify
from tests.fake_github.validation import violations

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

# Enterprise's API, and where its files are uploaded.
PREFIXES = ("/api/v3", "/api/uploads", "/api")
IDLE_S = 60


class Server:
    """A threaded server on 127.0.0.1; port 0 takes a free one."""

    def __init__(self, hub: FakeGitHub, port: int):
        handler = type("Handler", (_Handler,), {"hub": hub})
        self._http = _Listener(("127.0.0.1", port), handler)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    hub: FakeGitHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_request(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        prefix, target = _without_prefix(self.path)
        path, _, query = target.partition("?")
        method = "GET" if self.command == "HEAD" else self.command
        request = Request(method, path, query, headers, self._body(headers))
        fault = self.hub.faults.strike(method, path)
        answer = None
        if fault is None or fault.kind != "reset":
            answer = self._answer(request, prefix, fault)
        broken = fault is not None and fault.kind in ("reset", "reset_after_write")
        status = answer.status if answer and not broken else 0
        self.hub.requests.append(Logged(self.command, target, status))
        if answer is None or broken:
            self._break()
        else:
            self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def _answer(self, request: Request, prefix: str, fault: Fault | None) -> Answer:
        if ".git/" not in request.path and (prefix == "/api/v3" or not extras.serves(request.path)):
            return carry_out(self.hub, request, prefix, fault)
        if fault is not None and not fault.after:
            return answer_of(fault, self.hub.now())
        if ".git/" in request.path:
            answer = git_http.serve(self.hub, request)
        else:
            with self.hub.lock:
                answer = extras.serve(self.hub, request)
        return answer_of(fault, self.hub.now()) if fault and fault.kind[0] == "5" else answer

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(headers.get("content-length", 0)))

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        body = answer.encoded()
        kind = fault.kind if fault else ""
        if kind == "slow":
            assert fault is not None
            time.sleep(fault.delay_s)
        if kind == "truncated":
            body = body[: len(body) // 2]
        head = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('',))[0]}"]
        defaults = {
            "Content-Type": "application/json; charset=utf-8",
            "Date": formatdate(self.hub.now(), usegmt=True),
            "X-GitHub-Request-Id": "FAKE:0000:0000",
            "X-GitHub-Media-Type": "github.v3; format=json",
        }
        if answer.status not in (204, 304):
            defaults["Content-Length"] = str(len(body))
        merged = {**defaults, **answer.headers}
        head += [f"{name}: {value}" for name, value in merged.items()]
        text = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"
        if self.command == "HEAD" or answer.status in (204, 304):
            body = b""
        if kind == "cut":
            self.wfile.write(text + body[: len(body) // 2])
            self._break()
            return
        self.wfile.write(text + body)

    def _break(self) -> None:
        """Closes the connection so that the client sees a reset."""
        self.close_connection = True
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


def carry_out(hub: FakeGitHub, request: Request, prefix: str, fault: Fault | None = None) -> Answer:
    """Serves one request to the API."""
    api = hub.web_url + ("/api/v3" if prefix else "")
    checked = hub.validator.chooses()
    with hub.lock:
        path = _described(hub, request)
        found = ROUTES.find(request.method, path)
        if found is None:
            if checked:
                hub.violations.append(f"{request.method} {path}: the fake has no such operation")
            return _refusal(not_found())
        route, params = found
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        call = Call(
            hub=hub,
            method=request.method,
            api=api,
            path=path,
            params=params,
            query=query,
            headers=request.headers,
            data=request.data,
            token=None,
        )
        undone = fault is not None and not fault.after
        answer = None if undone else _served(hub, call, route)
    if checked:
        hub.violations += violations(call, route.template, answer)
    if answer is None or (fault is not None and fault.kind[0] == "5"):
        assert fault is not None
        return answer_of(fault, hub.now())
    return _conditional(request, answer)


def _served(hub: FakeGitHub, call: Call, route: Route) -> Answer:
    limited: dict[str, str] = {}
    try:
        if "app" not in route.needs:
            call.token = identify(hub, call.headers)
        within = limits.spend(call.token)
        limited = {**limits.headers(hub, call.token), **_scopes(call.token)}
        if not within:
            raise Refusal(403, "API rate limit exceeded for user ID 1.")
        if "repo" in call.params:
            full_name = f"{call.params['owner']}/{call.params['repo']}".lower()
            if full_name in hub.moved:
                return _moved(call, hub.moved[full_name])
            call.repo_here = hub.repos.get(full_name)
            if call.repo_here is None:
                raise not_found()
        if "app" not in route.needs:
            authorize(call, route)
        answer = route.serve(call)
    except Refusal as refusal:
        answer = _refusal(refusal)
    except Exception:  # noqa: BLE001 - told to the test, which fails by it
        hub.violations.append(f"{call.method} {call.path}: the fake broke\n{format_exc()}")
        answer = Answer(500, {"message": "Server Error"})
    answer.headers = {**limited, **answer.headers}
    return answer


def _refusal(refusal: Refusal) -> Answer:
    body: dict[str, Any] = {
        "message": refusal.message,
        "documentation_url": "https://docs.github.com/rest",
        "status": str(refusal.status),
    }
    if refusal.errors:
        body["errors"] = refusal.errors
    return Answer(refusal.status, body, dict(refusal.headers))


def _scopes(token: Token | None) -> dict[str, str]:
    if token is None or token.kind != "classic":
        return {}
    return {"X-OAuth-Scopes": ", ".join(token.scopes)}


def _moved(call: Call, repo_id: int) -> Answer:
    """GET is told 301, everything else 307, which keeps its body."""
    rest = re.sub(r"^/repos/[^/]+/[^/]+", f"/repositories/{repo_id}", call.path)
    at = f"{call.api}{rest}"
    if call.query:
        at += "?" + "&".join(f"{k}={v}" for k, v in call.query.items())
    status = 301 if call.method == "GET" else 307
    body = {"message": "Moved Permanently", "url": at, "documentation_url": ""}
    return Answer(status, body, {"Location": at})


def _described(hub: FakeGitHub, request: Request) -> str:
    """The path that the description has for what a client asks.

    GitHub also knows repositories by their id, and statuses where they are created (PyGithub
    reads them there).
    """
    path = request.path
    if request.method == "GET":
        path = re.sub(r"^(/repos/[^/]+/[^/]+)/statuses/([^/]+)$", r"\1/commits/\2/statuses", path)
    match = re.match(r"/repositories/(\d+)(/.*)?$", path)
    for repo in hub.repos.values() if match else ():
        if match and repo.id == int(match[1]):
            return f"/repos/{repo.full_name}{match[2] or ''}"
    return path


def _conditional(request: Request, answer: Answer) -> Answer:
    """An ETag for what was read; 304 for what the caller has. Those cost no request."""
    if request.method != "GET" or answer.status != 200 or not isinstance(answer.body, dict | list):
        return answer
    tag = f'W/"{hashlib.sha256(answer.encoded()).hexdigest()}"'
    answer.headers["ETag"] = tag
    if request.headers.get("if-none-match", "").strip() in (tag, tag.removeprefix("W/")):
        kept = {k: v for k, v in answer.headers.items() if k != "Content-Type"}
        return Answer(304, None, kept)
    return answer


def _without_prefix(target: str) -> tuple[str, str]:
    for prefix in PREFIXES:
        if target.startswith(prefix + "/"):
            return prefix, target.removeprefix(prefix)
    return "", target
