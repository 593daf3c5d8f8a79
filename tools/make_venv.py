"""Makes the virtual environment from requirements.lock and installs lora-ci into it, editable."""

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADAMW8BIT = "bitsandbytes==0.50.2"


def main(folder: Path) -> None:
    """Creates or refreshes `folder`; safe to call again after an interruption."""
    if sys.version_info < (3, 11):
        sys.exit(
            f"lora-ci needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}"
        )
    if not (folder / "bin" / "pip").exists():
        ensure_ensurepip()
        venv.create(folder, with_pip=True, clear=True)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
    ]
    subprocess.run([*pip, "-r", str(ROOT / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True)
    # Beside the environment: where it is installed, peft imports it, a second for every process.
    apart = ["--no-deps", "--upgrade", "--target", str(folder / "apart" / "adamw8bit")]
    subprocess.run([*pip, *apart, ADAMW8BIT], check=True)


def ensure_ensurepip() -> None:
    """Debian and Ubuntu keep the pip seed of venv in a package of its own."""
    if importlib.util.find_spec("ensurepip"):
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"Python lacks ensurepip; next: sudo apt-get install {package}")
    subprocess.run(["apt-get", "update", "-q"], check=True)
    subprocess.run(["apt-get", "install", "-y", "-q", package], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
