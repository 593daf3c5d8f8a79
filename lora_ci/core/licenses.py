"""Licenses of embedders: which of them let a judgement serve commercial work."""

from __future__ import annotations

# SPDX ids of licenses that allow commercial use and ask for no more than notices and attribution.
# Source: https://spdx.org/licenses/
PERMISSIVE = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unlicense",
    "Zlib",
)
_SPELLING = {name.lower(): name for name in PERMISSIVE}


def spdx_id(text: str) -> str:
    """The id as SPDX spells it, `apache-2.0` → `Apache-2.0`; one that is not known as it is."""
    return _SPELLING.get(text.strip().lower(), text.strip())


def why_not_commercial(license_id: str | None) -> str | None:
    """Why `license_policy: commercial` refuses an embedder; None if it does not."""
    if license_id is None:
        return "its license is not known"
    if spdx_id(license_id) not in PERMISSIVE:
        return f"its license `{license_id}` is not among {', '.join(PERMISSIVE)}"
    return None
