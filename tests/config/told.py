"""What the loader says of a config."""

import pytest

from lora_ci.config.load import load_config
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding

SMALL = b"""\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
"""


def findings(text: bytes, files: dict[str, bytes] | None = None) -> tuple[Finding, ...]:
    """The findings of a config that is refused."""
    with pytest.raises(UsageError) as caught:
        load_config(text, read=(files or {}).get)
    return caught.value.findings


def errors(text: bytes, files: dict[str, bytes] | None = None) -> list[str]:
    """Place and message of each."""
    return [f"{f.location()} {f.message}" for f in findings(text, files)]
