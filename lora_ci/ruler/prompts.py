"""What is asked of an adapter: prompts by the type of LoRA, the config and the references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lora_ci.core.settings import LoraType, QaSettings

T = TypeVar("T")

IDENTITY = {
    LoraType.CHARACTER: (
        "{trigger}",
        "{trigger}, portrait",
        "{trigger}, full body",
        "photo of {trigger}",
    ),
    LoraType.OBJECT: ("{trigger}", "photo of {trigger}", "{trigger} on a table"),
    LoraType.CONCEPT: ("{trigger}", "photo of {trigger}", "{trigger}, close-up"),
    LoraType.STYLE: ("a house, {trigger}", "a cat, {trigger}", "a portrait of a woman, {trigger}"),
}
FLEXIBILITY = {
    LoraType.CHARACTER: (
        "{trigger}, anime style",
        "{trigger} as a superhero",
        "{trigger}, van gogh style",
        "{trigger}, cyberpunk",
    ),
    LoraType.OBJECT: (
        "{trigger} in the snow",
        "{trigger} on a beach",
        "{trigger}, pencil sketch",
        "{trigger}, van gogh style",
    ),
    LoraType.CONCEPT: (
        "{trigger} in the snow",
        "{trigger} on a beach",
        "{trigger}, anime style",
        "{trigger}, van gogh style",
    ),
    LoraType.STYLE: (
        "a superhero, {trigger}",
        "a mountain lake, {trigger}",
        "a cyberpunk city, {trigger}",
        "a bowl of fruit, {trigger}",
    ),
}
# What the concept is a case of, without its trigger: an adapter that stays out of the way leaves
# these as the base draws them.
BARE = {
    LoraType.CHARACTER: (
        "a portrait of a woman",
        "a portrait of a man",
        "a child in a park",
        "a group of people",
    ),
    LoraType.OBJECT: ("a wooden chair", "a red car", "a cup on a table", "a pair of shoes"),
    LoraType.CONCEPT: ("a street at night", "a forest", "a kitchen", "a portrait of a man"),
    LoraType.STYLE: ("a house", "a cat", "a portrait of a woman", "a mountain lake"),
}
MAX_REFERENCE_PROMPTS = 12
# Weights are compared on the same pictures, so few of them do.
MAX_STRENGTH_PROMPTS = 6
STRENGTH_SEEDS = 1
# The seeds a prompt that are looked at first, so base pictures of so many are always there.
FIRST_SEEDS = 2
# Who copies does so when asked for the very picture, so a few captions show it.
MAX_RECALLED_PROMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The prompts of a judgement, the trigger filled in.

    `contexts` are the flexibility prompts without the trigger: what else they ask for. `bare` name
    no trigger: on them the adapter ought to change nothing. `recalled` are captions of training
    pictures, which the adapter alone is asked for: they show what it knows by heart.
    """

    identity: tuple[str, ...]
    flexibility: tuple[str, ...]
    contexts: tuple[str, ...]
    bare: tuple[str, ...]
    recalled: tuple[str, ...] = ()

    @property
    def strength(self) -> tuple[str, ...]:
        """Some of the identity prompts, at which other weights are tried."""
        return tuple(spread(self.identity, MAX_STRENGTH_PROMPTS))

    def asks(self, trigger: str) -> dict[str, str]:
        """Beside the trigger, what each identity and flexibility prompt asks for: prompt → text.

        What asks for the trigger alone, or for the same as another, is left out.
        """
        pairs = [
            *zip(self.flexibility, self.contexts, strict=True),
            *((prompt, without_trigger(prompt, trigger)) for prompt in self.identity),
        ]
        found: dict[str, str] = {}
        for prompt, text in pairs:
            if text != prompt and text not in found.values():
                found[prompt] = text
        return found

    @property
    def every(self) -> tuple[str, ...]:
        """What base and adapter are both asked for, each once."""
        return tuple(dict.fromkeys((*self.identity, *self.flexibility, *self.bare)))


def make_prompts(
    kind: LoraType,
    trigger: str,
    settings: QaSettings,
    reference_captions: Sequence[str],
    training_captions: Sequence[str] = (),
) -> Prompts:
    """The config's prompts where given; else the references' own captions and the type's preset.

    A caption of a held-out picture asks for just that picture, so it makes a fair question. Prompts
    are what is counted, so one that is named twice is asked once.
    """
    kind = settings.preset or kind
    captions = [text for text in dict.fromkeys(reference_captions) if trigger in text]
    asked = settings.prompts or (*IDENTITY[kind], *spread(captions, MAX_REFERENCE_PROMPTS))
    flexibility = _once(fill(p, trigger) for p in settings.flexibility_prompts or FLEXIBILITY[kind])
    return Prompts(
        identity=_once(fill(p, trigger) for p in asked),
        flexibility=flexibility,
        contexts=tuple(without_trigger(p, trigger) for p in flexibility),
        bare=_once(settings.base_prompts or BARE[kind]),
        recalled=tuple(
            spread(list(dict.fromkeys(filter(None, training_captions))), MAX_RECALLED_PROMPTS)
        ),
    )


def _once(prompts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(prompts))


def fill(template: str, trigger: str) -> str:
    """The template with its trigger; other braces stay as they are."""
    return template.replace("{trigger}", trigger)


def without_trigger(template: str, trigger: str) -> str:
    """What a prompt asks for beside the concept: `{trigger}, anime style` → `anime style`."""
    text = template.replace("{trigger}", "").replace(trigger, "")
    words = " ".join(text.split()).replace(" ,", ",").strip(" ,")
    return words or template


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, taken evenly over the sequence."""
    count = min(len(items), most)
    return [items[i * len(items) // count] for i in range(count)]
