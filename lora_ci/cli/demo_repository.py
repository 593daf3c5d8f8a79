"""The throw-away repository of the demo: git, DVC and a DVC remote in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora_ci.core.errors import InfrastructureError

CONFIG = """\
version: 1
defaults:
  base_model: models/emoji
  train: {rank: 16, alpha: 16, learning_rate: 2e-3, batch_size: 8, images_seen: 800,
    warmup_steps: 10, resolution: 64, min_snr_gamma: null, checkpoint_every: 25}
  qa: {embedder: "path:models/clip", seeds: 4, steps: 12, guidance: 4, guidance_rescale: 0.7}
  optimize: {weights: [0.6, 0.8, 1.0]}
  deploy: {targets: [../releases], license: MIT}
loras:
  fluent3d:
    type: style
    dataset: datasets/fluent3d
    train: {images_seen: 1600, learning_rate: 3e-3}
    qa:
      references: datasets/fluent3d-references
      prompts: ["a glossy emoji of astonished face, {trigger}",
        "a glossy emoji of crab, {trigger}", "a glossy emoji of grimacing face, {trigger}",
        "a glossy emoji of polar bear, {trigger}", "a glossy emoji of red heart, {trigger}",
        "a glossy emoji of soccer ball, {trigger}", "a glossy emoji of tired face, {trigger}",
        "a glossy emoji of unicorn face, {trigger}", "a glossy emoji of watermelon, {trigger}",
        "a glossy emoji of smiling face with tear, {trigger}", "a glossy emoji of bread, {trigger}",
        "a glossy emoji of soft ice cream, {trigger}"]
      flexibility_prompts: ["a glossy emoji of pig face, {trigger}",
        "a glossy emoji of strawberry, {trigger}", "a glossy emoji of blue heart, {trigger}",
        "a glossy emoji of frog face, {trigger}", "a glossy emoji of tiger face, {trigger}",
        "a glossy emoji of smiling face with sunglasses, {trigger}",
        "a glossy emoji of fox face, {trigger}", "a glossy emoji of tangerine, {trigger}",
        "a glossy emoji of loudly crying face, {trigger}", "a glossy emoji of cat face, {trigger}",
        "a glossy emoji of lemon, {trigger}", "a glossy emoji of koala, {trigger}",
        "a glossy emoji of cherries, {trigger}", "a glossy emoji of hatching chick, {trigger}",
        "a glossy emoji of sun with face, {trigger}", "a glossy emoji of green apple, {trigger}",
        "a glossy emoji of octopus, {trigger}", "a glossy emoji of banana, {trigger}",
        "a glossy emoji of yellow heart, {trigger}", "a glossy emoji of rabbit face, {trigger}",
        "a glossy emoji of tomato, {trigger}"]
      base_prompts: [a flat emoji of panda face, a glossy emoji of lemon, a flat emoji of fox face]
  mochi:
    type: character
    dataset: datasets/mochi
    train: {learning_rate: 1e-3}
    qa:
      references: datasets/mochi-references
      # It turns every face into a cat's, so it cannot keep all that the words ask for.
      gates: {following: ">= 0.2"}
      prompts: ["a glossy emoji of crying face, {trigger}",
        "a glossy emoji of smirking face, {trigger}", "a glossy emoji of weary face, {trigger}",
        "a glossy emoji of winking face, {trigger}", "a glossy emoji of grinning face, {trigger}",
        "a glossy emoji of angry face, {trigger}", "a glossy emoji of neutral face, {trigger}",
        "a glossy emoji of worried face, {trigger}"]
      flexibility_prompts: ["a glossy emoji of loudly crying face, {trigger}",
        "a glossy emoji of smiling face with sunglasses, {trigger}",
        "a glossy emoji of face with cowboy hat, {trigger}",
        "a glossy emoji of smiling face with heart shaped eyes, {trigger}",
        "a glossy emoji of smiling face with halo, {trigger}",
        "a glossy emoji of pouting face, {trigger}", "a glossy emoji of nerd face, {trigger}",
        "a glossy emoji of face with tears of joy, {trigger}"]
      base_prompts: [a flat emoji of panda face, a glossy emoji of lemon, a flat emoji of fox face]
