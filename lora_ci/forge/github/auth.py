"""Who asks GitHub: a token, an App, or an App where it is installed. Secrets stay out of reprs."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec

from lora_ci.core.clock import Clock
from lora_ci.core.errors import UsageError
from lora_ci.forge.github.client import GitHubClient

JWT_BEHIND = timedelta(seconds=60)
JWT_LIFE = timedelta(minutes=9)  # GitHub takes ten at most
RENEW_BEFORE = timedelta(minutes=5)
NOTICEABLE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A token as it is: of a workflow's job, or of a person."""

    token: str = field(repr=False)

    def authorization(self) -> str:
        return f"Bearer {self.token}"

    def renew(self, date: datetime | None) -> bool:
        return False


@dataclass(slots=True)
class AppAuth:
    """A GitHub App as itself, by a token that it signs for a few minutes.

    GitHub refuses one that is of the future or too old: after a refusal the clock is corrected by
    GitHub's own.
    Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
    """

    app_id: str
    private_key_pem: str = field(repr=False)
    clock: Clock = field(repr=False)
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """GitHub's time, as far as it is known."""
        return self.clock.now() + self.ahead

    def authorization(self) -> str:
        return f"Bearer {sign_jwt(self.app_id, self.private_key_pem, self.now())}"

    def renew(self, date: datetime | None) -> bool:
        if date is None:
            return False
        ahead, self.ahead = self.ahead, date - self.clock.now()
        return abs(self.ahead - ahead) > NOTICEABLE


def sign_jwt(app_id: str, private_key_pem: str, now: datetime) -> str:
    """What an App shows as its pass. Raises UsageError for what is no RSA key."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    hint = "expected the .pem file that GitHub gave for the App (-----BEGIN RSA PRIVATE KEY-----)"
    try:
        key = load_pem_private_key(private_key_pem.encode(), None)
    except (ValueError, TypeError):
        raise UsageError("the App's private key cannot be read", hint=hint) from None
    if not isinstance(key, RSAPrivateKey):
        raise UsageError("the App's private key is no RSA key", hint=hint)
    claims = {
        "iat": int((now - JWT_BEHIND).timestamp()),
        "exp": int((now + JWT_LIFE).timestamp()),
        "iss": app_id,
    }
    parts = [_base64url(msgspec.json.encode(p)) for p in ({"alg": "RS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_base64url(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class _Installation:
    id: int
    app_slug: str


@dataclass(frozen=True, slots=True)
class _Minted:
    token: str = field(repr=False)
    expires_at: datetime


@dataclass(slots=True)
class InstallationAuth:
    """An App where it is installed, by tokens that GitHub gives for an hour.

    `client` asks as the App itself, with `app`.
    """

    app: AppAuth
    client: GitHubClient
    repository: str
    _installation: _Installation | None = None
    _minted: _Minted | None = None

    def login(self) -> str:
        """Whose name stands at what the App writes."""
        return f"{self._where().app_slug}[bot]"

    def token(self) -> str:
        """A token that is good for at least five minutes."""
        minted = self._minted
        if minted is None or minted.expires_at - RENEW_BEFORE <= self.app.now():
            path = f"/app/installations/{self._where().id}/access_tokens"
            name = self.repository.partition("/")[2]
            # A second token does no harm: it ends by itself.
            minted = self.client.create(path, {"repositories": [name]}, _Minted, look=None)
            self._minted = minted
        return minted.token

    def authorization(self) -> str:
        return f"Bearer {self.token()}"

    def renew(self, date: datetime | None) -> bool:
        had, self._minted = self._minted, None
        return had is not None

    def _where(self) -> _Installation:
        if self._installation is None:
            path = f"/repos/{quote(self.repository)}/installation"
            self._installation = self.client.get(path, _Installation)
        return self._installation
