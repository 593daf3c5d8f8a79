"""A program of the user's as captioner; docs/dataset-captions.md has what is spoken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.program import ANSWER_S, Shown, show

EXPECTED = 'such as `{"captions": ["a cat on a mat"]}`, a text for each picture'


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCaptioner:
    """Asks the program what PNG files show; it runs as long as a call takes."""

    command: tuple[str, ...]
    spec: str
    answer_s: float = ANSWER_S

    def caption(self, pictures: Sequence[Picture]) -> Sequence[str]:
        if not pictures:
            return ()
        found: list[str] = []
        what = f"captioner `{self.spec}`"
        with closing(show(self.command, pictures, what=what, answer_s=self.answer_s)) as parts:
            for shown in parts:
                found += _captions(shown, what)
        return found


def _captions(shown: Shown, what: str) -> list[str]:
    """What it says of some pictures. Raises InfrastructureError for an answer that is none."""
    said, count = shown.answer.get("captions"), len(shown.pictures)
    if isinstance(said, list) and len(said) == count and all(isinstance(s, str) for s in said):
        return said
    told = f"{len(said)} captions" if isinstance(said, list) else "no `captions`"
    message = f"{what} answered with {told} for {count} pictures; expected {EXPECTED}"
    hint = "next: see docs/dataset-captions.md"
    raise InfrastructureError(message, rule="program.answer", hint=hint)