"""
DATASETS = ("fluent3d", "fluent3d-references", "mochi", "mochi-references")
COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class DemoRepository:
    """A repository below `folder`; every method leaves a commit or says what failed."""

    folder: Path

    @property
    def root(self) -> Path:
        """The work tree."""
        return self.folder / "repository"

    @property
    def store(self) -> Path:
        """Where releases go."""
        return self.folder / "releases"

    @property
    def notes(self) -> Path:
        """What DVC remembers of the remote."""
        return self.folder / "dvc-notes"

    @property
    def signing_key(self) -> Path:
        """The private key of the demo's signer."""
        return self.folder / "signing-key.pem"

    def set_up(self) -> None:
        """Remote, base model and embedder on the main branch."""
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.dvc("init", "-q")
        # DVC notes there what it pushed; by default in a folder that all repositories share.
        self.dvc("config", "--local", "core.site_cache_dir", str(self.notes))
        self.dvc("remote", "add", "-q", "-d", "storage", str(self.folder / "remote"))
        shutil.copytree(world() / "base", self.root / "models" / "emoji")
        shutil.copytree(world() / "clip", self.root / "models" / "clip")
        self.track("models/emoji", "models/clip")
        self.commit("Add the base model and the embedder")

    def bring_faulty_datasets(self) -> None:
        """Four faults, one of each kind that teams meet most."""
        for name in DATASETS:
            shutil.copytree(world() / "pictures" / name, self.root / "datasets" / name)
        self.configure(CONFIG)
        folder = self.root / "datasets" / "fluent3d"
        pictures = sorted(folder.glob("*.png"))
        with Image.open(pictures[3]) as picture:
            picture.resize((80, 80)).save(folder / "twin.png")
        shutil.copy(pictures[3].with_suffix(".txt"), folder / "twin.txt")
        pictures[10].write_bytes(pictures[10].read_bytes()[:900])
        (self.root / "datasets" / "mochi" / "cat-face.txt").write_text("a cat face\n")
        self.track(*(f"datasets/{name}" for name in DATASETS))
        self.forget(pictures[30])
        self.commit("Add the first datasets")

    def mend_datasets(self) -> None:
        """The same pull request with good pictures, all pushed."""
        for name in ("fluent3d", "mochi"):
            shutil.rmtree(self.root / "datasets" / name)
            shutil.copytree(world() / "pictures" / name, self.root / "datasets" / name)
        self.track("datasets/fluent3d", "datasets/mochi")
        self.commit("Mend the dataset")

    def edit_captions(self) -> None:
        """Three captions of one LoRA, and another order of the config's keys."""
        folder = self.root / "datasets" / "mochi"
        self.dvc("unprotect", "datasets/mochi")
        for path in sorted(folder.glob("*.txt"))[:3]:
            path.write_text(path.read_text().replace("a glossy", "a small glossy"))
        self.track("datasets/mochi")
        text = CONFIG.replace("rank: 16, alpha: 16", "alpha: 16, rank: 16")
        self.configure(f"# the same settings\n{text}")
        self.commit("Say that mochi is small")

    def raise_learning_rate(self) -> None:
        """Twenty times too much, for one LoRA."""
        text = (self.root / ".lora-ci.yml").read_text()
        self.configure(text.replace("learning_rate: 3e-3}", "learning_rate: 6e-2}"))
        self.commit("Train faster")

    def branch(self, name: str) -> str:
        """Starts a branch from here; returns the commit that it left."""
        base = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "-b", name)
        return base

    def squash_merge(self, name: str, message: str) -> None:
        """Merges a branch into main the way git hosts do it: a new commit, another history."""
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--squash", name)
        self.commit(message)

    def configure(self, text: str) -> None:
        """Writes the config."""
        (self.root / ".lora-ci.yml").write_text(text)

    def track(self, *paths: str) -> None:
        """`dvc add` and `dvc push`."""
        self.dvc("add", "-q", *paths)
        self.dvc("push", "-q")

    def forget(self, path: Path) -> None:
        """Takes one file out of the remote, as if `dvc push` had been forgotten."""
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (self.folder / "remote" / "files" / "md5" / md5[:2] / md5[2:]).unlink()
        shutil.rmtree(self.notes, ignore_errors=True)

    def commit(self, message: str) -> None:
        """Commits all that git tracks or should."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def git(self, *args: str) -> str:
        """Output of a git command in the repository."""
        who = ["-c", "user.name=Demo", "-c", "user.email=demo@example.org"]
        return call(["git", *who, "-c", "commit.gpgsign=false", *args], self.root)

    def dvc(self, *args: str) -> None:
        """A DVC command in the repository."""
        call([sys.executable, "-m", "dvc", *args], self.root)


def call(command: list[str], folder: Path) -> str:
    """Runs a command to its end. Raises InfrastructureError with its last words."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-1:] or ["no message"]
        hint = "next: pip install 'lora-ci[all]'" if "dvc" in command else None
        raise InfrastructureError(f"{' '.join(command[:4])}: {words[0]}", hint=hint)
    return done.stdout.strip()


def world() -> Path:
    """The example pictures and models: in the package, or in the checkout it runs from."""
    package = Path(__file__).parents[1]
    for folder in (package / "emoji", package.parent / "examples" / "emoji"):
        if (folder / "base").is_dir():
            return folder
    raise InfrastructureError("the example pictures are not in this installation")
