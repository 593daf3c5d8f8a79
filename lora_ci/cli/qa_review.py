"""`lora-ci qa review`: a page on this machine where a person chooses between pictures, blind."""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import secrets
import socket
import subprocess
import webbrowser
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.qa_state import add_state_arguments, open_kept
from lora_ci.core.errors import ExitCode, InfrastructureError, LoraCIError, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.votes import Choice
from lora_ci.store.store import ArtifactStore

if TYPE_CHECKING:
    from lora_ci.app.judged import Judged
    from lora_ci.cli.qa_state import Kept
    from lora_ci.core.run import VoteCount
    from lora_ci.qa.blind import Blind
    from lora_ci.web.desk import Desk, Session
    from lora_ci.web.review import Review

LONGEST_NAME = 64
MOST_REFERENCES = 8
# Half of what a browser can count with, and what every database keeps.
MOST_SEED = 2**52
PACKAGES = ("flask", "waitress")
TOKEN_BYTES = 16
GIT_TIMEOUT_S = 10
EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - names, not a choice
EVERYBODY = Finding(
    rule="review.everybody",
    severity=Severity.WARNING,
    message="whoever can reach this machine and has the address can vote under your name; pictures "
    "and votes go over the network unencrypted",
    hint="next: leave --host out, and reach it through ssh -L",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which judgement, who is asked, and where the page is."""
    parser.add_argument("lora", nargs="?", help="LoRA (default: the one of the newest run)")
    parser.add_argument("--run", dest="run_id", metavar="ID", help="run (default: the newest)")
    parser.add_argument(
        "--voter",
        metavar="NAME",
        help="who votes; kept with each vote (default: git's user.name, else the login)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (0: any free one)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_state_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Serves the page until Ctrl-C; every vote is kept at once. Then says what was chosen."""
    check_options(args)
    voter = voter_of(args.voter, args.repo)
    from lora_ci.app.judged import newest_judged
    from lora_ci.app.votes import count_votes
    from lora_ci.web.desk import Desk, Session

    kept = open_kept(args)
    try:
        judged = newest_judged(kept.ledger, lora=args.lora, run_id=args.run_id)
        blind = shown(judged, kept.store, output)
        session = Session(
            fingerprint=judged.fingerprint,
            lora=judged.lora,
            voter=voter,
            seed=secrets.randbelow(MOST_SEED),
        )
        desk = Desk(session, blind.pairs, kept.ledger)
        review = review_of(desk, blind, judged.lora, kept.store, name_of(args.host))
        serve(args, review, output)
        votes = kept.ledger.votes(judged.fingerprint)
        tell(judged, session, desk, count_votes(votes, judged.result) if votes else None, output)
        page = renew_report(args.state, judged.run_id, kept) if args.state and votes else None
        if votes:
            output.note(f"next: {page or f'lora-ci report {judged.run_id}'} shows it with the rest")
    finally:
        kept.ledger.close()
    return ExitCode.PASSED


def check_options(args: argparse.Namespace) -> None:
    """Raises UsageError for what cannot be served."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        hint = "next: pip install 'lora-ci[serve]'"
        raise UsageError(f"not installed: {', '.join(absent)}", hint=hint)
    if not 0 <= args.port < 65536:
        raise UsageError(f"--port {args.port} is no port", hint="next: --port 8080")


def voter_of(given: str | None, repo: Path) -> str:
    """The name that stands with the votes. Raises UsageError."""
    name = given if given is not None else git_name(repo) or login()
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        message = f"{name[:80]!r} is no name: expected 1 to {LONGEST_NAME} printable characters"
        raise UsageError(message, hint="next: --voter ann")
    return name


def git_name(repo: Path) -> str:
    """Who commits here, as git knows it; empty where it does not."""
    try:
        asked = ["git", "-C", str(repo), "config", "user.name"]
        done = subprocess.run(asked, capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip()


def login() -> str:
    """Who is logged in; empty where the machine does not know."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def shown(judged: Judged, store: ArtifactStore, output: Output) -> Blind:
    """The pairs of a judgement whose pictures are there; tells of others. Raises UsageError."""
    from lora_ci.qa.blind import blind_of

    found = blind_of(judged.result)
    pairs = tuple(p for p in found.pairs if is_png(store, p.new) and is_png(store, p.other))
    where = f"{judged.lora} in run {judged.run_id}"
    gone = len(found.pairs) - len(pairs)
    if not pairs:
        why = f"{gone} are not in the store" if gone else "the judgement kept none"
        hint = "next: lora-ci qa run, which makes them anew"
        raise UsageError(f"{where}: there are no pictures to compare; {why}", hint=hint)
    if gone:
        output.note(f"{where}: {gone} of {len(found.pairs)} pairs are left out: not in the store")
    references = (sha256 for sha256 in found.references if is_png(store, sha256))
    few = tuple(islice(references, MOST_REFERENCES))
    return replace(found, pairs=pairs, references=few)


def is_png(store: ArtifactStore, sha256: str) -> bool:
    """True for a picture that is there, whole, and can be shown."""
    return size_of(store, sha256) is not None


def size_of(store: ArtifactStore, sha256: str) -> tuple[int, int] | None:
    """Width and height of a picture."""
    from lora_ci.report.picture import png_size

    try:
        with store.get(sha256).open("rb") as file:
            return png_size(file.read(64))
    except (LoraCIError, OSError):
        return None


def review_of(desk: Desk, blind: Blind, lora: str, store: ArtifactStore, host: str) -> Review:
    """What the page is made of, under an address that nobody can guess."""
    from lora_ci.web.review import Review
    from lora_ci.web.review_page import SMALL_PIXELS, Question

    size = size_of(store, blind.pairs[0].new) or (SMALL_PIXELS, SMALL_PIXELS)
    question = Question(
        trigger=blind.trigger or lora,
        references=len(blind.references),
        small=max(size) < SMALL_PIXELS,
    )
    return Review(
        desk=desk,
        store=store,
        question=question,
        references=blind.references,
        against=blind.pairs[0].against,
        token=secrets.token_urlsafe(TOKEN_BYTES),
        host=host,
    )


def serve(args: argparse.Namespace, review: Review, output: Output) -> None:
    """Answers the browser until a signal. Raises InfrastructureError."""
    from lora_ci.web.review import create_review, open_review_server

    try:
        server, port = open_review_server(create_review(review), args.host, args.port)
    except OSError as error:
        message = f"{args.host}:{args.port}: {error.strerror or error}"
        raise InfrastructureError(message, hint="next: --port 0, or ss -ltnp") from error
    if not is_local(args.host):
        output.findings([EVERYBODY])
    name = f"[{review.host}]" if ":" in review.host else review.host
    address = f"http://{name}:{port}/{review.token}/"
    try:
        # The server returns on a signal, and one that comes before it runs ends it as well.
        with suppress(KeyboardInterrupt):
            # Told however quiet it is to be: nobody can guess it.
            output.fault(f"open {address} in a browser; Ctrl-C ends it")
            if args.open:
                webbrowser.open(address)
            server.run()
    finally:
        server.close()


def name_of(host: str) -> str:
    """What browsers call the machine that listens on an address."""
    return socket.gethostname() if host in EVERY_ADDRESS else host


def is_local(host: str) -> bool:
    """True if only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def renew_report(state: Path, run_id: str, kept: Kept) -> Path | None:
    """Writes the report of a judged file again, with the votes; where it is, None if nowhere."""
    from lora_ci.app.report_files import PAGE, write_report
    from lora_ci.app.votes import with_votes

    newest, view = kept.ledger.recent_runs(1), kept.ledger.load_view(run_id)
    page = state / PAGE
    if view is None or newest[0].id != run_id or not page.is_file():
        return None
    write_report(with_votes(view, kept.ledger), kept.store, state)
    return page


def tell(
    judged: Judged, session: Session, desk: Desk, total: VoteCount | None, output: Output
) -> None:
    """What this person chose, and what all have chosen on the judgement."""
    mine, state = desk.result(), desk.state()
    lines = [
        f"{judged.lora} in run {judged.run_id}: {session.voter} chose on {state.voted} of "
        f"{state.total} pairs: {mine[Choice.NEW]} new, {mine[Choice.OTHER]} other, "
        f"{mine[Choice.NONE]} no difference"
    ]
    if state.voted < state.total:
        lines.append("the same command goes on where it stopped")
    if total:
        lines.append(agreement_text(total))
    value = {
        "run": judged.run_id,
        "lora": judged.lora,
        "fingerprint": judged.fingerprint,
        "voter": session.voter,
        "pairs": state.total,
        "chose": {str(choice): mine[choice] for choice in Choice},
        "all": total,
    }
    output.result("\n".join(lines), value, schema="qa-review")


def agreement_text(total: VoteCount) -> str:
    """How far all people agree with the judge, in a line."""
    told = f"all votes: {total.count}; agreement with the judge"
    if total.kappa is None:
        return f"{told}: not defined (no pair on which both prefer one, or one choice only)"
    ends = "interval unknown"
    if total.kappa_low is not None and total.kappa_high is not None:
        ends = f"{total.kappa_low:.2f} to {total.kappa_high:.2f}"
    return f"{told}: kappa {total.kappa:.2f} ({ends})"
