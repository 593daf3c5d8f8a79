"""A team that releases small adapters into a folder, by the real step."""

from __future__ import annotations

from pathlib import Path

import torch

from lora_ci.core.clock import SystemClock
from lora_ci.core.settings import DeploySettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepResult, StepSpec
from lora_ci.deploy.stores import FolderStore
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter
from lora_ci.signing.keys import make_key
from lora_ci.signing.signers import Signer, Signers
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TODAY = SystemClock().now().date()


def write_small_adapter(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Both files of an adapter, by the names of the step's inputs."""
    draw = torch.Generator().manual_seed(seed)
    layer = LoraLayer(
        down=torch.randn(2, 4, generator=draw), up=torch.randn(6, 2, generator=draw), alpha=2.0
    )
    files = {"adapter": Format.DIFFUSERS, "adapter-kohya.safetensors": Format.KOHYA}
    for name, kind in files.items():
        write_adapter(Adapter(layers={LAYER: layer}), folder / f"{seed}-{name}", kind)
    return {name: folder / f"{seed}-{name}" for name in files}


class Team:
    """A key, those who trust it, a release store, and steps that release into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key_file = root / "key.pem"
        self.key = make_key(self.key_file)
        self.signers = Signers(signers=(Signer(name="team", key=self.key.public_key()),))
        self.place = root / "store"
        self.store = FolderStore(self.place)
        self.objects = LocalStore(root / "objects")
        self.steps = 0

    def spec(self, version: str, seed: int = 0, **changed: object) -> StepSpec:
        """The step that releases adapter number `seed`; `changed` are other parameters."""
        digests = {
            name: self.objects.put(path)
            for name, path in write_small_adapter(self.root, seed).items()
        }
        settings = changed.pop("settings", DeploySettings(targets=("store",), license="Apache-2.0"))
        params = {
            "settings": settings_json(settings),
            "version": version,
            "trigger": "mei",
            "type": "character",
            "commit": "c" * 40,
            "base_model": {"path": "models/sd", "content_id": "base-1"},
            "dataset": {"path": "datasets/mei", "content_id": "d1"},
            "fingerprints": {"train": "f" * 64},
            "qa": {"metrics": {"identity": 0.75, "latency_ratio": None}, "ruler": "r" * 64},
            "recommended_weight": 0.8,
            "targets": [str(self.place)],
            "signing_key": str(self.key_file),
        }
        return StepSpec(
            stage=Stage.DEPLOY,
            lora="mei",
            fingerprint="0" * 64,
            inputs={n: StepInput(content_id=d, sha256=d) for n, d in digests.items()},
            params=params | changed,
        )

    def folder(self, spec: StepSpec) -> StepFolder:
        """A new step folder with the spec."""
        self.steps += 1
        folder = StepFolder(self.root / f"step-{self.steps}")
        folder.write_spec(spec)
        return folder

    def release(self, version: str, seed: int = 0, **changed: object) -> StepResult:
        """What the step says."""
        folder = self.folder(self.spec(version, seed, **changed))
        return exec_step(folder, self.objects, self.root / "cache")

    def released(self, version: str) -> Path:
        """Where a release lies."""
        return self.place / "releases" / "mei" / version


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
