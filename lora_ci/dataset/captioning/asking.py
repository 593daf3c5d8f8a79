"""What models say of pictures: each is opened in turn, for what it has not said before."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError
from lora_ci.dataset.build_features import Progress
from lora_ci.dataset.captioning.captioner import MOST_SAID, CaptionModel
from lora_ci.dataset.captioning.heard import Heard
from lora_ci.dataset.captioning.lock import Entry, SaidBy
from lora_ci.dataset.captioning.whose import Picture
from lora_ci.dataset.decode import UnreadableError, read_file
from lora_ci.dataset.files import shown
from lora_ci.dataset.normalise import open_upright
from lora_ci.diffusion.request import Picture as Pixels

# The longer side of a picture as models see it, in pixels, and how many they are given at once.
SEEN_SIDE = 1024
SEEN_AT_ONCE = 8


def ask(
    folder: Path,
    models: Sequence[CaptionModel],
    pictures: Sequence[Picture],
    lock: Mapping[str, Entry],
    *,
    cache: Path | None,
    progress: Progress,
) -> dict[str, tuple[SaidBy, ...]]:
    """What each model says of each picture, by its sha256; of what the lock knows none is asked.

    Raises InputError and InfrastructureError as captioners do.
    """
    found: dict[str, list[SaidBy]] = {picture.sha256: [] for picture in pictures}
    for model in models:
        new: dict[str, Picture] = {}
        for picture in pictures:
            entry = lock.get(picture.sha256)
            known = [one for one in entry.models if one.asked == model.asked] if entry else []
            if not known:
                new[picture.sha256] = picture
            elif known[0] not in found[picture.sha256]:
                found[picture.sha256].append(known[0])
        heard = Heard(cache=cache, model=model.asked)
        _listen(folder, model, list(new.values()), heard, progress)
        for sha256 in new:
            text = heard.get(sha256)
            if text is None:
                raise AssertionError(f"nothing was said of {sha256}")
            found[sha256].append(
                SaidBy(id=model.id, revision=model.revision, prompt=model.prompt, said=text)
            )
    return {
        sha256: tuple(sorted(some, key=lambda one: one.asked)) for sha256, some in found.items()
    }


def _listen(
    folder: Path,
    model: CaptionModel,
    pictures: Sequence[Picture],
    heard: Heard,
    progress: Progress,
) -> None:
    """Lets the model say what it has not said before. It is gone afterwards."""
    todo = [picture for picture in pictures if heard.get(picture.sha256) is None]
    if not todo:
        return
    captioner = model.opener()
    progress(model.id, 0, len(todo))
    for start in range(0, len(todo), SEEN_AT_ONCE):
        part = todo[start : start + SEEN_AT_ONCE]
        texts = captioner.caption([seen(folder, picture) for picture in part])
        for picture, text in zip(part, texts, strict=True):
            heard.put(picture.sha256, text[:MOST_SAID])
        progress(model.id, start + len(part), len(todo))
    del captioner
    # Two large models do not fit side by side, and what they hold is in cycles.
    gc.collect()


def seen(folder: Path, picture: Picture) -> Pixels:
    """The picture as people see it. Raises InputError if it changed meanwhile."""
    try:
        data = read_file(folder / picture.name)
        if sha256_bytes(data) != picture.sha256:
            raise UnreadableError("image.changed", "changed while it was captioned")
        upright = open_upright(data, about=SEEN_SIDE)
    except UnreadableError as error:
        message = f"{shown(picture.name)}: {error}"
        hint = "next: the same command again"
        raise InputError(message, rule=error.problem[0], file=picture.name, hint=hint) from error
    upright.thumbnail((SEEN_SIDE, SEEN_SIDE))
    return np.asarray(upright)
