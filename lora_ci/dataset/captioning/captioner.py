"""What says in words what pictures show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_ci.diffusion.request import Picture

# Longer ones are cut: no caption needs so many characters, and a lock keeps them all.
MOST_SAID = 4000


class Captioner(Protocol):
    """A model that is open."""

    def caption(self, pictures: Sequence[Picture]) -> Sequence[str]:
        """What each picture [height, width, 3] shows, in their order.

        Raises:
            InputError: the model fails on a picture.
            InfrastructureError: it cannot work, or its answer is none.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionModel:
    """A model as provenance knows it; it is opened when there is something to say.

    `revision` is an id of its content, `prompt` empty where it takes none.
    """

    id: str
    revision: str
    prompt: str
    opener: Callable[[], Captioner]

    @property
    def asked(self) -> tuple[str, str, str]:
        """All that its words depend on, beside the picture."""
        return self.id, self.revision, self.prompt
