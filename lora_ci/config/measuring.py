"""What a judgement measures with, told at its line: the embedder, its license, the scanners."""

from __future__ import annotations

from collections.abc import Mapping

from lora_ci.config.document import Node
from lora_ci.config.reading import LONGEST_SHOWN, Reading
from lora_ci.core.embedders import EmbedderKind, parse_embedder
from lora_ci.core.errors import InputError
from lora_ci.core.licenses import why_not_commercial
from lora_ci.core.settings import QaSettings, ValidateSettings

SCANNERS = (
    "expected `onnx:<file>`, `path:<folder>`, `hf:<owner>/<name>@<commit>` or `exec:<command>`"
)
# Their files hold no card that could say the license.
NO_CARD = (EmbedderKind.ONNX, EmbedderKind.TORCHSCRIPT, EmbedderKind.EXEC)


def check_measuring(reading: Reading, settings: QaSettings, node: Node) -> None:
    """Errors at what cannot be opened, or what `license_policy` would refuse in any case."""
    given = node.value if isinstance(node.value, dict) else {}
    _check_embedder(reading, settings, node, given)
    if settings.safety is None:
        return
    where = given.get("safety", node).where
    if not settings.safety.startswith("exec:"):
        message = f"`safety` is `{settings.safety[:LONGEST_SHOWN]}`: expected `exec:<command>`"
        reading.say("value", message, where, "such as `exec:python /opt/scan.py`")
        return
    try:
        parse_embedder(settings.safety)
    except InputError as error:
        reading.say("value", f"`safety`: {error}", where, error.findings[0].hint)


def check_scanning(reading: Reading, settings: ValidateSettings, node: Node) -> None:
    """Errors at what cannot scan a dataset."""
    given = node.value if isinstance(node.value, dict) else {}
    if settings.yara is not None:
        reading.inside_repository(settings.yara, given.get("yara", node).where)
    if settings.content is None:
        return
    where = given.get("content", node).where
    try:
        spec = parse_embedder(settings.content)
    except InputError as error:
        reading.say("value", f"`content`: {error}", where, SCANNERS)
        return
    if spec.kind in (EmbedderKind.CLASSIC, EmbedderKind.TORCHSCRIPT):
        message = f"`content`: `{spec.kind}:` scans nothing"
        reading.say("value", message, where, SCANNERS)
    elif spec.path is not None:
        reading.inside_repository(spec.path, where)


def _check_embedder(
    reading: Reading, settings: QaSettings, node: Node, given: Mapping[str, Node]
) -> None:
    where = given.get("embedder", node).where
    try:
        spec = parse_embedder(settings.embedder)
    except InputError as error:
        reading.say("embedder", f"`embedder`: {error}", where, error.findings[0].hint)
        return
    if spec.path is not None and not reading.inside_repository(spec.path, where):
        return
    told = settings.embedder_license
    place = given.get("embedder_license", node)
    if spec.kind is EmbedderKind.CLASSIC:
        if told is not None:
            message = "`embedder_license` has no effect with `classic:`, which is a part of lora-ci"
            reading.note("no-effect", message, place.name_at, "remove `embedder_license`")
        return
    if settings.license_policy != "commercial" or (told is None and spec.kind not in NO_CARD):
        return
    if problem := why_not_commercial(told):
        message = f"`license_policy: commercial` refuses the embedder: {problem}"
        hint = "give its SPDX id as `embedder_license`, or use another embedder"
        reading.say("license", message, place.where if told is not None else where, hint)
