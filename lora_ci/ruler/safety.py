"""What scans generated pictures for content that must not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lora_ci.diffusion.request import Picture


class Scanner(Protocol):
    """Looks at pictures and names what is wrong with each."""

    def scan(self, pictures: Sequence[Picture]) -> Sequence[tuple[str, ...]]:
        """One tuple of labels a picture, in their order; () for a safe one."""
        ...
