"""What should not stand in one caption: leftovers, markup, invisible characters, contradictions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from lora_ci.dataset.judge import COLOR_CHROMA, GRAY_CHROMA

# A caption without any of these needs no closer look: most have none.
SUSPECT = re.compile(r"[{}<>\[\]@*#`&(]|__|--|://|www\.|BREAK")
ENDS = re.compile(
    r"(?:sure|certainly|of course)[,!]|here(?:'s| is) (?:a|an|the|your) (?:caption|description)"
    r"|i(?:'m| am) (?:sorry|unable)|i can(?:no|')t |as an ai |(?:caption|description|prompt)\s*:",
    re.IGNORECASE,
)
# "arafed" is what BLIP writes where it knows no word; the others are marks of unfinished work.
LEFTOVER_WORDS = frozenset(
    {"todo", "fixme", "tbd", "lorem", "arafed", "arafe", "araffe", "araffes", "araffed"}
)
WHOLE = frozenset(
    {"none", "nan", "null", "undefined", "n/a", "untitled", "caption", "description", "prompt"}
)
PLACEHOLDER = re.compile(
    r"\{[A-Za-z_][\w .-]{0,40}\}|\{\}"
    r"|\[(?:trigger|name|token|caption|subject|class|filewords|concept|instance)\]"
    r"|<\|[\w ]{1,40}\|>|</?s>",
    re.IGNORECASE,
)
UNKNOWN_TAG = re.compile(r"<[A-Za-z][\w-]{0,40}>")
HTML = re.compile(
    r"</?(?:a|b|body|br|code|div|em|font|h[1-6]|hr|html|i|img|li|ol|p|pre|script|span|strong|style"
    r"|sub|sup|table|td|tr|u|ul)(?:\s[^<>]{0,300})?/?>|<!--|&(?:[a-z]{2,8}|#x?[0-9a-f]{1,6});",
    re.IGNORECASE,
)
MARKDOWN = re.compile(
    r"!?\[[^\[\]]{1,200}\]\([^()\s]{1,300}\)|\*\*[^*\n]{1,200}\*\*|```|^#{1,6} |\n#{1,6} "
)
ADDRESS = re.compile(r"\b[a-z]{2,8}://\S|\bwww\.\w", re.IGNORECASE)
MENTION = re.compile(r"(?<![\w.@])[@#][A-Za-z]\w+")
PROMPT_SYNTAX = re.compile(
    r"<(?:lora|lyco|hypernet):[^<>]{1,200}>|\([^()]{1,200}:\s?\d{1,2}(?:\.\d{1,3})?\)|\(\(|\[\[|\{\{"
    r"|\{[^{}|]{1,200}\|[^{}]{1,200}\}|\bBREAK\b|(?<!\S)--[a-z]{1,8}\b|__[A-Za-z][\w/-]{0,60}__"
)
MARKUP = ((HTML, "HTML"), (MARKDOWN, "Markdown"), (ADDRESS, "an address"), (MENTION, "a mention"))

# UTF-8 that was read as Windows-1252 and saved again: Ã©, â€™.
TWICE_ENCODED = re.compile("[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u2122]")
# Of the format characters these two join emoji and the letters of some scripts.
JOINERS = "\u200c\u200d"
LINE_ENDS = "\n\r\t"
KINDS = {"Cc": "a control character", "Cf": "an invisible character", "Co": "a private character"}
BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

PLAIN_COLORS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"),
    *("silver", "golden", "aqua", "teal", "cyan", "beige", "gray", "blond"),
)
COLORS = {color: color for color in PLAIN_COLORS} | {"grey": "gray", "blonde": "blond"}
# Things of which one picture of one subject shows one color.
OF_ONE_COLOR = ("hair", "eyes", "skin", "background")
COLORED = re.compile(rf"\b({'|'.join(COLORS)})[ _]({'|'.join(OF_ONE_COLOR)})\b")
SEVERAL = re.compile(
    r"multicolou?red|two[- _]?tone|gradient|streaked|heterochromia|colored inner|\band\b.*\band\b"
    r"|\b(?:[2-9]|multiple|two|three|four|several|many|both|another|other|couple|group|split)"
    r"[ _+]?(?:girls?|boys?|others?)?\b"
    r"|\b(?:crowd|women|men|girls|boys|people|twins|siblings|cats|dogs)\b"
)
SAID_GRAY = re.compile(
    r"\b(?:monochrome|gr[ae]yscale|black[- ]and[- ]white (?:photo|photograph|picture|image|drawing)"
    r")\b|(?:^|,) *black and white *(?:,|$)"
)
# `orange` may be the fruit, and gray things are called black, white and silver.
SAID_COLORED = re.compile(r"\b(?:red|yellow|green|blue|purple|pink)\b")
SUBJECT = re.compile(r"(?:\b|\d)(?:girl|boy|woman|man|person|child|lady|guy)\b")
COUNT = re.compile(r"(\d{1,2})\+?[ _]?(girl|boy|other|person|man|woman|cat|dog)s?")
NEVER_BOTH = (
    ("indoors", "outdoors"),
    ("day", "night"),
    ("open mouth", "closed mouth"),
    ("open eyes", "closed eyes"),
    ("long hair", "short hair"),
    ("close-up", "full body"),
    ("from above", "from below"),
    ("from front", "from behind"),
    ("monochrome", "colorful"),
    ("black and white", "colorful"),
    ("solo", "multiple girls"),
    ("solo", "multiple boys"),
)
MOST_QUOTED = 40


def problems(text: str, fields: Sequence[str], words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Rule and message of each thing wrong with a caption.

    `text` is without the trigger; `fields` are its parts between commas and `words` its words,
    both in small letters.
    """
    if not text.isprintable() or "\ufffd" in text:
        yield from _characters(text)
    if not text.isascii() and (match := TWICE_ENCODED.search(text)):
        yield "caption.characters", f"letters that were encoded twice: {quoted(match.group())}"
    leftover = _leftover(text, words)
    if leftover:
        yield "caption.leftover", f"{quoted(leftover)} is left over from a template or a captioner"
    if SUSPECT.search(text):
        for pattern, kind in MARKUP:
            if match := pattern.search(text):
                message = f"{kind} ({quoted(match.group())}), which is learned as words"
                yield "caption.markup", message
                break
        if match := PROMPT_SYNTAX.search(text):
            message = f"prompt syntax ({quoted(match.group())}), which is learned as words"
            yield "caption.prompt-syntax", message
    contradiction = contradicting(text, fields)
    if contradiction:
        one, other = contradiction
        yield "caption.contradiction", f"{quoted(one)} and {quoted(other)} contradict each other"


