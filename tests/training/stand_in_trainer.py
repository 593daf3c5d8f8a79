"""A trainer that learns nothing and speaks as others do; standard library only, to be quick.

As `train_network.py` it reads sd-scripts' TOML files, as `run.py` ai-toolkit's config, under any
other name the file that a `command` gets. `mood.json` beside it says what goes wrong.
"""

from __future__ import annotations

import array
import json
import os
import signal
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
MOOD = json.loads((HERE / "mood.json").read_text()) if (HERE / "mood.json").exists() else {}
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
TAUGHT = ("to_q", "to_k", "to_v", "to_out.0")


def main() -> None:
    before()
    match Path(sys.argv[0]).name:
        case "train_network.py":
            sd_scripts(Path(sys.argv[sys.argv.index("--config_file") + 1]))
        case "run.py":
            ai_toolkit(Path(sys.argv[1]))
        case _:
            command(Path(sys.argv[1]))
    if MOOD.get("exit"):
        sys.exit(MOOD["exit"])


def before() -> None:
    """What goes wrong before the first step."""
    (HERE / "environment.json").write_text(json.dumps(dict(os.environ)))
    if "says" in MOOD:
        os.write(2, (MOOD["says"] + "\n").encode())
    if MOOD.get("mute"):
        sys.exit(0)
    if MOOD.get("noise_bytes"):
        noise(MOOD["noise_bytes"])
    if MOOD.get("child"):
        # As a launcher does: its worker has a group of its own, and ignores the first signal.
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        worker = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        (HERE / "child").write_text(str(worker.pid))
    if MOOD.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def noise(size: int) -> None:
    """A log without an end of line, then many lines, with bytes that are no text."""
    line = b"\xff\x00 caching \xe2\x96\x88 " * 64
    for _ in range(size // len(line) // 2):
        os.write(1, line)
    for _ in range(size // len(line) // 2):
        os.write(1, line + b"\n")


def sd_scripts(config: Path) -> None:
    options = tomllib.loads(config.read_text())
    data = tomllib.loads(Path(options["dataset_config"]).read_text())
    for subset in data["datasets"][0]["subsets"]:
        captioned(Path(subset["image_dir"]), subset["caption_extension"])
    output, total = Path(options["output_dir"]), options["max_train_steps"]
    start = 0
    if "resume" in options:
        if MOOD.get("unreadable_state"):
            sys.exit("RuntimeError: the state cannot be read")
        start = json.loads((Path(options["resume"]) / "train_state.json").read_text())["step"]
    (HERE / "started_at").write_text(str(start))
    for step in range(start + 1, total + 1):
        # tqdm paints in pieces, and counts what was left.
        bar = f"steps: {100 * step // total:3d}%|█▏        | {step - start}/{total - start} "
        paint(f"{bar}[00:01<00:09,  9.10it/s, avr_loss={loss(step)}]")
        if step % options["save_every_n_steps"] == 0:
            state = output / f"{options['output_name']}-step{step:08d}-state"
            state.mkdir(exist_ok=True)
            (state / "train_state.json").write_text(json.dumps({"step": step}))
        at_step(step)
    base = Path(options["pretrained_model_name_or_path"])
    rank, alpha = options["network_dim"], options["network_alpha"]
    save(output / f"{options['output_name']}.safetensors", kohya(base, rank, alpha))


def ai_toolkit(config: Path) -> None:
    whole = json.loads(config.read_text())["config"]
    process = whole["process"][0]
    for dataset in process["datasets"]:
        captioned(Path(dataset["folder_path"]), "." + dataset["caption_ext"])
    root = Path(process["training_folder"]) / whole["name"]
    root.mkdir(parents=True, exist_ok=True)
    kept = sorted(root.glob(f"{whole['name']}_*.safetensors"))
    start = int(kept[-1].stem.rpartition("_")[2]) if kept else 0
    (HERE / "started_at").write_text(str(start))
    network, total = process["network"], process["train"]["steps"]
    tensors = kohya(
        Path(process["model"]["name_or_path"]), network["linear"], network["linear_alpha"]
    )
    for step in range(start + 1, total + 1):
        bar = f"{whole['name']}: {100 * step // total:3d}%|█▏        | {step}/{total} "
        value = loss(step)
        shown = value if value == "nan" else f"{value:.3e}"
        paint(f"{bar}[00:01<00:09,  9.10it/s, lr: 1.0e-04 loss: {shown}]")
        if step % process["save"]["save_every"] == 0:
            save(root / f"{whole['name']}_{step:09d}.safetensors", tensors)
        at_step(step)
    save(root / f"{whole['name']}.safetensors", tensors)


def command(config: Path) -> None:
    document = json.loads(config.read_text())
    for part in document["pictures"]:
        captioned(Path(part["folder"]), ".txt")
    total = document["steps"]
    for step in range(1, total + 1):
        os.write(1, f"epoch 1/3, step {step}/{total}, loss = {loss(step)}\n".encode())
        at_step(step)
    settings = document["settings"]
    layers = diffusers(Path(document["base_model"]), settings["rank"])
    save(Path(document["output"]) / "mine" / "trained.safetensors", layers)


def loss(step: int) -> object:
    return "nan" if MOOD.get("nan") and step > 2 else 1 / (1 + step)


def captioned(folder: Path, suffix: str) -> None:
    """Every picture has its caption, and can be opened."""
    pictures = [path for path in folder.iterdir() if path.suffix in IMAGES]
    assert pictures, f"no picture in {folder}"
    for path in pictures:
        assert path.read_bytes()
        assert path.with_suffix(suffix).read_text().endswith("\n")


def paint(line: str) -> None:
    data = ("\r" + line).encode()
    for piece in (data[:17], data[17:]):
        os.write(2, piece)


def at_step(step: int) -> None:
    if MOOD.get("slow_s"):
        time.sleep(MOOD["slow_s"])
    if step == MOOD.get("hang_at"):
        time.sleep(600)
    if step == MOOD.get("kill_at"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step == MOOD.get("leave_at"):
        sys.exit(MOOD.get("exit", 0))


def shapes(base: Path) -> dict[str, list[int]]:
    """The weights of the UNet's attention, by module."""
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {
        name.removesuffix(".weight"): entry["shape"]
        for name, entry in header.items()
        if name.removesuffix(".weight").endswith(TAUGHT) and name.endswith(".weight")
    }


def kohya(base: Path, rank: int, alpha: float) -> dict[str, tuple[list[int], float]]:
    """Tensors as (shape, value) under sd-scripts' names."""
    tensors: dict[str, tuple[list[int], float]] = {}
    for name, (out, into, *_) in shapes(base).items():
        module = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{module}.lora_down.weight"] = ([rank, into], 0.01)
        tensors[f"{module}.lora_up.weight"] = ([out, rank], 0.02)
        tensors[f"{module}.alpha"] = ([], alpha)
    return tensors


def diffusers(base: Path, rank: int) -> dict[str, tuple[list[int], float]]:
    """Tensors as (shape, value) under diffusers' names."""
    tensors: dict[str, tuple[list[int], float]] = {}
    for name, (out, into, *_) in shapes(base).items():
        tensors[f"unet.{name}.lora_A.weight"] = ([rank, into], 0.01)
        tensors[f"unet.{name}.lora_B.weight"] = ([out, rank], 0.02)
    return tensors


def save(path: Path, tensors: dict[str, tuple[list[int], float]]) -> None:
    """A safetensors file; torn, foreign, or not at all, by mood."""
    match MOOD.get("file"):
        case "none":
            return
        case "foreign":
            tensors = {"lora_unet_nothing_of_ours.lora_down.weight": ([2, 3], 1.0)}
        case "other_shape":
            tensors = {name: ([7, 7], 1.0) for name in tensors if not name.endswith(".alpha")}
        case "nan":
            tensors = {name: (shape, float("nan")) for name, (shape, _) in tensors.items()}
        case "link":
            path.symlink_to(HERE / "elsewhere.safetensors")
            path = HERE / "elsewhere.safetensors"
    header: dict[str, object] = {"__metadata__": {"ss_steps": "1", "ss_comment": str(HERE)}}
    data = b""
    for name, (shape, value) in sorted(tensors.items()):
        count = 1
        for side in shape:
            count *= side
        values = array.array("f", [value * (1 + i % 5) if shape else value for i in range(count)])
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + 4 * count],
        }
        data += values.tobytes()
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole[: len(whole) // 2] if MOOD.get("file") == "torn" else whole)


if __name__ == "__main__":
    main()
