"""The server around the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_ci.forge.payload import MAX_BYTES

if TYPE_CHECKING:
    from flask import Flask
    from waitress.server import BaseWSGIServer, MultiSocketServer

# They wait for one ledger: more of them answer no sooner.
THREADS = 4

# A payload is to come in one piece.
RECEIVE_BYTES = 1 << 16


def open_server(app: Flask, host: str, port: int) -> MultiSocketServer | BaseWSGIServer:
    """A server that listens; `run()` serves until `close()` or a signal."""
    from waitress.server import create_server

    return create_server(
        app,
        host=host,
        port=port,
        threads=THREADS,
        # One byte more than is taken, as waitress refuses what reaches it.
        max_request_body_size=MAX_BYTES + 1,
        ident=None,
        recv_bytes=RECEIVE_BYTES,
        clear_untrusted_proxy_headers=True,
    )
