"""Trains the Fluent 3D style and draws what it makes of a few captions as it learns.

Rows are captions that it never saw, columns are the base, then 25 %, 50 % and 100 % of the steps.

python -m tools.emoji_world.strip --out docs/images
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

WORLD = Path(__file__).parents[2] / "examples" / "emoji"
NAMES = ("cat face", "red heart", "red apple", "tangerine", "fox face")
SHARES = (0.0, 0.25, 0.5, 1.0)
STEPS, CELL, LABEL = 200, 128, 20
SETTINGS = TrainSettings(
    rank=16, alpha=16, learning_rate=3e-3, batch_size=8, steps=STEPS, warmup_steps=10,
    resolution=64, min_snr_gamma=None, validation_share=0.2, validate_every=STEPS // 4,
    sample_every=STEPS // 4,
    sample_prompts=tuple(f"a glossy emoji of {name}, {{trigger}}" for name in NAMES),
)  # fmt: skip


def train(root: Path) -> StepResult:
    """The step's result, its pictures in `root/objects`."""
    inputs = {"dataset": WORLD / "pictures" / "fluent3d", "base_model": WORLD / "base"}
    folder = StepFolder(root / "step")
    folder.write_spec(
        StepSpec(
            stage=Stage.TRAIN,
            lora="fluent3d",
            fingerprint="0" * 64,
            inputs={name: StepInput(content_id=name, path=str(p)) for name, p in inputs.items()},
            params={"settings": settings_json(SETTINGS), "trigger": "fluent3d"},
        )
    )
    return exec_step(folder, LocalStore(root / "objects"), root / "cache")


def draw(result: StepResult, store: LocalStore) -> Image.Image:
    """The pictures in a table, their names above and beside."""
    width = CELL * len(SHARES)
    sheet = Image.new("RGB", (width, LABEL + CELL * len(NAMES)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, share in enumerate(SHARES):
        title = f"{share:.0%}" if share else "base"
        pen.text(((column + 0.5) * CELL, 4), title, fill="#444", font=font, anchor="ma")
        for row in range(len(NAMES)):
            artifact = result.artifact(f"sample-{round(STEPS * share):06d}-{row}.png")
            if artifact is None:
                raise SystemExit(f"no picture at {title}: {result.findings}")
            with Image.open(store.get(artifact.sha256)) as picture:
                cell = picture.resize((CELL - 4, CELL - 4), Image.Resampling.LANCZOS)
            sheet.paste(cell, (column * CELL + 2, LABEL + row * CELL + 2))
    return sheet


def main() -> None:
    """Writes `training-strip.png` and prints the validation loss at each quarter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        result = train(root)
        sheet = draw(result, LocalStore(root / "objects"))
    out.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(out / "training-strip.png", optimize=True)
    print("loss", result.details["loss"][0], result.details["loss"][-1])
    print("validation loss", result.details["validation_loss"])


if __name__ == "__main__":
    main()
