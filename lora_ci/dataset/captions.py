"""Captions: there, readable, with the trigger, short enough."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.captions import (
    MAX_METADATA_BYTES,
    METADATA,
    SIDECARS,
    Caption,
    is_metadata,
    parse_metadata,
)
from lora_ci.core.finding import Finding
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.rules import finding

MAX_BYTES = 64 * 1024
CONSTANT_SHARE = 0.8
MIN_FOR_CONSTANT = 8
STOP_WORDS = frozenset(
    {"a", "an", "the", "of", "in", "on", "at", "with", "and", "or", "to", "for", "by", "from"}
)

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """Captions by image name, and what is wrong with them."""

    found: Mapping[str, Caption]
    findings: tuple[Finding, ...]

    @property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [caption.text for caption in self.found.values()]


def read_captions(
    folder: Path, images: Iterable[str], names: frozenset[str], missing: frozenset[str]
) -> Captions:
    """The caption of each image: from the text file beside it, else from a `metadata.jsonl`.

    A file that DVC could not fetch is no missing caption.
    """
    found: dict[str, Caption] = {}
    findings: list[Finding] = []
    used: set[str] = set()
    images, known = list(images), names | missing
    if images and not any(name.endswith(SIDECARS) or is_metadata(name) for name in known):
        example = images[0].rpartition(".")[0] + ".txt"
        message = f"none of the {len(images)} images has a caption"
        hint = f"write a text file beside each, such as {example}"
        return Captions(found={}, findings=(finding("caption.missing", message, hint=hint),))
    listed = _read_metadata(folder, names, findings)
    for image in images:
        stem = image.rpartition(".")[0]
        sidecars = [stem + suffix for suffix in SIDECARS if stem + suffix in known]
        used.update(sidecars)
        if sidecars:
            if sidecars[0] not in missing:
                text = _read(folder, sidecars[0], findings)
                if text is not None:
                    found[image] = Caption(text=text, file=sidecars[0], line=1)
        elif caption := listed.get(image):
            if caption.text:
                found[image] = caption
            else:
                message = f"an empty caption of {image}"
                findings.append(
                    finding("caption.empty", message, file=caption.file, line=caption.line)
                )
        elif not any(is_metadata(n) and _covers(n, image) for n in missing):
            hint = f"write {stem}.txt beside it"
            findings.append(finding("caption.missing", "no caption", file=image, hint=hint))
    return Captions(
        found=found, findings=(*findings, *_orphans(names, missing, used, listed, set(images)))
    )


def _covers(metadata: str, image: str) -> bool:
    """True if the file may have the caption of the image."""
    return image.startswith(metadata.removesuffix(METADATA))


def _read_metadata(
    folder: Path, names: frozenset[str], findings: list[Finding]
) -> Mapping[str, Caption]:
    """Captions by image name from every `metadata.jsonl`."""
    files = {}
    for name in sorted(filter(is_metadata, names)):
        data = _bytes(folder, name, MAX_METADATA_BYTES, findings)
        if data is not None:
            files[name] = data
    listed = parse_metadata(files)
    findings += listed.findings
    return listed.captions


def _orphans(
    names: frozenset[str],
    missing: frozenset[str],
    used: set[str],
    listed: Mapping[str, Caption],
    images: set[str],
) -> list[Finding]:
    """Captions without an image; one that DVC could not fetch counts as there."""
    known_stems = {name.rpartition(".")[0] for name in missing}
    findings = [
        finding("caption.orphan", "a caption without an image", file=name)
        for name in sorted(names)
        if name.endswith(SIDECARS)
        and name not in used
        and name.rpartition(".")[0] not in known_stems
    ]
    for image, caption in listed.items():
        if image not in images and image not in missing:
            message = f"a caption of {image}, which is not there"
            findings.append(
                finding("caption.orphan", message, file=caption.file, line=caption.line)
            )
    return findings


def _read(folder: Path, name: str, findings: list[Finding]) -> str | None:
    data = _bytes(folder, name, MAX_BYTES, findings)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"not UTF-8 (byte {error.start})"
        hint = "save the file as UTF-8"
        findings.append(finding("caption.encoding", message, file=name, line=line, hint=hint))
        return None
    if not text.strip():
        findings.append(finding("caption.empty", "an empty caption", file=name, line=1))
        return None
    return text.strip()


def _bytes(folder: Path, name: str, limit_bytes: int, findings: list[Finding]) -> bytes | None:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        findings.append(finding("caption.encoding", "not a regular file", file=name))
        return None
    if path.stat().st_size > limit_bytes:
        message = f"{path.stat().st_size} bytes; at most {limit_bytes} are read"
        findings.append(finding("caption.too-large", message, file=name))
        return None
    return path.read_bytes()


def check_captions(
    captions: Captions, trigger: str, settings: ValidateSettings, count: CountTokens | None
) -> list[Finding]:
    """Trigger and length of each caption, and words that nearly all of them share."""
    findings = []
    pattern = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    for caption in captions.found.values():
        text, file, line = caption.text, caption.file, caption.line
        times = len(pattern.findall(text))
        if times == 0:
            message = f"the caption does not contain the trigger `{trigger}`"
            hint = f"write `{trigger}` into it, or set `trigger:` in .lora-ci.yml"
            findings.append(
                finding("caption.trigger-missing", message, file=file, line=line, hint=hint)
            )
        elif times > 1:
            message = f"the trigger `{trigger}` stands {times} times"
            findings.append(finding("caption.trigger-repeated", message, file=file, line=line))
        if count and (tokens := count(text)) > settings.max_tokens:
            message = f"{tokens} tokens; the base model reads {settings.max_tokens}"
            hint = "what comes after is not learned: shorten it"
            findings.append(finding("caption.too-long", message, file=file, line=line, hint=hint))
    if count is None and captions.found:
        message = "caption lengths were not measured: the base model has no readable tokenizer"
        findings.append(finding("caption.length-not-measured", message))
    return [*findings, *_constant_words(captions.texts, trigger)]


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """In how many captions each word stands."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"\w+", text.lower())) - STOP_WORDS)
    return counts


def _constant_words(texts: list[str], trigger: str) -> list[Finding]:
    """Such words become part of the concept: the trigger will not be the only one to call it."""
    if len(texts) < MIN_FOR_CONSTANT:
        return []
    own = set(re.findall(r"\w+", trigger.lower()))
    return [
        finding(
            "caption.constant-word",
            f"`{word}` stands in {times} of {len(texts)} captions: it becomes part of the concept",
            hint="fine if you always prompt with it; else vary it",
        )
        for word, times in word_counts(texts).most_common(5)
        if times > CONSTANT_SHARE * len(texts) and word not in own
    ]


def token_counter(base_model: Path | None) -> CountTokens | None:
    """Counts tokens with the base model's own tokenizer, the two ends left out.

    None if there is no tokenizer file, or no library to read it.
    """
    if base_model is None:
        return None
    folder = base_model / "tokenizer"
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # noqa: BLE001 - the library raises bare Exception for unreadable files
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def tokenizer_limit(base_model: Path | None) -> int | None:
    """How many tokens the base model reads, the two ends left out; None if it does not say."""
    if base_model is None:
        return None
    try:
        config = json.loads((base_model / "tokenizer" / "tokenizer_config.json").read_text())
        return int(config["model_max_length"]) - 2
    except (OSError, ValueError, KeyError, TypeError):
        return None
