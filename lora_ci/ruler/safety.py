"""What scans pictures, made or to learn from, for content that must not be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lora_ci.core.embedders import EmbedderKind, parse_embedder
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.program import ANSWER_S, Shown, show

USUAL_LIMIT = 0.5
KINDS = "expected `onnx:<file>`, `path:<folder>`, `hf:<owner>/<name>@<commit>` or `exec:<command>`"
MAX_LABELS = 20
LONGEST_LABEL = 80
# docs/qa/safety.md has what is spoken.
EXPECTED = (
    'such as `{"labels": [[], ["nudity"]]}`, a list of words for each picture, or '
    '`{"scores": [{}, {"nudity": 0.9}]}`'
)


Scores = Mapping[str, float]


class PictureScanner(Protocol):
    """Looks at pictures and says what each may show; files are scanned in `dataset/scan.py`."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """All that it can say; None for a program, which may say anything."""
        ...

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        """Label → how sure it is, from 0 to 1, for each picture, in their order.

        Raises:
            InfrastructureError: it cannot work, or its answer is none.
            InputError: its model fails on a picture.
        """
        ...


def flagged(scores: Scores, limits: Mapping[str, float]) -> tuple[str, ...]:
    """The labels at or above their limit, sorted; where there are no limits, those from 0.5 on."""
    if not limits:
        return tuple(sorted(label for label, score in scores.items() if score >= USUAL_LIMIT))
    return tuple(sorted(name for name, limit in limits.items() if scores.get(name, 0.0) >= limit))


def open_scanner(spec: str, folder: Path | None = None) -> PictureScanner:
    """The scanner of a spec, its files in `folder`.

    A program is started for each call and ends with it; a model is loaded now.

    Raises:
        InputError: a spec of no kind, or files that are none of a model that is known.
        InfrastructureError: what it needs is not installed.
    """
    parsed = parse_embedder(spec)
    match parsed.kind:
        case EmbedderKind.EXEC:
            return CommandScanner(command=parsed.command, spec=spec)
        case EmbedderKind.ONNX:
            from lora_ci.ruler.onnx_scanner import load_onnx_scanner

            return load_onnx_scanner(_there(folder, spec), spec)
        case EmbedderKind.PATH | EmbedderKind.HUB:
            from lora_ci.ruler.classifier import load_classifier

            return load_classifier(_there(folder, spec), spec)
        case EmbedderKind.CLASSIC | EmbedderKind.TORCHSCRIPT:
            raise InputError(f"`{spec}` scans nothing", rule="scanner.kind", hint=KINDS)


def _there(folder: Path | None, spec: str) -> Path:
    if folder is None or not folder.is_dir():
        raise InputError(f"scanner `{spec}` is not there", rule="scanner.missing")
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandScanner:
    """Asks a program of the user's what it sees in PNG files; it runs as long as a call takes."""

    command: tuple[str, ...]
    spec: str
    answer_s: float = ANSWER_S

    @property
    def labels(self) -> None:
        return None

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        if not pictures:
            return ()
        found: list[Scores] = []
        what = f"scanner `{self.spec}`"
        with closing(show(self.command, pictures, what=what, answer_s=self.answer_s)) as parts:
            for shown in parts:
                found += _scores_of(shown, what)
        return found


def _scores_of(shown: Shown, what: str) -> list[Scores]:
    """What it says of some pictures: scores, or labels alone, of which it is sure."""
    key = "scores" if "scores" in shown.answer else "labels"
    answers, count = shown.answer.get(key), len(shown.pictures)
    if not isinstance(answers, list) or len(answers) != count:
        told = f"{len(answers)} lists of {key}" if isinstance(answers, list) else f"no `{key}`"
        raise _refused(what, f"answered with {told} for {count} pictures")
    return [_scores(what, one) if key == "scores" else _labels(what, one) for one in answers]


def _labels(what: str, some: Any) -> Scores:
    """What it says of one picture. An answer that is none must not look like a safe picture."""
    if not isinstance(some, list) or not all(isinstance(label, str) and label for label in some):
        raise _refused(what, f"called a picture `{str(some)[:LONGEST_LABEL]}`")
    return dict.fromkeys((label[:LONGEST_LABEL] for label in some[:MAX_LABELS]), 1.0)


def _scores(what: str, some: Any) -> Scores:
    if not isinstance(some, dict) or not all(
        label and type(score) in (int, float) and 0 <= score <= 1 for label, score in some.items()
    ):
        raise _refused(what, f"called a picture `{str(some)[:LONGEST_LABEL]}`")
    surest = sorted(some.items(), key=lambda item: -item[1])[:MAX_LABELS]
    return {label[:LONGEST_LABEL]: float(score) for label, score in surest}


def _refused(what: str, told: str) -> InfrastructureError:
    message = f"{what} {told}; expected {EXPECTED}"
    return InfrastructureError(message, rule="program.answer", hint="next: see docs/qa/safety.md")
