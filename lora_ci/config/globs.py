"""A glob in `paths` that could never fit is an error: a push would be passed over in silence."""

from __future__ import annotations

import re

from lora_ci.config.document import Where
from lora_ci.config.reading import LONGEST_SHOWN, Reading

UNKNOWN = re.compile(r"[{}\[\]!]")
KNOWN = "only `*`, `?` and, as a whole part, `**` are known"


def check_glob(reading: Reading, glob: str, where: Where) -> None:
    """An error, with the right spelling, for what fits no path of a repository."""
    shown = glob[:LONGEST_SHOWN]
    if ".." in glob.split("/"):
        reading.inside_repository(glob, where)
    elif found := UNKNOWN.search(glob):
        message = f"`{shown}` has a `{found[0]}`: {KNOWN}"
        reading.say("glob", message, where, "write a glob for each thing that is meant")
    elif (right := respelled(glob)) != glob:
        message = f"`{shown}` fits no path: {KNOWN}; a path has no `/` at its ends, no `.`"
        reading.say("glob", message, where, f"write `{right[:LONGEST_SHOWN]}`")
    else:
        reading.inside_repository(glob, where)


def respelled(glob: str) -> str:
    """The glob as it was meant: from the top, a folder as all below it, `**` as a whole part."""
    parts = [_whole(part) for part in glob.split("/") if part not in ("", ".")]
    if not parts or (glob.endswith(("/", "/.")) and parts[-1] != "**"):
        parts.append("**")
    return "/".join(parts)


def _whole(part: str) -> str:
    before, found, after = part.partition("**")
    if not found or part == "**":
        return part
    after = after.lstrip("*")
    if before and after:
        return f"{before}*/**/{_whole('*' + after)}"
    if after:
        return f"**/{_whole('*' + after)}"
    if before in (".", ".."):
        # Alone it is another folder, not one whose name begins so.
        return f"{before}*/**"
    return f"{before}/**" if before else "**"
