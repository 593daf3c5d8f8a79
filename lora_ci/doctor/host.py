"""Checks of the git host: token, clock, webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from lora_ci.doctor.checked import Checked, error, ok, skipped, warning
from lora_ci.doctor.machine import Answer, Machine

NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
# A date has whole seconds, and the answer took its way.
LITTLE_S, MUCH_S = 30.0, 300.0
SET_CLOCK = "next: timedatectl set-ntp true"
# For comments, checks, statuses, releases and records.
RIGHTS = "contents, pull-requests and checks: write"
PING = b'{"zen":"lora-ci doctor","hook_id":0}'


class _Permissions(msgspec.Struct):
    pull: bool = False
    push: bool = False


class _Repository(msgspec.Struct):
    full_name: str
    permissions: _Permissions | None = None


def check_token(machine: Machine, api_url: str, repo: str | None, token: str | None) -> Checked:
    """The token is known, sees the repository, and may write to it as far as that can be asked."""
    if not token:
        return skipped("no GITHUB_TOKEN: nothing can be published")
    if not re.fullmatch(r"[!-~]+", token):
        return error("GITHUB_TOKEN is no token: it has spaces or line ends", "next: set it anew")
    if repo is None or not NAME.fullmatch(repo):
        return skipped("GITHUB_REPOSITORY (owner/name) does not say where the token is to work")
    answer = machine.ask("GET", f"{api_url}/repos/{repo}", asking(token))
    if answer.status != 200:
        return _refused(answer.status, api_url, repo)
    try:
        found = msgspec.json.decode(answer.body, type=_Repository)
    except msgspec.DecodeError:
        return error(f"{api_url} does not answer as GitHub does", "next: check GITHUB_API_URL")
    scopes = answer.headers.get("x-oauth-scopes")
    if scopes is not None:
        return _classic(found, {scope.strip() for scope in scopes.split(",") if scope.strip()})
    if found.permissions and found.permissions.push:
        return ok(f"it may write to {found.full_name}; rights of its own GitHub does not tell")
    fix = f"next: give it {RIGHTS}; without, results are told in the log alone"
    return warning(f"it may read {found.full_name}, and perhaps not write", fix)


def _refused(status: int, api_url: str, repo: str) -> Checked:
    if status == 401:
        return error("GitHub does not know the token (401)", "next: make a new one; is it expired?")
    if status == 301:
        return error(f"{repo} has another name now", "next: git remote set-url origin <new URL>")
    if status in (403, 404):
        fix = f"next: give the token access to it ({RIGHTS})"
        return error(f"the token does not see {repo} ({status})", fix)
    return warning(f"{api_url} answers {status}", "next: try again later")


def _classic(found: _Repository, scopes: set[str]) -> Checked:
    """A classic token: its scopes and its person's rights, whichever is less."""
    shown = ", ".join(sorted(scopes)) or "none"
    if not scopes & {"repo", "public_repo"}:
        fix = "next: make one with the scope `repo`, better: one for this repository alone"
        return error(f"scopes of the token: {shown}; expected repo", fix)
    if not (found.permissions and found.permissions.push):
        fix = "next: ask an owner for the role Write"
        return error(f"its person may not write to {found.full_name}", fix)
    fix = "a check run needs an App or the Actions token; a commit status is used instead"
    return warning(f"a classic token with scopes {shown} that may write to {found.full_name}", fix)


def check_clock(machine: Machine, api_url: str, *, asked: bool) -> Checked:
    """This machine's time is GitHub's: tokens of Apps and TLS depend on it."""
    if not asked:
        return skipped("the repository is at no git host")
    answer = machine.ask("GET", f"{api_url}/rate_limit", asking(None))
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
        off_s = (machine.now() - theirs).total_seconds()
    except (KeyError, ValueError, TypeError):
        return skipped(f"{urlsplit(api_url).netloc} does not tell its time")
    found = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} {urlsplit(api_url).netloc}"
    if abs(off_s) > MUCH_S:
        return error(found, SET_CLOCK)
    return warning(found, SET_CLOCK) if abs(off_s) > LITTLE_S else ok(found)


def check_webhook(machine: Machine, url: str | None) -> Checked:
    """The bot can be reached, and refuses what is not signed by GitHub."""
    if url is None:
        return skipped("no --webhook URL")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        return error(f"{url[:100]!r} is no URL", "expected: https://host/webhook")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "lora-ci-doctor",
        "X-GitHub-Delivery": "00000000-0000-0000-0000-000000000000",
        "X-GitHub-Event": "ping",
        "X-Hub-Signature-256": "sha256=" + "0" * 64,
    }
    answer = machine.ask("POST", url, headers, PING)
    if answer.status == 401:
        return ok("it answers, and refuses a wrong signature (401)")
    if answer.status < 300:
        fix = "next: give lora-ci serve its webhook secret; is it lora-ci at all?"
        return error(f"it takes a wrong signature ({answer.status})", fix)
    return error(f"it answers {answer.status}; expected 401", _todo(answer))


def _todo(answer: Answer) -> str:
    if answer.status in (404, 405):
        return "next: does the URL end in /webhook?"
    if answer.status in (502, 503, 504):
        return "next: does lora-ci serve run behind the proxy?"
    return "next: look into the log of lora-ci serve and of the proxy"


def asking(token: str | None) -> Mapping[str, str]:
    """Headers of a question to GitHub."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "lora-ci-doctor"}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def repository_name(remote_url: str) -> str | None:
    """`owner/name` of a remote's URL; None for what is at no host."""
    url = remote_url.strip().removesuffix("/").removesuffix(".git")
    found = re.fullmatch(r"(?:(?:https?|ssh)://(?:[^/@]*@)?[^/@]+/|[^/@]+@[^/:]+:)(.+)", url)
    return found[1] if found and NAME.fullmatch(found[1]) else None
