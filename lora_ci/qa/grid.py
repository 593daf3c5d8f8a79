"""The picture for the comment: prompts side by side; base, adapter, released, reference below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lora_ci.diffusion.request import Picture

CELL = 128
GAP = 6
HEAD = 92
LINE = 14
LINES = 2
INK, DIM, PAPER = (29, 36, 48), (91, 102, 117), (255, 255, 255)


def compose_grid(rows: Sequence[tuple[str, Sequence[Picture]]], labels: Sequence[str]) -> Picture:
    """Rows of pictures with their names on the left and labels below; [height, width, 3]."""
    columns = max(len(pictures) for _, pictures in rows)
    width = HEAD + columns * (CELL + GAP) + GAP
    foot = LINES * LINE + GAP
    height = len(rows) * (CELL + GAP) + GAP + foot
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for i, (name, pictures) in enumerate(rows):
        top = GAP + i * (CELL + GAP)
        draw.text((GAP + 2, top + CELL // 2 - 8), name, fill=INK, font=font)
        for j, picture in enumerate(pictures):
            sheet.paste(_cell(picture), (HEAD + j * (CELL + GAP), top))
    for j, label in enumerate(labels[:columns]):
        left = HEAD + j * (CELL + GAP) + 2
        for k, text in enumerate(_lines(label, lambda t: draw.textlength(t, font=small))):
            draw.text((left, height - foot + k * LINE), text, fill=DIM, font=small)
    return np.asarray(sheet)


def _cell(picture: Picture) -> Image.Image:
    image = Image.fromarray(picture)
    # Small pictures are enlarged pixel by pixel: no filter flatters or blurs them.
    method = Image.Resampling.NEAREST if max(image.size) < CELL else Image.Resampling.LANCZOS
    image.thumbnail((CELL, CELL), method)
    scale = CELL / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), method)


def _lines(label: str, width: Callable[[str], float]) -> list[str]:
    """The label in lines of a cell's width, the last one cut; the font has Latin letters only."""
    words = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in label).split()
    lines: list[str] = []
    while words and len(lines) < LINES:
        line = words.pop(0)
        while words and width(f"{line} {words[0]}") <= CELL and len(lines) < LINES - 1:
            line += f" {words.pop(0)}"
        if len(lines) == LINES - 1:
            line = " ".join([line, *words])
        lines.append(_cut(line, width))
    return lines


def _cut(text: str, width: Callable[[str], float]) -> str:
    if width(text) <= CELL:
        return text
    while text and width(f"{text}…") > CELL:
        text = text[:-1]
    return f"{text}…"
