"""A checked dataset → a page of it, with small copies of the pictures inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lora_ci.dataset.gallery import arrange
from lora_ci.dataset.page import render_dataset
from lora_ci.dataset.validate import Validation
from lora_ci.dataset.worker import preview_files

# All pictures of a page together; as text in the page they take a third more.
PAGE_BYTES = 8_000_000
MOST_PICTURES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page, and how many pictures of the dataset stand in it."""

    html: str
    shown: int


def show_dataset(
    name: str,
    validation: Validation,
    *,
    most: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Page:
    """The page of a folder called `name`, with at most `most` of its pictures.

    Its files must still be there, and only those shown are decoded. The names of files in findings
    must be relative to the dataset. Raises InfrastructureError if no process can decode.
    """
    gallery = arrange(validation, most)
    files = {
        card.measured.sha256: (card.measured.path, card.measured.sha256)
        for card in gallery.cards
        if card.measured.hashes is not None
    }
    made = preview_files(
        list(files.values()),
        PAGE_BYTES // max(1, len(files)),
        lambda done: progress(done, len(files)),
    )
    previews = {key: small for key, small in zip(files, made, strict=True) if small}
    html = render_dataset(name, validation, gallery, previews)
    return Page(html=html, shown=len(gallery.own))
