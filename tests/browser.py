"""A page in headless Chromium."""

import subprocess
from pathlib import Path


def dump_dom(page: Path) -> str:
    """The document of a page once it is loaded and its scripts have run."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={page.with_name('profile')}",
         "--window-size=1400,1000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout
