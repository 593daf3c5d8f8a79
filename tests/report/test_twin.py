"""The facts as JSON: complete, finite, and of a shape that programs may count on."""

import json
import math
from dataclasses import replace

from lora_ci.core.run import VoteCount
from lora_ci.report.twin import render_twin
from tests.situations import failed_gate, passed, training
from tests.views import exhibits, make_view, qa_details, qa_step, tried_weights

VOTES = VoteCount(
    lora="mei", fingerprint="0" * 64, count=3, preferred_new=2, preferred_other=1, ties=0
)


def facts(view):
    return json.loads(render_twin(view), parse_constant=lambda name: 1 / 0)


def test_what_the_page_shows_is_told():
    told = facts(replace(failed_gate(), votes=(VOTES,)))
    assert (told["version"], told["outcome"], told["pull_request"]) == (1, "failed", 7)
    mei = told["loras"]["mei"]
    assert mei["outcome"] == "failed"
    assert mei["reason"].startswith("failed qa: overall 0.74")
    assert mei["votes"][0]["preferred_new"] == 2
    qa = mei["stages"]["qa"]
    assert qa["details"]["tests"][0]["name"] == "identity"
    assert qa["details"]["checks"][0] == {
        "name": "leakage", "metric": "leakage", "sound": False, "skipped": False, "value": 0.31,
        "low": 0.24, "high": 0.38, "why": "without the trigger pictures become 0.31 like it",
    }  # fmt: skip
    assert qa["details"]["looks"] == [{"seeds": 2, "error": 0.02, "outcome": "failed"}]
    assert qa["findings"][0]["rule"] == "qa.gate-failed"
    assert qa["parts"]["train.rank"] == "[8]"
    assert mei["stages"]["optimize"] == {
        "action": "blocked",
        "why": "qa failed in run 20261124-120000-abcd1234",
        "fingerprint": mei["stages"]["optimize"]["fingerprint"],
        "parts": mei["stages"]["optimize"]["parts"],
        "outcome": None,
    }


def test_pictures_are_named_by_their_artifacts():
    labels = [*exhibits(["a cat"], 1), *tried_weights(["a cat"])["pictures"]]
    files = {label["artifact"]: label["artifact"].encode() for label in labels}
    told = facts(make_view(qa_step(details=qa_details(labels), files=files)))
    qa = told["loras"]["mei"]["stages"]["qa"]
    kept = {artifact["name"]: artifact["sha256"] for artifact in qa["artifacts"]}
    assert {picture["artifact"] for picture in qa["details"]["pictures"]} == set(kept)


def test_numbers_are_finite_and_what_is_empty_is_absent():
    details = qa_details([])
    details["tests"][0]["score"] = math.nan
    step = qa_step(details=details)
    step.result.metrics["identity"] = math.inf
    told = facts(make_view(step, head="", number=None))
    qa = told["loras"]["mei"]["stages"]["qa"]
    assert qa["metrics"]["identity"] is None
    assert qa["details"]["tests"][0]["score"] is None
    assert "pictures" not in qa["details"]
    assert (told["commit"], told["pull_request"]) == (None, None)


def test_a_run_that_goes_on_has_no_outcome_yet():
    assert facts(training())["outcome"] is None
    assert facts(passed())["loras"]["mei"]["outcome"] == "passed"
