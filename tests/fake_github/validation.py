"""Checks requests and answers against GitHub's published description, with openapi-core."""

from __future__ import annotations

import functools
import random
import threading
from dataclasses import dataclass
from typing import Any

from tests.fake_github.call import Answer, Call
from tests.fake_github.spec import load_spec

# All of these have a message; where the description lists one it often fits several of its schemas.
ERRORS = {400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429}


# What GitHub itself calls wrong was told to the client already.
UNREAD = {400, 422}
# openapi-core does not say that its validators may be shared between threads.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(slots=True)
class Validator:
    """Checks a share of all calls."""

    share: float
    rng: random.Random

    def chooses(self) -> bool:
        """True if the next call is to be checked."""
        return self.share >= 1 or (self.share > 0 and self.rng.random() < self.share)


def violations(call: Call, template: str, answer: Answer | None) -> list[str]:
    """What of a call breaks the description; without an answer only what was asked."""
    method = call.method.lower()
    where = f"{call.method} {call.path}"
    found = [
        f"{where}: unknown query parameter {name!r}"
        for name in call.query
        if name not in _query_names(method, template)
    ]
    request = _Request(call, template)
    refused = answer is not None and answer.status in ERRORS
    if answer is None or answer.status not in UNREAD:
        with _ONE_AT_A_TIME:
            told = [_told(error) for error in _requests().iter_errors(request)]
        found += [f"{where}: request: {what}" for what in told]
    if answer is None:
        return found
    if refused:
        if not isinstance(answer.body, dict) or "message" not in answer.body:
            found.append(f"{where}: {answer.status} without a message")
        return found
    # The description names redirects for few operations; GitHub answers every one so.
    if answer.status in (301, 304, 307):
        return found
    with _ONE_AT_A_TIME:
        told = [_told(error) for error in _responses().iter_errors(request, _Response(answer))]
    return found + [f"{where}: answer {answer.status}: {what}" for what in told]


@functools.cache
def _openapi() -> Any:
    from jsonschema_path import SchemaPath

    return SchemaPath.from_dict(load_spec())


@functools.cache
def _requests() -> Any:
    from openapi_core import V30RequestValidator

    return V30RequestValidator(_openapi(), path_finder_cls=_KnownPath)


@functools.cache
def _responses() -> Any:
    from openapi_core import V30ResponseValidator

    return V30ResponseValidator(_openapi(), path_finder_cls=_KnownPath)


class _KnownPath:
    """Finds the operation that the fake has found already."""

    def __init__(self, spec: Any, base_url: str | None = None):
        self.spec = spec

    def find(self, method: str, name: str) -> Any:
        from openapi_core.templating.datatypes import TemplateResult
        from openapi_core.templating.paths.datatypes import PathOperationServer

        template = name.removeprefix(_HOST)
        path = self.spec / "paths" / template
        result = TemplateResult(template, {})
        return PathOperationServer(path, path / method, None, result, result)


_HOST = "http://host"


class _Request:
    """A call as openapi-core takes it."""

    def __init__(self, call: Call, template: str):
        from openapi_core.datatypes import RequestParameters
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        self.host_url = _HOST
        self.path = template
        self.path_pattern = template
        self.method = call.method.lower()
        self.content_type = call.headers.get("content-type", "application/json").partition(";")[0]
        if self.content_type == "application/x-www-form-urlencoded":  # what curl -d says
            self.content_type = "application/json"
        if template.endswith("/assets") and self.method == "post":
            self.content_type = "application/octet-stream"
        self.body = call.data or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict({k: v for k, v in call.query.items() if v}),
            header=Headers(list(call.headers.items())),
            path=dict(call.params),
        )


class _Response:
    """An answer as openapi-core takes it."""

    def __init__(self, answer: Answer):
        from werkzeug.datastructures import Headers

        self.status_code = answer.status
        self.data = answer.encoded()
        self.headers = Headers(list(answer.headers.items()))
        self.content_type = "application/json"


def _operation(method: str, template: str) -> dict[str, Any]:
    return load_spec()["paths"][template][method]


@functools.cache
def _query_names(method: str, template: str) -> frozenset[str]:
    names = set()
    for parameter in _operation(method, template).get("parameters", ()):
        name = parameter.get("$ref", "").rpartition("/")[2]
        found = load_spec()["components"]["parameters"][name] if name else parameter
        if found["in"] == "query":
            names.add(found["name"])
    return frozenset(names)


def _told(error: Exception) -> str:
    cause = error.__cause__ or error
    details = getattr(cause, "schema_errors", None)
    if details:
        return "; ".join(
            f"{'.'.join(str(p) for p in detail.absolute_path) or 'body'}: {detail.message[:300]}"
            for detail in details
        )
    return f"{type(error).__name__}: {cause}"[:500]
