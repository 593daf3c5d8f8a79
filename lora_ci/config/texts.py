"""Every text of a config is one line that a terminal and a log can show; prompts may wrap."""

from __future__ import annotations

from lora_ci.config.document import Node
from lora_ci.config.reading import Reading

PROMPTS = frozenset(("prompts", "flexibility_prompts", "base_prompts", "negative_prompt"))
WRAPPED = str.maketrans("", "", "\n\t")


def check_texts(reading: Reading, node: Node, *, wraps: bool = False) -> None:
    """An error at each key and text with control characters; in prompts, ends of lines are none."""
    if isinstance(node.value, str):
        reading.on_one_line(node.value.translate(WRAPPED) if wraps else node.value, node.where)
    elif isinstance(node.value, list):
        for item in node.value:
            check_texts(reading, item, wraps=wraps)
    elif isinstance(node.value, dict):
        for key, child in node.value.items():
            reading.on_one_line(key, child.name_at)
            check_texts(reading, child, wraps=wraps or key in PROMPTS)
