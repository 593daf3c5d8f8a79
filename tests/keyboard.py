"""Keys pressed in headless Chromium, through its debugging pipe."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Keyboard:
    """A page of a running browser, and its keys."""

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = receive
        self._count = 0
        self._session: str | None = None
        self._rest = b""

    def open(self, address: str) -> None:
        """Loads a page and waits for it."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Page.navigate", url=address)
        self._hear(lambda told: told.get("method") == "Page.loadEventFired")

    def press(self, key: str, **more: object) -> None:
        """One key, and what it loads; `autoRepeat` is a key that is held down."""
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key, **more)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def wait_for_page(self) -> None:
        """The page that a key loads."""
        self._hear(lambda told: told.get("method") == "Page.loadEventFired")

    def text(self) -> str:
        """What stands on the page."""
        found = self._call("Runtime.evaluate", expression="document.body.innerText")
        return str(found["result"]["value"])

    def _call(self, method: str, **params: object) -> Any:
        self._count += 1
        asked = {"id": self._count, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._send, json.dumps(asked).encode() + b"\0")
        told = self._hear(lambda told: told.get("id") == asked["id"])
        assert "error" not in told, told
        return told["result"]

    def _hear(self, is_it: Any) -> Any:
        while True:
            while b"\0" not in self._rest:
                piece = os.read(self._receive, 1 << 16)
                assert piece, "the browser has gone"
                self._rest += piece
            line, self._rest = self._rest.split(b"\0", 1)
            told = json.loads(line)
            if is_it(told):
                return told


@contextmanager
def chromium(profile: Path) -> Iterator[Keyboard]:
    """A browser that ends with the block."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # Chromium reads what it is told from descriptor 3 and answers on 4.
    script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec chromium "$@"'
    process = subprocess.Popen(
        ["bash", "-c", script, "-", "--headless", "--no-sandbox", "--disable-gpu",
         "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
         f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Keyboard(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        process.kill()
        process.wait()
