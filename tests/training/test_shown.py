"""What a training tells is what its report reads."""

from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.errors import InputError
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.details import SECTIONS, read_details
from lora_ci.report.page import render_page
from lora_ci.report.picture import as_it_is
from lora_ci.report.samples import shown_samples
from lora_ci.training.backend import Native
from tests.tiny_sd import write_dataset
from tests.training.place import Place, train_spec
from tests.views import StepView, make_decision, make_view

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(
    rank=2, batch_size=2, steps=3, resolution=16, buckets=False, checkpoint_every=2,
    validation_share=0.3, validate_every=1, sample_every=2, sample_prompts=("{trigger}", "a dog"),
)  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, tiny_sd: Path):
    root = tmp_path_factory.mktemp("shown")
    inputs = {"dataset": write_dataset(root / "dataset", images=5), "base_model": tiny_sd}

    def run(name: str, settings: TrainSettings):
        spec = train_spec(settings, inputs)
        place = Place(root=root / name, spec=spec)
        return Native().train(spec, place), place

    return run


def test_every_part_that_a_report_knows_is_told_in_its_shape(train):
    result, place = train("all", SETTINGS)
    assert set(SECTIONS[Stage.TRAIN]) <= set(result.details)
    found = read_details(Stage.TRAIN, result)
    assert found.unreadable == ()
    assert found.prompts == ("mei", "a dog")
    assert found.memory.rows == 2
    samples = shown_samples(result)
    assert [(s.number, s.step) for s in samples] == [(n, s) for n in (0, 1) for s in (0, 2, 3)]
    pictures = {s.sha256: as_it_is(place.store.get(s.sha256).read_bytes()) for s in samples}
    step = StepView(decision=make_decision("mei", Stage.TRAIN), result=result)
    page = render_page(make_view(step), pictures)
    assert page.count("<img") == 6
    assert "not in this page" not in page


def test_dora_is_told_to_look_different_in_tools_that_read_kohyas_format(train):
    plain, dora = (
        train(method, replace(SETTINGS, method=method, sample_every=None, sample_prompts=()))[0]
        for method in ("lora", "dora")
    )
    assert "train.dora-kohya" not in [f.rule for f in plain.findings]
    (finding,) = [f for f in dora.findings if f.rule == "train.dora-kohya"]
    assert finding.severity == "warning"
    assert "`adapter-kohya.safetensors`" in finding.message


def test_what_no_file_could_hold_ends_a_training_before_its_first_step(tmp_path, tiny_flux):
    inputs = {"dataset": write_dataset(tmp_path / "dataset"), "base_model": tiny_flux}
    settings = replace(SETTINGS, method="dora", sample_every=None, validation_share=0.0)
    spec = train_spec(settings, inputs)
    place = Place(root=tmp_path, spec=spec)
    with pytest.raises(InputError, match="DoRA on some parts of a matrix") as told:
        Native().train(spec, place)
    assert "[attention, feed-forward]" in told.value.findings[0].hint
    assert place.told == []
    whole = train_spec(replace(settings, modules=("attention", "feed-forward")), inputs)
    assert Native().train(whole, Place(root=tmp_path, spec=whole)).outcome is Outcome.PASSED
