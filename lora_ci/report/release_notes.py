"""The notes of a release, as markdown."""

from __future__ import annotations

from lora_ci.core.run import RunView
from lora_ci.core.step import Stage
from lora_ci.report.figures import plain, size
from lora_ci.report.markdown import address, code, cut, escape, prose, table
from lora_ci.report.reason import details_of, recommended_weight
from lora_ci.report.scores import render_scores

MOST_FILES = 100
YANKED = "<!-- lora-ci: yanked -->"


def render_release_notes(view: RunView, lora: str, report_url: str | None = None) -> str:
    """What a user of the adapter wants to know: scores, weight, files, where it comes from."""
    steps = view.of(lora)
    found = details_of(steps)
    release = found[Stage.DEPLOY].release
    if release is None:
        return ""
    channels = ", ".join(f"`{code(channel)}`" for channel in release.channels)
    title = f"**{escape(lora)} {escape(release.version)}**"
    lines = [f"{title} in {channels}" if channels else title, ""]
    weight = recommended_weight(steps)
    if weight is not None:
        lines += [f"Recommended weight: **{plain(weight)}**", ""]
    if found[Stage.QA].judged:
        lines += render_scores(found[Stage.QA])
    files = [
        (f"`{code(file.name)}`", size(file.size), f"`{file.sha256}`")
        for file in release.files[:MOST_FILES]
    ]
    lines += [*table(("file", "size", "sha256"), files), ""]
    signed = f"signed by `{code(release.key_id)}`" if release.key_id else "not signed"
    stores = "".join(f"store `{code(target.name)}`, " for target in release.targets)
    lines += [f"From commit {escape(view.event.head[:12])}; {stores}{signed}.", ""]
    if report_url:
        lines += [f"[Full report]({address(report_url)})", ""]
    return cut("\n".join(lines), report_url)


def with_yank_banner(notes: str, reason: str) -> str:
    """The notes with what everybody must read first; a banner that is there is replaced."""
    if notes.startswith(YANKED):
        notes = notes.partition(f"\n{YANKED}\n\n")[2]
    told = prose(reason) if reason.strip() else "no reason was given"
    banner = f"> [!CAUTION]\n> **Yanked: do not use this version.** {told}"
    return cut(f"{YANKED}\n{banner}\n{YANKED}\n\n{notes}")
