"""Webhook deliveries: signed, posted, remembered."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.fake_github.state import Delivery, Hook

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

TIMEOUT_S = 10


def sign(secret: str, body: bytes) -> str:
    """The X-Hub-Signature-256 of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def request_headers(
    event: str, guid: str, body: bytes, secret: str | None, hook_id: int = 1
) -> dict[str, str]:
    """What GitHub sends with a delivery."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/abcdef0",
        "Accept": "*/*",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(hook_id),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if secret is not None:
        headers["X-Hub-Signature-256"] = sign(secret, body)
    return headers


def deliver(
    hub: FakeGitHub,
    url: str,
    secret: str | None,
    event: str,
    payload: dict[str, Any],
    *,
    guid: str | None = None,
    hook: Hook | None = None,
    redelivery: bool = False,
    lost: bool = False,
) -> Delivery:
    """Posts once, as GitHub does: no second try. What came back is in the delivery."""
    guid = guid or str(uuid.uuid4())
    body = json.dumps(payload, separators=(",", ":")).encode()
    headers = request_headers(event, guid, body, secret, hook.id if hook else 1)
    began = time.monotonic()
    if lost:
        code, status, answer_headers, answer = 0, "failed to connect to host", {}, ""
    else:
        code, status, answer_headers, answer = _post(url, headers, body)
    delivery = Delivery(
        id=hub.new_id(),
        guid=guid,
        event=event,
        action=payload.get("action"),
        delivered=hub.now(),
        duration_s=time.monotonic() - began,
        status_code=code,
        status=status,
        redelivery=redelivery,
        request_headers=headers,
        payload=payload,
        response_headers=answer_headers,
        response=answer,
        repository=(payload.get("repository") or {}).get("id"),
        installation=(payload.get("installation") or {}).get("id"),
    )
    with hub.lock:
        (hook.deliveries if hook else hub.loose_deliveries).append(delivery)
    return delivery


def redeliver(hub: FakeGitHub, hook: Hook, delivery: Delivery) -> None:
    """Posts a delivery again, under the same id, soon."""
    import threading

    def post() -> None:
        deliver(
            hub,
            hook.url,
            hook.secret,
            delivery.event,
            delivery.payload,
            guid=delivery.guid,
            hook=hook,
            redelivery=True,
        )

    thread = threading.Thread(target=post, daemon=True)
    hub.threads.append(thread)
    thread.start()


def all_of(hub: FakeGitHub) -> list[Delivery]:
    """All deliveries, oldest first."""
    hooks = [hook for repo in hub.repos.values() for hook in repo.hooks.values()]
    hooks += [app.hook for app in hub.apps.values() if app.hook]
    found = [delivery for hook in hooks for delivery in hook.deliveries] + hub.loose_deliveries
    return sorted(found, key=lambda d: d.id)


def _post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, str, dict[str, str], str]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("POST", parts.path or "/", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except TimeoutError:
        return 0, "timed out", {}, ""
    except OSError:
        return 0, "failed to connect to host", {}, ""
    finally:
        connection.close()
    status = "OK" if answer.status < 400 else f"Invalid HTTP Response: {answer.status}"
    return answer.status, status, dict(answer.getheaders()), text
