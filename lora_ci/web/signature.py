"""Whether a webhook comes from who knows the secret.

Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "sha256="


def is_signed(body: bytes, header: str, secret: bytes) -> bool:
    """True if `X-Hub-Signature-256` is that of the raw body; it takes as long either way."""
    if not header.startswith(PREFIX):
        return False
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(header.removeprefix(PREFIX).encode(), expected.encode())
