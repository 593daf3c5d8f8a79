"""Deliveries that did not arrive: the git host never sends one again by itself, but it is asked to.

Source: https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from lora_ci.bot.access import Access, HookLog
from lora_ci.core.clock import Clock
from lora_ci.core.errors import LoraCIError
from lora_ci.core.text import clean
from lora_ci.ledger.inbox import Inbox

LOG = logging.getLogger("lora_ci.bot")

# GitHub sends again what is no older than this.
KEPT = timedelta(days=3)
# What is on its way may still arrive by itself.
SETTLED = timedelta(minutes=2)
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt to deliver; `guid` is the same for all of a delivery."""

    id: int
    guid: str
    delivered_at: datetime
    status_code: int


def ask_again(access: Access, inbox: Inbox, repos: tuple[str, ...], clock: Clock) -> int:
    """Asks for deliveries of the last days that never arrived; how many that were."""
    asked = 0
    try:
        for log in access.hook_logs(repos):
            for attempt in _missed(log, inbox, clock.now())[:AT_ONCE]:
                # Asked for twice it comes twice, and counts once.
                path = f"{log.path}/{attempt.id}/attempts"
                log.client.create(path, {}, dict[str, object], look=None)
                asked += 1
    except LoraCIError as error:
        LOG.warning("reconcile.failed why=%s", clean(str(error)))
    if asked:
        LOG.info("reconcile.asked deliveries=%d", asked)
    return asked


def _missed(log: HookLog, inbox: Inbox, now: datetime) -> list[_Attempt]:
    """The last attempt of each delivery that none of ours is, oldest first."""
    last: dict[str, _Attempt] = {}
    for page in log.client.pages(log.path, list[_Attempt]):
        recent = [a for a in page if a.delivered_at > now - KEPT]
        for attempt in recent:
            last.setdefault(attempt.guid, attempt)  # newest first
        if len(recent) < len(page):
            break
    settled = [a for a in last.values() if a.delivered_at < now - SETTLED]
    known = inbox.known(attempt.guid for attempt in settled)
    return [attempt for attempt in reversed(settled) if attempt.guid not in known]
