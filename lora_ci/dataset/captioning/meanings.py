"""Words that mean the same, and words that exclude each other: small tables of English."""

from __future__ import annotations

import re

from lora_ci.dataset.vocabulary import STOP_WORDS
from lora_ci.dataset.wording import COLORS

ARTICLES = frozenset({"a", "an", "the"})
# Of one picture each model says at most one of a row; where it says more, it speaks of several.
EXCLUSIVE = {
    "posture": ("sitting", "standing", "lying", "kneeling", "crouching"),
    "place": ("indoors", "outdoors"),
    "time": ("day", "night"),
    "gender": ("woman", "man"),
}
# Said of a thing: `long hair` and `short hair` exclude each other, `long hair` and `short dress`
# do not.
ATTRIBUTES = {
    "length": ("long", "short"),
    "size": ("large", "small"),
    "age": ("old", "young"),
    "shade": ("light", "dark", "bright", "pale"),
}
SYNONYMS = {
    "girl": "woman", "lady": "woman", "female": "woman", "boy": "man", "guy": "man",
    "male": "man", "gentleman": "man", "kid": "child", "photograph": "photo", "puppy": "dog",
    "kitten": "cat", "automobile": "car", "bike": "bicycle", "sofa": "couch",
    "spectacles": "glasses", "eyeglasses": "glasses", "meadow": "field",
    "big": "large", "huge": "large", "little": "small", "tiny": "small", "elderly": "old",
    "seated": "sitting", "sits": "sitting", "stands": "standing", "laying": "lying",
    "lies": "lying", "squatting": "crouching", "indoor": "indoors",
    "outdoor": "outdoors", "daytime": "day", "nighttime": "night",
}  # fmt: skip
IRREGULAR = {
    "women": "woman", "men": "man", "children": "child", "people": "person", "mice": "mouse",
    "feet": "foot", "teeth": "tooth", "leaves": "leaf", "knives": "knife", "wolves": "wolf",
    "shelves": "shelf", "geese": "goose", "buses": "bus", "glasses": "glasses",
    "clothes": "clothes", "sunglasses": "sunglasses",
}  # fmt: skip
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1
    )
}
# Booru's tags count in the same word.
COUNTED = re.compile(r"(\d{1,2})\+?((?:girl|boy|other)s?)")
_SLOT_OF_EXCLUSIVE = {value: slot for slot, values in EXCLUSIVE.items() for value in values}
_GROUP_OF = {value: group for group, values in ATTRIBUTES.items() for value in values}


def canonical(word: str) -> str:
    """What a word in small letters is compared as: singular, one word for those of one meaning."""
    word = word.strip("()").removesuffix("'s")
    word = IRREGULAR.get(word) or COLORS.get(word) or SYNONYMS.get(word) or _singular(word)
    return SYNONYMS.get(word, word)


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(?:ss|x|z|ch|sh)es$", word) else word[:-1]


def attribute_group(word: str) -> str | None:
    """`color`, `length`, … for a canonical word that says such of a thing."""
    if all(part in COLORS for part in word.split("-and-")):
        return "color"
    return _GROUP_OF.get(word)


def exclusive_slot(word: str) -> str | None:
    """`posture`, `place`, … for a canonical word that excludes others in a picture."""
    return _SLOT_OF_EXCLUSIVE.get(word)


def number_of(word: str) -> str | None:
    """`2` for `two` and `2`; None for what is no number."""
    return NUMBERS.get(word) or (word if word.isdecimal() and len(word) < 3 else None)


def says_something(word: str) -> bool:
    """False for articles, prepositions and single letters."""
    return word not in STOP_WORDS and (len(word) > 1 or word.isdecimal())
