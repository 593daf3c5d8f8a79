"""Prompts come from the config, else from the references and the type's preset."""

from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.ruler.prompts import MAX_REFERENCE_PROMPTS, make_prompts, spread, without_trigger


def test_a_character_is_asked_for_by_preset_and_by_reference_captions():
    found = make_prompts(LoraType.CHARACTER, "mei", QaSettings(), ["mei, in a red coat", "a tree"])
    assert found.identity[:2] == ("mei", "mei, portrait")
    assert "mei, in a red coat" in found.identity
    assert "a tree" not in found.identity
    assert found.contexts[0] == "anime style"
    assert found.bare
    assert not [prompt for prompt in found.bare if "mei" in prompt]


def test_some_captions_of_training_pictures_are_asked_again():
    captions = ["", *(f"mei at {hour}" for hour in range(30)), "mei at 3"]
    found = make_prompts(LoraType.CHARACTER, "mei", QaSettings(), [], captions)
    assert len(found.recalled) == len(set(found.recalled)) == 8
    assert "" not in found.recalled
    assert not set(found.recalled) & set(found.every)


def test_the_config_has_the_last_word():
    settings = QaSettings(prompts=("{trigger} at sea",), flexibility_prompts=("a {trigger} doll",))
    found = make_prompts(LoraType.STYLE, "mei", settings, ["mei, in a red coat"])
    assert found.identity == ("mei at sea",)
    assert (found.flexibility, found.contexts) == (("a mei doll",), ("a doll",))


def test_a_prompt_that_is_named_twice_counts_once():
    settings = QaSettings(
        prompts=("mei at sea", "{trigger} at sea"),
        flexibility_prompts=("{trigger} in ink", "mei in ink", "{trigger} in oil"),
        base_prompts=("a tree", "a tree"),
    )
    found = make_prompts(LoraType.STYLE, "mei", settings, [])
    assert found.identity == ("mei at sea",)
    assert found.flexibility == ("mei in ink", "mei in oil")
    assert found.contexts == ("in ink", "in oil")
    assert found.bare == ("a tree",)


def test_many_references_are_sampled_evenly():
    captions = [f"mei {i}" for i in range(100)]
    found = make_prompts(LoraType.STYLE, "mei", QaSettings(), captions)
    asked = [p for p in found.identity if p.startswith("mei ")]
    assert len(asked) == MAX_REFERENCE_PROMPTS
    assert asked[0] == "mei 0"
    assert int(asked[-1].split()[1]) > 80


@given(st.lists(st.integers()), st.integers(1, 20))
def test_spread_keeps_order_and_bound(items, most):
    found = spread(items, most)
    assert len(found) == min(len(items), most)
    assert len(items) > most or found == items


def test_braces_that_are_no_trigger_stay():
    found = make_prompts(LoraType.OBJECT, "mei", QaSettings(prompts=("{x} {trigger}",)), [])
    assert found.identity == ("{x} mei",)
    assert without_trigger("{trigger}", "mei") == "{trigger}"


def test_what_prompts_ask_beside_the_trigger_is_told_once_each():
    settings = QaSettings(
        prompts=(
            "{trigger}",
            "{trigger} on a bus",
            "photo of {trigger} on a bus",
            "on a bus {trigger}",
        ),
        flexibility_prompts=("{trigger}, ink", "{trigger} ink"),
    )
    found = make_prompts(LoraType.OBJECT, "mei", settings, [])
    assert found.asks("mei") == {
        "mei, ink": "ink",
        "mei on a bus": "on a bus",
        "photo of mei on a bus": "photo of on a bus",
    }
