"""What may be released, and what is."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.config.model import Config, Lora
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Record


def withheld(config: Config, lora: Lora) -> str | None:
    """Why a LoRA is never released, whatever it scores."""
    if lora.deploy.on == "never":
        return "`deploy.on` is never: this LoRA is not released"
    licenses, own = config.policy.licenses, lora.deploy.license
    if licenses and own not in licenses:
        return f"license {own or 'none'} is not among `policy.licenses`"
    return None


def released_adapter(releases: Sequence[Record], other_than: str | None) -> str | None:
    """sha256 of the newest released adapter that is not `other_than`.

    A candidate must not fall behind it.
    """
    for record in releases:
        artifact = record.parts.get("adapter")
        if artifact and artifact != other_than:
            return artifact
    return None


def unknown_tag(tag: str, config: Config) -> Finding:
    """The error for a tag that asks for nothing that can be given."""
    name = next(iter(config.loras), "mei")
    return Finding(
        rule="plan.unknown-tag",
        severity=Severity.ERROR,
        message=f"tag `{tag}` names no LoRA of the config with a version or a channel",
        hint=f"expected such as {name}@v1.0.0, or {name}#prod for a release that is there",
    )
