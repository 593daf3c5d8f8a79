"""The pictures of a run, as small as a page of few megabytes needs them."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from lora_ci.app.announce import note_of
from lora_ci.core.errors import LoraCIError
from lora_ci.core.finding import Finding
from lora_ci.core.run import RunView
from lora_ci.core.step import Stage
from lora_ci.report.figures import counted, size
from lora_ci.report.picture import Preview, as_it_is, shrunk
from lora_ci.report.reason import details_of, result_of
from lora_ci.report.samples import shown_samples
from lora_ci.store.store import ArtifactStore

# All pictures of a page together; as text in the page they take a third more.
PAGE_BYTES = 2_000_000
# Where there are very many, the first ones are still to be recognized; the rest is left out.
LEAST_BYTES = 2_000
FILE_BYTES = 64 << 20


def page_previews(view: RunView, store: ArtifactStore, notes: list[Finding]) -> dict[str, Preview]:
    """Previews by sha256 of what a page shows, within `PAGE_BYTES`; notes what is left out."""
    shown = {lora: tuple(dict.fromkeys(shown_pictures(view, lora))) for lora in view.loras()}
    # A picture of two LoRAs (of the base, say) is shown once for both.
    to_come = len({sha256 for digests in shown.values() for sha256 in digests})
    room = PAGE_BYTES
    seen: dict[str, Preview | None] = {}
    for lora, digests in shown.items():
        for sha256 in digests:
            if sha256 in seen:
                continue
            fair = max(LEAST_BYTES, room // to_come)
            seen[sha256] = made = _preview(store, sha256, min(room, fair))
            to_come -= 1
            room -= len(made.data) if made else 0
        left_out = sum(seen[sha256] is None for sha256 in digests)
        if left_out:
            message = (
                f"{counted(left_out, 'picture')} of {lora} left out of the report: not in the "
                f"store, no PNG, or beyond the {size(PAGE_BYTES)} that a page may hold"
            )
            notes.append(note_of("publish.picture", message))
    return {sha256: preview for sha256, preview in seen.items() if preview}


def shown_pictures(view: RunView, lora: str) -> Iterator[str]:
    """Digests of the pictures of a LoRA, those that judge it first; empty for one not kept."""
    steps = view.of(lora)
    qa, trained = result_of(steps, Stage.QA), result_of(steps, Stage.TRAIN)
    digests = {a.name: a.sha256 for a in qa.artifacts} if qa else {}
    found = details_of(steps)[Stage.QA]
    for exhibit in found.pictures:
        yield digests.get(exhibit.artifact, "")
    for pair in found.pairs:
        yield digests.get(pair.artifact, "")
        yield digests.get(pair.twin, "")
    for result in (trained, *(step.result for step in view.shards(lora))):
        if result:
            yield from (sample.sha256 for sample in shown_samples(result))


def _preview(store: ArtifactStore, sha256: str, most_bytes: int) -> Preview | None:
    png = read_png(store, sha256, FILE_BYTES)
    original = as_it_is(png)
    if original is None or (original.small and len(png) <= most_bytes):
        return original
    return shrink(png, most_bytes)


def read_png(store: ArtifactStore, sha256: str, most_bytes: int) -> bytes:
    """The bytes of a picture; none where there are none to be shown."""
    try:
        path = store.get(sha256)
        return path.read_bytes() if path.stat().st_size <= most_bytes else b""
    except (LoraCIError, OSError):
        return b""


def shrink(png: bytes, most_bytes: int) -> Preview | None:
    """The best preview within so many bytes; None where there is none, or the PNG is broken."""
    from PIL import Image

    try:
        with Image.open(BytesIO(png), formats=("PNG",)) as file:
            shown = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return shrunk(shown, most_bytes)
