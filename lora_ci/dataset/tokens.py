"""The tokenizers of a base model: how long a caption is for it, what it does not read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of Stable Diffusion and the first of SDXL and FLUX; the second of those.
FOLDERS = ("tokenizer", "tokenizer_2")
# FluxPipeline's `max_sequence_length`, whatever the tokenizer of its T5 says.
MOST_T5_TOKENS = 512
# transformers writes 10^30 for a tokenizer without a limit.
MOST_TOKENS = 100_000
AT_ONCE = 1024
# A smaller vocabulary was learned from little text: what is a word of it need not be common.
MIN_VOCABULARY = 10_000
# The vocabularies are sorted, the commonest first. Of CLIP's 49,408 `woman` is 5 % down, `teapot`
# 82 %, `ohwx` and `sks`, which people take because they mean little, 97 %.
RARE = 0.9
# How openai/clip splits text: https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py
CLIP_ENDING = r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d" + CLIP_ENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokenizer:
    """One tokenizer; `limit` is how many tokens the model reads, the ends left out.

    Where it sees `words_apart`, a text has as many tokens as its words have: each is counted once.
    """

    name: str
    limit: int | None
    of_t5: bool
    words_apart: bool
    engine: Any

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, the ends left out."""
        if not self.words_apart:
            return self._lengths(texts)
        words = list({word for text in texts for word in text.split(" ")})
        known = dict(zip(words, self._lengths(words), strict=True))
        return [sum(map(known.__getitem__, text.split(" "))) for text in texts]

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        lengths: list[int] = []
        for start in range(0, len(texts), AT_ONCE):
            part = texts[start : start + AT_ONCE]
            encoded = self.engine.encode_batch_fast(part, add_special_tokens=False)
            lengths += [len(one.ids) for one in encoded]
        return lengths

    def end_of_read(self, text: str, limit: int) -> int:
        """The place in the text where the first token begins that is not read."""
        offsets = self.engine.encode(text, add_special_tokens=False).offsets
        return int(offsets[limit][0]) if len(offsets) > limit else len(text)

    def is_common(self, phrase: str) -> bool:
        """True if each word of it is one token that is not among the rare ones.

        What such a word means to the model stands against what it shall learn to mean.
        """
        size = self.engine.get_vocab_size()
        tokens = [self.engine.encode(w, add_special_tokens=False).ids for w in phrase.split()]
        return size >= MIN_VOCABULARY and all(
            len(ids) == 1 and ids[0] < RARE * size for ids in tokens
        )


def read_tokenizers(base_model: Path | None) -> tuple[TextTokenizer, ...]:
    """Those that decide what of a caption is read; () if there is none, or none to be read.

    With a T5 that is the T5 alone: CLIP's text then is one vector beside it (FLUX).
    """
    if base_model is None:
        return ()
    found = list(_read(base_model))
    return tuple([one for one in found if one.of_t5] or found)


def _read(base_model: Path) -> Iterator[TextTokenizer]:
    seen = set()
    for name in FOLDERS:
        folder = base_model / name
        engine = _engine(folder)
        if engine is None:
            continue
        config = _config(folder)
        of_t5 = "T5" in str(config.get("tokenizer_class"))
        limit = _told_limit(config, of_t5)
        if limit is not None:
            limit = max(1, limit - len(engine.encode("").ids))
        # Those of SDXL have the same words; counting twice would tell nothing more.
        key = (limit, engine.get_vocab_size(), tuple(engine.encode(SAMPLE).ids))
        if key not in seen:
            seen.add(key)
            yield TextTokenizer(
                name=name,
                limit=limit,
                of_t5=of_t5,
                words_apart=CLIP_ENDING in _pieces(engine),
                engine=engine,
            )


def _pieces(engine: Any) -> str:
    """The pattern by which a tokenizer of CLIP's kind splits texts, where no piece has a blank."""
    splitter = json.loads(engine.pre_tokenizer.__getstate__() if engine.pre_tokenizer else b"{}")
    first: dict[str, Any] = next(iter(splitter.get("pretokenizers", ())), {})
    return str(first.get("pattern", {}).get("Regex", "")) if first.get("invert") else ""


def _told_limit(config: dict[str, Any], of_t5: bool) -> int | None:
    """How many tokens are read, the ends included; None if nobody tells."""
    told = config.get("model_max_length")
    if not isinstance(told, int | float) or not 0 < told < MOST_TOKENS:
        return MOST_T5_TOKENS if of_t5 else None
    return min(int(told), MOST_T5_TOKENS) if of_t5 else int(told)


SAMPLE = "An orangutan's 12 bright-red kiwis, photographed at dusk (35mm); ünlike #anything"


def _engine(folder: Path) -> Any:
    """None if there are no files, or they cannot be read."""
    try:
        from tokenizers import Tokenizer

        if (folder / "tokenizer.json").is_file():
            engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif (folder / "merges.txt").is_file():
            engine = _clip(folder)
        else:
            return None
        engine.no_padding()
        engine.no_truncation()
        engine.encode(SAMPLE)
    except Exception:  # noqa: BLE001 - the library raises bare Exception for unreadable files
        return None
    return engine


def _clip(folder: Path) -> Any:
    """CLIP's own from the two files that Stable Diffusion and SDXL come with."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    words: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
    lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    pairs = (line.split(" ") for line in lines if line and not line.startswith("#version"))
    merges = [(one, other) for one, other in pairs]
    begin, end = "<|startoftext|>", "<|endoftext|>"
    engine = Tokenizer(
        models.BPE(
            vocab=words,
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=end,
            continuing_subword_prefix="",
        )
    )
    engine.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    engine.post_processor = processors.RobertaProcessing((end, words[end]), (begin, words[begin]))
    return engine


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def lost_words(text: str, end: int) -> list[str]:
    """The words of a text that stand behind what is read; one that is cut is lost."""
    while 0 < end < len(text) and re.match(r"\w\w", text[end - 1 : end + 1]):
        end -= 1
    return re.findall(r"\w[\w'-]*", text[end:])
