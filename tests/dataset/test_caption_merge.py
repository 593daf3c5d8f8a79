"""Captions of several models become one: what is agreed on, once, within the limit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.core.errors import InputError
from lora_ci.dataset.captioning.merge import Merged, MergeSettings, merge_captions
from lora_ci.dataset.trigger import Trigger

HAT = "There is an arafed woman wearing a red hat sitting on a bench in front of a tree."
ALSO = "The image shows a young woman in a red hat. She is sitting on a bench, possibly in a park."
TAGS = "1girl, solo, blue_hat, sitting, bench, outdoors"


def tokens(text: str) -> int:
    return len(text.replace(",", " ,").split())


def merged(*said: str, likeness=None, others=(), **own) -> Merged:
    made = MergeSettings(**{"trigger": "mei", "count": tokens, "limit": 75, **own})
    return merge_captions(said, made, likeness=likeness, others=others)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ((), "mei"),
        (("",), "mei"),
        ((HAT,), "mei, a woman wearing a red hat sitting on a bench in front of a tree"),
        ((HAT, ALSO), "mei, a woman wearing a red hat sitting on a bench"),
        ((HAT, ALSO, TAGS), "mei, a woman wearing a red hat sitting on a bench"),
        ((HAT, TAGS), "mei, a woman wearing a hat sitting on a bench"),
        (("a red vase",), "mei, a red vase"),
        (("a vase, a cup", "a cup, a plate"), "mei, a cup"),
        (("the sky is blue. It's a sunny day",), "mei, blue sky, a sunny day"),
        (("a black and white photo of a dog",), "mei, a black-and-white photo of a dog"),
        (("A dog. The dog appears to be an old dog!",), "mei, a dog, the dog an old dog"),
        (("two dogs on a couch", "dogs on a sofa", "two dogs"), "mei, two dogs on a couch"),
        (("an orange hat", "a blue hat"), "mei, a hat"),
        (("a dancing woman, a cup", "a woman with a cup"), "mei, a woman with a cup"),
        (("a red cup and a blue cup", "a red cup"), "mei, a red cup"),
        (("a, of the, ^_^",), "mei"),
        (
            ("A photo of a dog. The dog has brown fur and is sitting on grass. It has a tail",),
            "mei, a photo of a dog, brown fur and sitting on grass, a tail",
        ),
        (
            ("a group of people are standing in a hall", "people standing in a hall with food"),
            "mei, people standing in a hall",
        ),
    ],
)
def test_what_becomes_of_captions(said, text):
    assert merged(*said).text == text


def test_tags_have_the_trigger_as_the_first_field_and_no_articles():
    found = merged(HAT, ALSO, TAGS, style="tags").text
    assert found == "mei, 1girl, red hat, sitting, bench"
    assert merged("a woman holding a cup in a garden", style="tags").text == (
        "mei, woman, holding cup, garden"
    )
    assert merged("hand_on_hip, dress_(long), looking_at_viewer", style="tags").text == (
        "mei, hand on hip, dress (long), looking at viewer"
    )


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("a woman wearing a hat", "mei wearing a hat"),
        ("a smiling girl holding a cup", "mei, smiling, holding a cup"),
        ("a woman dancing on grass", "mei, dancing on grass"),
        ("a hat on a woman", "mei, a hat on a woman"),
        ("a cup", "mei, a cup"),
        ("mei, a woman in a hat", "mei, a woman in a hat"),
    ],
)
def test_the_trigger_takes_the_place_of_the_class_noun(said, text):
    assert merged(said, class_noun="woman").text == text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Mei is wearing a hat", "mei wearing a hat"),
        ("mei, wearing a hat", "mei, wearing a hat"),
        ("mei mei with a cup", "mei with a cup"),
        ("a photo of mei, a woman", "mei, a photo of, a woman"),
        ("meister of a garden", "mei, meister of a garden"),
    ],
)
def test_a_trigger_that_a_model_says_stands_once(said, text):
    assert merged(said).text == text


def test_two_colors_of_one_thing_are_told_and_neither_is_taken():
    found = merged("a cup on a red table", "a cup on a blue table")
    assert found.text == "mei, a cup on a table"
    assert found.ties == ("color of table: blue or red",)
    assert found.votes["a cup"] == found.votes["on a table"] == 2
    most = merged("a cup on a red table", "a cup on a blue table", "a spoon on a red table")
    assert (most.text, most.ties) == ("mei, a cup on a red table", ())
    assert most.votes["red table"] == 2


@pytest.mark.parametrize(
    ("said", "tie"),
    [
        (("a dog", "two dogs"), "number of dog: 1 or 2"),
        (("a man on a horse", "a woman on a horse"), "gender: man or woman"),
        (("a cat sitting on a mat", "a cat lying on a mat"), "posture: lying or sitting"),
        (("1girl, outdoors", "1girl, indoors"), "place: indoors or outdoors"),
        (("a girl with long hair", "a girl with short hair"), "length of hair: long or short"),
    ],
)
def test_what_excludes_each_other_is_told(said, tie):
    assert merged(*said).ties == (tie,)


def test_what_one_model_says_stays_if_the_picture_is_near_to_it():
    near = {"a cup": 0.3, "on a table": 0.3, "by a window": 0.31, "with a spoon": 0.29}

    def likeness(texts):
        return [near.get(text.removeprefix("with "), near.get(text, 0.3)) for text in texts]

    said = ("a cup by a window", "a cup with a spoon")
    assert merged(*said, likeness=likeness).text == "mei, a cup"
    found = merged(*said, likeness=likeness, others=["a car", "a tree", "a house"])
    assert found.text == "mei, a cup by a window"
    assert found.votes == {"a cup": 2, "by a window": 1}


def test_the_most_agreed_on_goes_last_where_tokens_are_few():
    said = [
        "a cup on a table, a spoon, a plate",
        "a cup on a table, a plate, a lamp",
        "a cup on a table, a lamp, a plate",
    ]
    assert merged(*said).text == "mei, a cup on a table, a plate, a lamp"
    assert merged(*said, limit=10).text == "mei, a cup on a table, a plate"
    assert merged(*said, limit=9).text == "mei, a cup on a table"
    assert merged(*said, limit=5).text == "mei, a cup"
    assert merged(*said, limit=1).text == "mei"
    with pytest.raises(InputError, match="the trigger `mei` has more than 0 tokens"):
        merged(*said, limit=0)


def test_disagreement_goes_from_none_to_all():
    assert merged(HAT).disagreement is None
    assert merged(HAT, HAT).disagreement == 0
    assert merged("a cup", "a tree").disagreement == 1
    near = merged(HAT, HAT, ALSO).disagreement
    assert 0 < near < merged(HAT, ALSO, TAGS).disagreement < 1


VOCABULARY = (
    "a an the woman man girl dogs dog hat red blue black white and with wearing sitting on in "
    "front of next to is that two 1girl long hair possibly arafed image shows there this she "
    "has standing indoors outdoors mei lin Mei mei_lin _ , . ; : ! \n (hat) ^_^ red-and-blue "
    "woman's sky a, hat. grüne 猫 İ ß x 3 of photo the, can't 2girls large lies as while"
)
WORDS = st.sampled_from(VOCABULARY.split(" "))
TEXTS = st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=12)
SAID = st.lists(TEXTS, max_size=4)
ASKED = {
    "trigger": st.sampled_from(["mei", "mei lin", "red hat", "ohwx woman", "<m>", "on", "mei_lin"]),
    "limit": st.integers(4, 30),
    "style": st.sampled_from(["prose", "tags"]),
    "class_noun": st.sampled_from([None, "woman", "dog"]),
}


def near(texts):
    return [len(text) % 5 for text in texts]


@settings(max_examples=150, deadline=None)
@given(said=SAID, own=st.fixed_dictionaries(ASKED), order=st.randoms(use_true_random=False))
def test_whatever_is_said(said, own, order):
    found = merged(*said, likeness=near, others=["a", "a cup"], **own)
    assert tokens(found.text) <= own["limit"]
    assert found.text.startswith(own["trigger"])
    assert len(Trigger(own["trigger"]).places(found.text)) == 1
    assert found.text.isprintable()
    shuffled = list(said)
    order.shuffle(shuffled)
    assert merged(*shuffled, likeness=near, others=["a", "a cup"], **own) == found


@settings(max_examples=150, deadline=None)
@given(said=SAID, own=st.fixed_dictionaries(ASKED), times=st.integers(1, 3))
def test_a_merged_caption_is_merged_already(said, own, times):
    text = merged(*said, **own).text
    assert merged(*[text] * times, **own).text == text
