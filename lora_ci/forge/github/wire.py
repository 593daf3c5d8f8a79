"""Bytes to GitHub and back: JSON by PyGithub's connection, files in pieces. Nothing is repeated."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import lora_ci
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.text import clean
from lora_ci.forge.github.answer import Answer, Unclear

if TYPE_CHECKING:
    import requests
    from github.Requester import Requester

API_VERSION = "2022-11-28"
USER_AGENT = f"lora-ci/{lora_ci.__version__}"
PIECE_BYTES = 1 << 20


class Wire:
    """The connection to one GitHub."""

    def __init__(self, api_url: str, timeout_s: float) -> None:
        self._base = api_url.rstrip("/")
        self._timeout_s = timeout_s
        parts = urlsplit(self._base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            hint = "expected such as https://api.github.com or https://git.example.org/api/v3"
            raise UsageError(f"{api_url!r} is no address of GitHub's API", hint=hint)
        if find_spec("github") is None:
            hint = "next: pip install 'lora-ci[github]'"
            raise UsageError("PyGithub is not installed", hint=hint)
        self._requester: Requester | None = None

    def exchange(
        self, verb: str, path: str, body: Mapping[str, Any] | None, headers: dict[str, str]
    ) -> Answer:
        """One request with JSON and its answer; `path` may be an address of this GitHub.

        Raises Unclear if there is no whole answer.
        """
        if self._requester is None:
            self._requester = self._connect()
        headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
        what = f"{verb} {urlsplit(path).path}"
        with _clear(what):
            # Repeats a 301 with the same verb, on this host only.
            status, found, text = self._requester.requestJson(
                verb, self.own_path(path), headers=headers, input=body
            )
        return Answer(what=what, status=status, headers=found, text=text)

    def upload(self, url: str, file: Path, headers: dict[str, str]) -> Answer:
        """Sends a file as it is read; `url` is on this GitHub or a part of it for uploads."""
        self._check_host(url)
        headers |= {"Content-Type": "application/octet-stream", "User-Agent": USER_AGENT}
        what = f"POST {urlsplit(url).path}"
        with _clear(what), _session() as session, file.open("rb") as data:
            answer = session.post(
                url,
                data=data,
                headers=headers,
                timeout=self._timeout_s,
                allow_redirects=False,
            )
            return _answer(what, answer, answer.text)

    def download(self, path: str, into: Path, headers: dict[str, str], limit_bytes: int) -> Answer:
        """Writes a file, from where GitHub sends us on to."""
        what = f"GET {path}"
        url = f"{self._base}{path}"
        headers |= {"User-Agent": USER_AGENT, "Accept": "application/vnd.github+json"}
        with _clear(what), _session() as session:
            sent_on = session.get(
                url, headers=headers, timeout=self._timeout_s, allow_redirects=False, stream=True
            )
            with sent_on as first:
                if first.status_code not in (301, 302, 303, 307, 308):
                    return _received(what, first, into, limit_bytes)
                target = first.headers.get("location", "")
            if urlsplit(target).scheme != urlsplit(url).scheme:
                raise InfrastructureError(f"{what}: sent on to another kind of address")
            with session.get(target, timeout=self._timeout_s, stream=True) as second:
                return _received(what, second, into, limit_bytes)

    def own_path(self, address: str) -> str:
        """A path below the API's address, or a whole address on the same host.

        Raises InfrastructureError for another host: it is not shown the token.
        """
        if address.startswith("/"):
            return address
        ours, theirs = urlsplit(self._base), urlsplit(address)
        if (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise InfrastructureError(
                f"GitHub sends us from {ours.netloc} to {theirs.netloc or address!r}",
                hint="is GITHUB_API_URL right?",
            )
        return address

    def _check_host(self, url: str) -> None:
        """Keeps the token with GitHub: it has hosts of its own for uploads."""
        ours, theirs = urlsplit(self._base), urlsplit(url)
        hosts = {ours.netloc, f"uploads.{ours.netloc.removeprefix('api.')}"}
        if theirs.scheme != ours.scheme or theirs.netloc not in hosts:
            raise InfrastructureError(f"{theirs.netloc} is no host for uploads to {ours.netloc}")

    def _connect(self) -> Requester:
        from github.Requester import Requester

        # It would log headers, and with them the token.
        logging.getLogger("github.Requester").setLevel(logging.WARNING)
        return Requester(
            auth=None,
            base_url=self._base,
            timeout=self._timeout_s,  # type: ignore[arg-type]
            user_agent=USER_AGENT,
            per_page=100,
            verify=True,
            retry=0,
            pool_size=None,
        )


def _received(what: str, response: requests.Response, into: Path, limit_bytes: int) -> Answer:
    if response.status_code != 200:
        return _answer(
            what, response, next(response.iter_content(PIECE_BYTES), b"").decode(errors="replace")
        )
    left = limit_bytes
    with into.open("wb") as file:
        for piece in response.iter_content(PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise InfrastructureError(f"{what}: larger than {limit_bytes} bytes")
            file.write(piece)
    return _answer(what, response, "")


def _answer(what: str, response: requests.Response, text: str) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(what=what, status=response.status_code, headers=headers, text=text)


@contextmanager
def _session() -> Iterator[requests.Session]:
    import requests

    with requests.Session() as session:
        # Else a .netrc would speak in somebody's name.
        session.auth = lambda request: request
        yield session


@contextmanager
def _clear(what: str) -> Iterator[None]:
    """Tells what the network does as Unclear."""
    import requests

    try:
        yield
    except requests.exceptions.SSLError as error:
        hint = "is its certificate one that this machine trusts? (REQUESTS_CA_BUNDLE)"
        raise InfrastructureError(f"{what}: {clean(str(error))}", hint=hint) from error
    except requests.RequestException as error:
        raise Unclear(f"{what}: GitHub gave no answer ({type(error).__name__})") from error
    except RuntimeError as error:
        # PyGithub's, when it is sent to another host.
        raise InfrastructureError(str(error), hint="is GITHUB_API_URL right?") from error
