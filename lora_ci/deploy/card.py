"""The model card: what a person needs to use the adapter, and what the Hugging Face Hub reads."""

from __future__ import annotations

from lora_ci.deploy.release import Release, Source, diffusers_name, kohya_name

# SPDX ids that the Hub knows in lower case; any other is shown as `other` with its name.
# Source: https://huggingface.co/docs/hub/repositories-licenses
HUB_LICENSES = {
    "apache-2.0",
    "artistic-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "creativeml-openrail-m",
    "eupl-1.2",
    "isc",
    "mit",
    "mpl-2.0",
    "ofl-1.1",
    "unlicense",
}
SHOWN_METRICS = 12


def render_card(release: Release) -> str:
    """The card of a release. Only the files of the adapter are named: it is a file itself."""
    weight = 1.0 if release.recommended_weight is None else release.recommended_weight
    name = release.lora
    return "\n".join(
        [
            *_front_matter(release),
            f"# {name} {release.version}",
            "",
            f"A LoRA that teaches a {release.type}. Put its trigger in the prompt: "
            f"{_code(release.trigger)}",
            *_weight(release),
            "",
            "## Use",
            "",
            f"- **diffusers**: `pipe.load_lora_weights(folder, "
            f'weight_name="{diffusers_name(name)}")`',
            f"- **ComfyUI**: {_code(kohya_name(name))} in `models/loras/`",
            f"- **A1111**: {_code(kohya_name(name))} as `models/Lora/{name}.safetensors`, "
            f"then `<lora:{name}:{weight:g}>` in the prompt",
            "",
            "| file | bytes | sha256 |",
            "|---|---|---|",
            *(f"| `{f.name}` | {f.size} | `{f.sha256}` |" for f in release.files),
            "",
            *_metrics(release),
            "## Where it comes from",
            "",
            f"- base model: {_source(release.base_model)}",
            f"- dataset: {_source(release.dataset)}",
            f"- commit: {_code(release.commit)}",
            f"- license: {_code(release.license) if release.license else 'not stated'}",
            "",
            "`release.json` has all of this for programs. The folder is signed: "
            "`lora-ci verify .` tells whether it is whole, and by whom.",
            "",
        ]
    )


def _front_matter(release: Release) -> list[str]:
    """YAML that no text can break out of.

    `base_model` is left out: the Hub takes it for one of its own names, which a folder is not.
    """
    lines = ["---", "library_name: diffusers", "pipeline_tag: text-to-image"]
    lines += ["tags:", "- lora", "- diffusers", "- text-to-image", f"- {release.type}"]
    lines.append(f"instance_prompt: {_quoted(release.trigger)}")
    if release.license:
        known = release.license.lower() in HUB_LICENSES
        lines.append(f"license: {release.license.lower() if known else 'other'}")
        if not known:
            lines.append(f"license_name: {_quoted(release.license)}")
    return [*lines, "---", ""]


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes; what is not printable is escaped."""
    safe = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(safe)}"'


def _weight(release: Release) -> list[str]:
    if release.recommended_weight is None:
        return []
    return ["", f"Recommended weight: **{release.recommended_weight:g}**"]


def _metrics(release: Release) -> list[str]:
    shown = sorted(release.qa.metrics.items())[:SHOWN_METRICS]
    if not shown:
        return []
    ruler = release.qa.ruler
    lines = ["## Measured", "", "| metric | value |", "|---|---|"]
    lines += [f"| {_code(name)} | {value:.4g} |" for name, value in shown]
    if ruler:
        lines += ["", f"Only figures of the same ruler compare: {_code(ruler)}"]
    return [*lines, ""]


def _source(source: Source) -> str:
    return _code(source.path) + (f" ({_code(source.content_id)})" if source.content_id else "")


def _code(text: str) -> str:
    """Any text as a code span of one line that it cannot end, in a table too."""
    flat = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return f"`{flat or ' '}`"
