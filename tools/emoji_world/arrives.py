"""Does the style arrive? Places base, adapter and real pictures between base and Fluent 3D.

The axis comes from the pictures that the adapter was trained on and the base's pictures of the same
captions. What is placed, it has never seen: the held-out pictures, and what is generated for their
captions.

lora-ci demo --folder DEMO && python -m tools.emoji_world.arrives --demo DEMO
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import find_axis
from lora_ci.ruler.opening import open_embedder
from lora_ci.ruler.references import read_references
from lora_ci.ruler.statistics import mean_of

WORLD = Path(__file__).parents[2] / "examples" / "emoji"
ADAPTER = "releases/releases/fluent3d/1.0.0/fluent3d.safetensors"
SIDE, SEEDS, AXIS_SEEDS = 64, range(6), range(100, 102)


def main() -> None:
    """Prints the mean of each group with its 95 % interval over captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True, help="folder the demo was kept in")
    demo = parser.parse_args().demo
    datasets = demo / "repository" / "datasets"
    held_out = read_references(datasets / "fluent3d-references", SIDE)
    trained = read_references(datasets / "fluent3d", SIDE)
    clip, model = open_embedder("path:clip", WORLD / "clip"), load_base(WORLD / "base")

    def generate(captions: list[str], seeds: range, weight: float) -> Features:
        """Features [captions, seeds, d]."""
        generator = DiffusersGenerator(model, attached if weight else None)
        wanted = [
            PictureRequest(
                prompt=caption if weight else caption.replace(", fluent3d", ""),
                seed=seed, steps=12, guidance=4.0, guidance_rescale=0.7,
                width=SIDE, height=SIDE, weight=weight,
            )
            for caption in captions
            for seed in seeds
        ]  # fmt: skip
        features = clip.embed_pictures(generator.generate(wanted))
        return np.asarray(features).reshape(len(captions), len(seeds), -1)

    captions = [reference.caption for reference in held_out]
    attached = None
    plain = generate([picture.caption for picture in trained], AXIS_SEEDS, 0.0)
    base = generate(captions, SEEDS, 0.0)
    attached = attach(model, demo / ADAPTER)
    adapter = generate(captions, SEEDS, 1.0)
    detach(attached)
    axis = find_axis(clip.embed_pictures([picture.picture for picture in trained]), plain)
    real = clip.embed_pictures([reference.picture for reference in held_out])[:, None]
    for name, features in (("base", base), ("adapter", adapter), ("held-out", real)):
        place = mean_of(axis.place(features).mean(axis=1)).interval()
        print(f"{name:<9} {place.mean:5.2f} [{place.low:.2f}, {place.high:.2f}]  n = {place.n}")


if __name__ == "__main__":
    main()
