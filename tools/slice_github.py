"""Cuts what the fake GitHub needs out of two packages of Octokit (MIT).

    npm pack @octokit/openapi@23.0.2 @octokit/webhooks-examples@7.6.1
    python tools/slice_github.py octokit-openapi-23.0.2.tgz octokit-webhooks-examples-7.6.1.tgz

writes tests/fake_github/openapi.json.gz (the operations the fake serves, and the schemas they
need, without texts) and tests/fake_github/payloads.json.gz (examples of webhook deliveries). The
same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FOLDER = ROOT / "tests" / "fake_github"
OPENAPI_MEMBER = "package/generated/api.github.com.json"
PAYLOADS_MEMBER = "package/api.github.com/index.json"
TEXTS = ("description", "example", "examples", "externalDocs", "summary", "tags", "title")
EVENTS = (
    "check_run",
    "check_suite",
    "create",
    "delete",
    "installation",
    "installation_repositories",
    "issue_comment",
    "issues",
    "member",
    "ping",
    "pull_request",
    "pull_request_review",
    "push",
    "release",
    "repository",
    "star",
    "status",
    "workflow_run",
)


def main(argv: list[str] | None = None) -> int:
    """Writes both slices; returns 0."""
    from tests.fake_github.routes import OPERATIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("openapi", type=Path, help="the tarball of @octokit/openapi, or its JSON")
    parser.add_argument("payloads", type=Path, help="the tarball of @octokit/webhooks-examples")
    chosen = parser.parse_args(argv)
    spec = slice_openapi(read_member(chosen.openapi, OPENAPI_MEMBER), OPERATIONS)
    write_gzip(FOLDER / "openapi.json.gz", spec)
    write_gzip(
        FOLDER / "payloads.json.gz", slice_payloads(read_member(chosen.payloads, PAYLOADS_MEMBER))
    )
    return 0


def read_member(path: Path, member: str) -> Any:
    """A JSON file of a package: from its tarball, or the file itself."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    with tarfile.open(path) as archive:
        file = archive.extractfile(member)
        assert file is not None, f"{path} has no {member}"
        return json.load(file)


def slice_openapi(spec: dict[str, Any], operations: set[tuple[str, str]]) -> dict[str, Any]:
    """The operations, each (method, path), and all they refer to."""
    paths: dict[str, Any] = {}
    for method, path in sorted(operations):
        operation = without_texts(spec["paths"][path][method.lower()])
        operation.pop("x-github", None)
        if operation["operationId"] == "apps/list-installations":
            # It asks accounts to be a person and an enterprise at once; the others do not.
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            schema["items"] = {"$ref": "#/components/schemas/installation"}
        paths.setdefault(path, {})[method.lower()] = operation
    components: dict[str, dict[str, Any]] = {}
    waiting = list(references(paths))
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name in components.setdefault(kind, {}):
            continue
        part = without_texts(spec["components"][kind][name])
        if (kind, name) == ("parameters", "created"):
            del part["schema"]["format"]  # it takes ranges such as `>=2026-01-31`, by its own text
        components[kind][name] = part
        waiting.extend(references(part))
    return {
        "openapi": spec["openapi"],
        "info": {"title": spec["info"]["title"], "version": spec["info"]["version"]},
        "paths": paths,
        "components": components,
    }


def without_texts(node: Any, *, names: bool = False) -> Any:
    """A copy without what only people read. `names`: the keys here are names, not keywords."""
    if isinstance(node, list):
        return [without_texts(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for key, value in node.items():
        if not names and key in TEXTS:
            continue
        kept[key] = (
            value
            if key in ("enum", "default")
            else without_texts(
                value, names=not names and key in ("properties", "patternProperties")
            )
        )
    if not names and "oneOf" in kept:
        kept.pop("discriminator", None)  # it asks a folder's listing, an array, for its `type`
    return kept if names else with_null(kept)


def with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Lets a nullable schema be null where its choices forbid it.

    GitHub does send null there (the conclusion of a check that goes on, the author of a commit by
    nobody known), but OpenAPI 3.0 takes a null only if the choices name it as well.
    """
    if schema.get("nullable") is not True:
        return schema
    if "enum" in schema and None not in schema["enum"]:
        return {**schema, "enum": [*schema["enum"], None]}
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return {**schema, choice: [*schema[choice], {"enum": [None]}]}
    return schema


def references(node: Any) -> list[str]:
    """All `$ref`s below a node."""
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return here + [found for value in node.values() for found in references(value)]


def slice_payloads(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The first example by `event.action`, or by `event` where it knows no actions."""
    kept: dict[str, Any] = {}
    for event in events:
        if event["name"] not in EVENTS:
            continue
        for example in event["examples"]:
            action = example.get("action")
            key = f"{event['name']}.{action}" if action else event["name"]
            kept.setdefault(key, example)
    return kept


def write_gzip(path: Path, value: Any) -> None:
    """The same value gives the same bytes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
