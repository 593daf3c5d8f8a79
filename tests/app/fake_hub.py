"""A hub of one model on this machine: the part of the HTTP API that downloads use."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "a" * 40


class FakeHub:
    """Serves the files of a folder as `name` at `COMMIT`; `asked` are the paths asked for.

    A name that ends in `gated` lists its files and gives none; no other model is there.
    """

    def __init__(self, folder: Path, name: str = "team/tiny-sd") -> None:
        self.name, self.asked = name, list[str]()
        self.files = {
            p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()
        }

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The address while it is open."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(urlsplit(self.path).path)
                status, headers, body = hub.answer(urlsplit(self.path).path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - the standard library's name

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        gated = f"{self.name}-gated"
        name = next((n for n in (gated, self.name) if f"/{n}/" in path), None)
        if name is None:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if f"/{COMMIT}" not in path:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if path.startswith("/api/"):
            return 200, {"Content-Type": "application/json"}, json.dumps(self.listed(path)).encode()
        if name == gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        file = self.files.get(path.partition(f"/resolve/{COMMIT}/")[2])
        if file is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, data

    def listed(self, path: str) -> object:
        """What is in the model: as a tree, or as older versions of the library ask."""
        if "/tree/" in path:
            return [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": "b" * 40}
                for n, p in self.files.items()
            ]
        siblings = [{"rfilename": name} for name in self.files]
        return {"id": self.name, "sha": COMMIT, "siblings": siblings}
