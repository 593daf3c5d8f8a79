"""Under which license an embedder comes: its setting, its card, or what is known of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lora_ci.core.embedders import EmbedderKind, EmbedderSpec
from lora_ci.core.errors import InputError
from lora_ci.core.licenses import spdx_id, why_not_commercial

OURS = "Apache-2.0"
CARD = "README.md"
MAX_CARD_BYTES = 1 << 20
MARK = "---"
# Names on the hub, by how they begin → license of the weights. For cards that do not say it.
KNOWN = {
    # https://github.com/openai/CLIP/blob/main/LICENSE
    "openai/clip-vit-": "MIT",
    # https://huggingface.co/google/siglip-base-patch16-224
    "google/siglip-": "Apache-2.0",
    # https://huggingface.co/google/siglip2-base-patch16-224
    "google/siglip2-": "Apache-2.0",
    # https://github.com/facebookresearch/dinov2/blob/main/LICENSE
    "facebook/dinov2-": "Apache-2.0",
    # https://ai.meta.com/resources/models-and-libraries/dinov3-license/
    "facebook/dinov3-": "LicenseRef-dinov3-license",
}


def find_license(spec: EmbedderSpec, folder: Path | None, setting: str | None) -> str | None:
    """The SPDX id of an embedder's license, `LicenseRef-…` for one that SPDX does not know.

    `setting` is `qa.embedder_license`, which is believed. None if nothing says it.
    """
    if spec.kind is EmbedderKind.CLASSIC:
        return OURS
    if setting is not None:
        return spdx_id(setting)
    found = card_license(folder) if folder is not None else None
    if found is None and spec.hub is not None:
        name = spec.hub[0]
        found = next((known for start, known in KNOWN.items() if name.startswith(start)), None)
    return found


def card_license(folder: Path) -> str | None:
    """What the card of a model says: `license` in the YAML at the top of its README.md.

    Source: https://huggingface.co/docs/hub/model-cards#model-card-metadata
    """
    front = _front_matter(folder / CARD)
    named = front.get("license")
    if isinstance(named, list) and len(named) == 1:
        named = named[0]
    if not isinstance(named, str) or named.lower() in ("", "unknown"):
        return None
    if named.lower() == "other":
        name = front.get("license_name")
        return f"LicenseRef-{name}" if isinstance(name, str) and name else "LicenseRef-other"
    return spdx_id(named)


def check_license(spec: str, license_id: str | None, policy: str) -> None:
    """Refuses an embedder that `license_policy: commercial` does not allow. Raises InputError."""
    if policy != "commercial":
        return
    if problem := why_not_commercial(license_id):
        message = f"embedder `{spec}`: `license_policy: commercial` refuses it: {problem}"
        hint = (
            "next: give its SPDX id as `qa.embedder_license`, or use one of an open license: "
            "CLIP and SigLIP of their authors, DINOv2, or `classic:`"
        )
        raise InputError(message, rule="embedder.license", hint=hint)


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the first two lines of `---`; empty where there is none."""
    try:
        with card.open("rb") as file:
            text = file.read(MAX_CARD_BYTES).decode(errors="replace")
    except OSError:
        return {}
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != MARK:
        return {}
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == MARK), None)
    if end is None:
        return {}
    try:
        front = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return front if isinstance(front, dict) else {}
