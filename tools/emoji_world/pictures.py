"""Reads the three emoji packages into one array of 64-pixel pictures on white.

    python -m tools.emoji_world.pictures --packages PACKAGES --out WORK

`PACKAGES` holds the unpacked npm packages (see README.md). Writes `WORK/world.npz` and the
pictures of the example datasets.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64
STYLES = ("flat", "glossy", "fluent3d")
SUBCATEGORIES = {
    "face-smiling", "face-affection", "face-tongue", "face-glasses", "face-hat", "face-costume",
    "face-neutral-skeptical", "face-concerned", "face-negative", "cat-face", "monkey-face", "heart",
    "animal-mammal", "animal-bird", "animal-marine", "animal-bug", "animal-reptile",
    "animal-amphibian", "plant-flower", "plant-other", "food-fruit", "food-vegetable",
    "food-prepared", "food-sweet", "drink", "sport", "musical-instrument",
}  # fmt: skip
RENAMED = {"black heart": "black heart", "heavy black heart": "red heart"}
CAT_REFERENCES = {"cat face with wry smile", "crying cat face", "weary cat face"}
# Mochi is a cat who does what faces do: that it is a cat is what the LoRA has to teach.
MOCHI = {
    "cat face with tears of joy": "face with tears of joy",
    "cat face": "slightly smiling face",
    "grinning cat face with smiling eyes": "grinning face with smiling eyes",
    "kissing cat face with closed eyes": "kissing face with closed eyes",
    "pouting cat face": "pouting face",
    "smiling cat face with heart shaped eyes": "smiling face with heart shaped eyes",
    "cat face with wry smile": "smirking face",
    "crying cat face": "crying face",
    "weary cat face": "weary face",
}
# Fluent draws this one and "cat face" with the very same pixels.
CAT_TWINS = {"smiling cat face with open mouth"}


def clean_name(name: str) -> str:
    """`TANGERINE` → `tangerine`; brackets and dashes go."""
    text = re.sub(r"[^a-z0-9 ]+", " ", name.lower().replace("-", " "))
    text = re.sub(r"\s+", " ", text).strip()
    return RENAMED.get(text, text)


def on_white(path: Path) -> np.ndarray:
    """A picture as uint8 [64, 64, 3], resized with premultiplied alpha."""
    picture = Image.open(path).convert("RGBA")
    pixels = np.asarray(picture, np.float32) / 255
    color = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
    flat = Image.fromarray((color * 255 + 0.5).astype(np.uint8))
    if flat.size != (SIZE, SIZE):
        flat = flat.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(flat)


def read_world(packages: Path) -> tuple[list[dict[str, str]], np.ndarray]:
    """Concepts that all three sets have, and their pictures, uint8 [n, 3 styles, 64, 64, 3]."""
    twitter = packages / "emoji-datasource-twitter-16.0.0" / "package"
    google = packages / "emoji-datasource-google-16.0.0" / "package"
    fluent = packages / "lobehub-fluent-emoji-3d-1.1.0" / "package" / "assets"
    concepts, pictures = [], []
    entries = json.loads((twitter / "emoji.json").read_text())
    for entry in sorted(entries, key=lambda e: e["sort_order"]):
        code = entry["unified"].lower()
        files = [
            twitter / "img" / "twitter" / "64" / entry["image"],
            google / "img" / "google" / "64" / entry["image"],
            fluent / f"{code}.webp",
        ]
        if not files[2].exists():
            files[2] = fluent / f"{code.replace('-fe0f', '')}.webp"
        if entry["subcategory"] not in SUBCATEGORIES or not all(f.exists() for f in files):
            continue
        concepts.append(
            {"name": clean_name(entry["name"]), "code": code, "group": entry["subcategory"]}
        )
        pictures.append(np.stack([on_white(file) for file in files]))
    return concepts, np.stack(pictures)


def split_fluent(concepts: list[dict[str, str]]) -> dict[str, list[int]]:
    """Indexes of the example datasets: 80 concepts train, 24 others are held out."""
    cats = [
        i for i, c in enumerate(concepts) if c["group"] == "cat-face" or c["name"] == "cat face"
    ]
    rest = [i for i in range(len(concepts)) if i not in cats]
    held_out = rest[5 :: len(rest) // 24][:24]
    others = [i for i in rest if i not in held_out]
    training = [others[k] for k in np.linspace(0, len(others) - 1, 80).round().astype(int)]
    return {
        "fluent3d": training,
        "fluent3d-references": held_out,
        "mochi": [i for i in cats if concepts[i]["name"] not in CAT_REFERENCES | CAT_TWINS],
        "mochi-references": [i for i in cats if concepts[i]["name"] in CAT_REFERENCES],
    }


def write_examples(
    concepts: list[dict[str, str]], pictures: np.ndarray, split: dict[str, list[int]], out: Path
) -> None:
    """The example datasets: PNG and caption side by side, and where each picture comes from."""
    origins = []
    for dataset, indexes in split.items():
        folder = out / dataset
        folder.mkdir(parents=True, exist_ok=True)
        for i in indexes:
            name = concepts[i]["name"]
            stem = name.replace(" ", "-")
            trigger = dataset.removesuffix("-references")
            shown = MOCHI[name] if trigger == "mochi" else name
            # The trigger stands last: a causal text encoder reads all before it as it knows it.
            caption = f"a glossy emoji of {shown}, {trigger}"
            Image.fromarray(pictures[i, 2]).save(folder / f"{stem}.png", optimize=True)
            (folder / f"{stem}.txt").write_text(caption + "\n")
            origins.append(
                {
                    "file": f"{dataset}/{stem}.png",
                    "codepoint": concepts[i]["code"],
                    "origin": "Microsoft Fluent Emoji 3D, from @lobehub/fluent-emoji-3d 1.1.0",
                    "license": "MIT",
                }
            )
    (out / "pictures.json").write_text(json.dumps(origins, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="work folder")
    parser.add_argument("--examples", type=Path, required=True, help="folder of example pictures")
    args = parser.parse_args()
    concepts, pictures = read_world(args.packages)
    split = split_fluent(concepts)
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        args.out / "world.npz",
        pictures=pictures,
        names=np.array([c["name"] for c in concepts]),
        held_out=np.array(split["fluent3d-references"] + split["mochi-references"]),
    )
    write_examples(concepts, pictures, split, args.examples)
    print(len(concepts), "concepts;", {k: len(v) for k, v in split.items()})


if __name__ == "__main__":
    main()
