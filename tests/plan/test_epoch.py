"""The images of an epoch, as the trainer counts them too."""

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Lora, Source
from lora_ci.core.changeset import FileEntry
from lora_ci.core.settings import TrainSettings
from lora_ci.plan.epoch import counted_repeats, epoch_images
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import prefix_of, train_fingerprint


def source(path: str, *files: str) -> InputFacts:
    entries = tuple(FileEntry(path=file, content_id=file) for file in files)
    return InputFacts(path=path, tracked_by="dvc", content_id=path, entries=entries)


def facts(*sources: InputFacts, repeats: tuple[int, ...], others: InputFacts | None = None):
    return LoraFacts(
        dataset=sources[0],
        base_model=None,
        sources=sources,
        repeats=repeats,
        regularization=others,
    )


def test_repeats_multiply_and_captions_do_not_count():
    a, b = source("a", "1.png", "1.txt", "2.jpg"), source("b", "3.webp")
    assert epoch_images(facts(a, repeats=())) == 2
    assert epoch_images(facts(a, b, repeats=(1, 5))) == 7


def test_regularization_doubles_an_epoch_however_many_there_are():
    a = source("a", "1.png", "2.png", "3.png")
    others = source("r", "4.png")
    assert epoch_images(facts(a, repeats=(2,), others=others)) == 12


def test_what_cannot_be_counted_is_one_image():
    unknown = InputFacts(path="a", tracked_by="dvc", content_id="a", entries=None)
    assert epoch_images(facts(unknown, repeats=(1,))) == 1


def lora(**train) -> Lora:
    settings = TrainSettings(schedule="constant", **train)
    return Lora(
        name="mei", dataset=(Source(path="a"),), base_model="m", trigger="mei", train=settings
    )


def test_repeats_are_shares_but_for_a_budget_in_epochs():
    a, b = source("a", "1.png"), source("b", "2.png")
    known = facts(a, b, repeats=(4, 6))
    assert counted_repeats(TrainSettings(steps=9), known) == (2, 3)
    assert counted_repeats(TrainSettings(epochs=9), known) == (4, 6)
    assert counted_repeats(TrainSettings(), facts(a, repeats=(10,))) == (1,)


def test_ten_repeats_make_ten_times_the_epoch_and_another_training():
    a = source("a", "1.png", "2.png")
    once, often = facts(a, repeats=(1,)), facts(a, repeats=(10,))
    by_epochs, by_steps = lora(epochs=3), lora(steps=3)
    assert by_epochs.train.total_steps(epoch_images(often)) == 15
    assert train_fingerprint(by_epochs, often) != train_fingerprint(by_epochs, once)
    assert train_fingerprint(by_steps, often) == train_fingerprint(by_steps, once)
    # What is drawn depends on the numbers too: neither continues the other.
    assert prefix_of(by_epochs, often) != prefix_of(by_steps, often)
    assert prefix_of(by_epochs, once) == prefix_of(by_steps, once)
