"""Captions: there, readable, with the trigger, short enough."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.finding import Finding
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.rules import finding

SUFFIXES = (".txt", ".caption")
MAX_BYTES = 64 * 1024
CONSTANT_SHARE = 0.8
MIN_FOR_CONSTANT = 8
STOP_WORDS = frozenset(
    {"a", "an", "the", "of", "in", "on", "at", "with", "and", "or", "to", "for", "by", "from"}
)

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """Texts by image name, and what is wrong with them."""

    texts: Mapping[str, str]
    findings: tuple[Finding, ...]


def read_captions(
    folder: Path, images: Iterable[str], names: frozenset[str], missing: frozenset[str]
) -> Captions:
    """The caption of each image; a file that DVC could not fetch is no missing caption."""
    texts: dict[str, str] = {}
    findings: list[Finding] = []
    used: set[str] = set()
    images = list(images)
    if images and not any(name.endswith(SUFFIXES) for name in names | missing):
        example = images[0].rpartition(".")[0] + ".txt"
        message = f"none of the {len(images)} images has a caption"
        hint = f"write a text file beside each, such as {example}"
        return Captions(texts={}, findings=(finding("caption.missing", message, hint=hint),))
    for image in images:
        stem = image.rpartition(".")[0]
        sidecars = [stem + suffix for suffix in SUFFIXES if stem + suffix in names | missing]
        used.update(sidecars)
        if not sidecars:
            hint = f"write {stem}.txt beside it"
            findings.append(finding("caption.missing", "no caption", file=image, hint=hint))
        elif sidecars[0] not in missing:
            text = _read(folder, sidecars[0], findings)
            if text is not None:
                texts[image] = text
    known_stems = {name.rpartition(".")[0] for name in missing}
    for name in sorted(names):
        stem = name.rpartition(".")[0]
        if name.endswith(SUFFIXES) and name not in used and stem not in known_stems:
            message = "a caption without an image"
            findings.append(finding("caption.orphan", message, file=name))
    return Captions(texts=texts, findings=tuple(findings))


def _read(folder: Path, name: str, findings: list[Finding]) -> str | None:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        findings.append(finding("caption.encoding", "not a regular file", file=name))
        return None
    if path.stat().st_size > MAX_BYTES:
        message = f"{path.stat().st_size} bytes; at most {MAX_BYTES} are read"
        findings.append(finding("caption.too-large", message, file=name))
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        message = f"not UTF-8 (byte {error.start})"
        hint = "save the file as UTF-8"
        findings.append(finding("caption.encoding", message, file=name, line=line, hint=hint))
        return None
    if not text.strip():
        findings.append(finding("caption.empty", "an empty caption", file=name, line=1))
        return None
    return text.strip()


def check_captions(
    texts: Mapping[str, str], trigger: str, settings: ValidateSettings, count: CountTokens | None
) -> list[Finding]:
    """Trigger and length of each caption, and words that nearly all of them share."""
    findings = []
    pattern = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    for image, text in texts.items():
        file = image.rpartition(".")[0] + ".txt"
        times = len(pattern.findall(text))
        if times == 0:
            message = f"the caption does not contain the trigger `{trigger}`"
            hint = f"write `{trigger}` into it, or set `trigger:` in .lora-ci.yml"
            findings.append(
                finding("caption.trigger-missing", message, file=file, line=1, hint=hint)
            )
        elif times > 1:
            message = f"the trigger `{trigger}` stands {times} times"
            findings.append(finding("caption.trigger-repeated", message, file=file, line=1))
        if count and (tokens := count(text)) > settings.max_tokens:
            message = f"{tokens} tokens; the base model reads {settings.max_tokens}"
            hint = "what comes after is not learned: shorten it"
            findings.append(finding("caption.too-long", message, file=file, line=1, hint=hint))
    if count is None and texts:
        message = "caption lengths were not measured: the base model has no readable tokenizer"
        findings.append(finding("caption.length-not-measured", message))
    return [*findings, *_constant_words(texts, trigger)]


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """In how many captions each word stands."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"\w+", text.lower())) - STOP_WORDS)
    return counts


def _constant_words(texts: Mapping[str, str], trigger: str) -> list[Finding]:
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
        for word, times in word_counts(texts.values()).most_common(5)
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
