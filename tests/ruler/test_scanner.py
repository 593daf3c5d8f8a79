"""What a program says of pictures is taken as it is; an answer that is none is no safe picture."""

import numpy as np
import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.ruler.program import BATCH
from lora_ci.ruler.safety import flagged, open_scanner
from tests.tiny_embedders import write_program

DARK, LIGHT = (np.full((8, 8, 3), value, np.uint8) for value in (0, 200))
SCAN = """
import json, sys
from PIL import Image

for line in sys.stdin:
    paths = json.loads(line)["pictures"]
    dark = [Image.open(path).convert("L").getpixel((0, 0)) < 100 for path in paths]
    print(json.dumps({"labels": [["dark", "odd"] if is_dark else [] for is_dark in dark]}))
    sys.stdout.flush()
"""
ANSWER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)["pictures"]
    print(json.dumps(%s), flush=True)
"""


def scanner(place, text):
    return open_scanner(write_program(place, text))


def test_each_picture_gets_its_labels_in_order(tmp_path):
    many = [DARK if number % 7 == 0 else LIGHT for number in range(BATCH + 3)]
    found = scanner(tmp_path, SCAN).scan(many)
    assert list(found) == [{"dark": 1.0, "odd": 1.0} if p is DARK else {} for p in many]


def test_nothing_is_started_for_no_pictures(tmp_path):
    assert scanner(tmp_path, "raise SystemExit(1)").scan([]) == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("{}", "answered with no `labels` for 2 pictures"),
        ("{'labels': None}", "no `labels`"),
        ("{'labels': [[]]}", "1 lists of labels for 2 pictures"),
        ("{'labels': [[], 'dark']}", "called a picture `dark`"),
        ("{'labels': [[], [1]]}", "called a picture `[1]`"),
        ("{'labels': [[], ['']]}", "called a picture `['']`"),
        ("{'labels': [[], None]}", "called a picture `None`"),
        ("{'labels': [False, False]}", "called a picture `False`"),
        ("[[], []]", "expected a JSON object"),
        ("{'scores': [{}]}", "1 lists of scores for 2 pictures"),
        ("{'scores': [{}, {'gore': 1.5}]}", "called a picture `{'gore': 1.5}`"),
        ("{'scores': [{}, {'gore': float('nan')}]}", "called a picture"),
        ("{'scores': [{}, {'gore': True}]}", "called a picture"),
        ("{'scores': [{}, ['gore']]}", "called a picture `['gore']`"),
    ],
)
def test_an_answer_that_is_none_is_refused(tmp_path, answer, words):
    with pytest.raises(InfrastructureError, match="scanner `exec:") as caught:
        scanner(tmp_path, ANSWER % answer).scan([DARK, LIGHT])
    assert words in str(caught.value)


def test_a_program_that_ends_is_the_machine_s_fault(tmp_path):
    with pytest.raises(InfrastructureError, match="no model here"):
        scanner(tmp_path, "raise SystemExit('no model here')").scan([DARK])


def test_long_answers_are_cut(tmp_path):
    answer = "{'labels': [[f'{i} {500 * chr(120)}' for i in range(100)] for _ in asked]}"
    (found,) = scanner(tmp_path, ANSWER % answer).scan([DARK])
    assert (len(found), {len(label) for label in found}) == (20, {80})


def test_scores_are_taken_as_they_are(tmp_path):
    answer = "{'scores': [{'gore': 0.25, 'text': 1} for _ in asked]}"
    (found,) = scanner(tmp_path, ANSWER % answer).scan([DARK])
    assert found == {"gore": 0.25, "text": 1.0}


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ({}, ("gore", "text")),
        ({"gore": 0.6}, ()),
        ({"gore": 0.5, "blood": 0.0}, ("blood", "gore")),
        ({"safe": 0.1}, ("safe",)),
    ],
)
def test_limits_choose_the_labels_that_count(limits, labels):
    assert flagged({"gore": 0.5, "text": 1.0, "safe": 0.2}, limits) == labels
