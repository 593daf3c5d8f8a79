"""Draws 40 common things in both styles: the picture by which the base model is judged.

python -m tools.emoji_world.sheet --world examples/emoji --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest

COMMON = """grinning face, smiling face with sunglasses, crying face, winking face,
loudly crying face, angry face, cat face, dog face, panda face, bear face, pig face, frog face,
fox face, rabbit face, tiger face, monkey face, red heart, blue heart, broken heart, banana,
red apple, strawberry, tangerine, watermelon, pineapple, carrot, slice of pizza, hamburger,
doughnut, birthday cake, soft ice cream, hot beverage, soccer ball, basketball and hoop, guitar,
sunflower, tulip, cactus, tropical fish, lady beetle""".replace("\n", " ")
COLUMNS, CELL, LABEL = 10, 96, 30


def draw_sheet(world: Path, out: Path) -> None:
    """Writes `out/emoji-base-grid.png`: a label, the flat and the glossy picture of each thing."""
    names = [name.strip() for name in COMMON.split(",")]
    generator = DiffusersGenerator(load_base(world / "base"), batch_size=20)
    pictures = {
        style: generator.generate(
            [
                PictureRequest(
                    prompt=f"a {style} emoji of {name}", seed=0, steps=25, guidance=4.0,
                    guidance_rescale=0.7, width=64, height=64,
                )
                for name in names
            ]
        )
        for style in ("flat", "glossy")
    }  # fmt: skip
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (2 * CELL + LABEL)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, name in enumerate(names):
        left, top = i % COLUMNS * CELL, i // COLUMNS * (2 * CELL + LABEL)
        for k, made in enumerate(pictures.values()):
            cell = Image.fromarray(made[i]).resize((CELL - 4, CELL - 4), Image.Resampling.NEAREST)
            sheet.paste(cell, (left + 2, top + k * CELL + 2))
        words = name.split()
        half = (len(words) + 1) // 2 if len(name) > 15 else len(words)
        text = " ".join(words[:half]) + "\n" + " ".join(words[half:])
        draw.multiline_text(
            (left + CELL // 2, top + 2 * CELL), text, fill="#444", font=font, anchor="ma",
            align="center", spacing=1,
        )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(out / "emoji-base-grid.png", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    draw_sheet(args.world, args.out)