def _characters(text: str) -> Iterator[tuple[str, str]]:
    """Invisible and broken characters, each kind once; and lines after the first."""
    told = set()
    for character in set(text):
        if character in LINE_ENDS or character in JOINERS or character == " ":
            continue
        category = unicodedata.category(character)
        kind = "a lost character" if character == "\ufffd" else KINDS.get(category)
        if character in BIDI:
            kind = "a character that turns the direction of writing"
        if kind:
            told.add((kind, f"U+{ord(character):04X}"))
    for kind, code in sorted(told)[:1]:
        more = f" and {len(told) - 1} others" if len(told) > 1 else ""
        yield "caption.characters", f"{kind} ({code}{more})"
    if "\n" in text or "\r" in text:
        lines = len(text.splitlines())
        yield "caption.several-lines", f"{lines} lines; other trainers read the first alone"


def _leftover(text: str, words: Sequence[str]) -> str | None:
    found = LEFTOVER_WORDS.intersection(words)
    if found:
        return min(found)
    if text.strip().lower() in WHOLE:
        return text.strip()
    match = ENDS.match(text.lstrip())
    if not match and SUSPECT.search(text):
        match = PLACEHOLDER.search(text) or UNKNOWN_TAG.search(HTML.sub("", text))
    return match.group() if match else None


def contradicting(text: str, fields: Sequence[str]) -> tuple[str, str] | None:
    """Two things that one picture cannot show: colors, counts, or opposites among the tags."""
    low = text.lower()
    parts = set(fields)
    for one, other in NEVER_BOTH:
        if one in parts and other in parts:
            return one, other
    counts: dict[str, str] = {}
    for field in fields:
        if match := COUNT.fullmatch(field):
            before = counts.setdefault(match.group(2), match.group())
            if before != field:
                return before, field
            if "solo" in parts and match.group(1) != "1":
                return "solo", field
    colored: dict[str, tuple[str, str]] = {}
    for match in COLORED.finditer(low):
        color, thing = COLORS[match.group(1)], match.group(2)
        before_color, before = colored.setdefault(thing, (color, match.group()))
        if before_color != color and not _of_several(low):
            return before, match.group()
    return None


def _of_several(low: str) -> bool:
    """True if a caption speaks of more than one subject, or of several colors of one."""
    return SEVERAL.search(low) is not None or len(SUBJECT.findall(low)) > 1


def against_picture(low: str, chroma: float) -> str | None:
    """Says so if a caption in small letters calls a colored picture gray, or a gray one colored."""
    if chroma > COLOR_CHROMA and (match := SAID_GRAY.search(low)):
        return f"{quoted(match.group().strip(', '))}, and the picture has color"
    if chroma < GRAY_CHROMA and (match := SAID_COLORED.search(low)):
        return f"{quoted(match.group())}, and the picture is gray"
    return None


def quoted(text: str) -> str:
    """A piece of a caption as it may stand in a message: short, in one line, visible."""
    short = text if len(text) <= MOST_QUOTED else text[: MOST_QUOTED - 1] + "…"
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
    return "`" + shown.replace("`", "'") + "`"
