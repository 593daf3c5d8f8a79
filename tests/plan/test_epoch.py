"""The images of an epoch, as the trainer counts them too."""

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import FileEntry
from lora_ci.plan.epoch import epoch_images
from lora_ci.plan.facts import LoraFacts


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
