"""Artifacts of a workflow run at the fake GitHub, for the stand-in actions."""

import fnmatch
import io
import json
import os
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

BASE = "/".join(
    [
        os.environ["GITHUB_SERVER_URL"],
        "_fake/artifacts",
        os.environ["GITHUB_REPOSITORY"],
        os.environ["GITHUB_RUN_ID"],
    ]
)


def ask(method: str, name: str = "", data: bytes | None = None) -> bytes:
    url = f"{BASE}/{urllib.parse.quote(name)}" if name else BASE
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as answer:
        return answer.read()


def upload(name: str, place: Path) -> None:
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    root = place.parent if place.is_file() else place
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(root))
    if files:
        ask("PUT", name, packed.getvalue())


def download(pattern: str, place: Path) -> None:
    for name in fnmatch.filter(json.loads(ask("GET")), pattern):
        with zipfile.ZipFile(io.BytesIO(ask("GET", name))) as archive:
            archive.extractall(place / name)


if __name__ == "__main__":
    {"upload": upload, "download": download}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
