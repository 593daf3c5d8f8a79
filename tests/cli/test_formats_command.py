"""`lora-ci formats`: what people type, what they see, and what stays as it was."""

import json

import pytest
import torch

from lora_ci.cli.main import main
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import Q, random_adapter, small


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two adapters."""
    monkeypatch.chdir(tmp_path)
    write_adapter(small(rank=4, seed=1), tmp_path / "a.safetensors", Format.DIFFUSERS)
    write_adapter(small(rank=4, seed=2), tmp_path / "b.safetensors", Format.KOHYA)
    return tmp_path


def test_inspect_shows_a_table_and_json(here, capsys):
    assert main(["formats", "inspect", "b.safetensors"]) == 0
    told = capsys.readouterr().out
    for words in ("kohya", "sd1", "LoRA", "2 (unet)", "as the file says", "modelspec.title: LoRA"):
        assert words in told
    assert main(["formats", "inspect", "b.safetensors", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["schema"] == "lora-ci.formats-inspect/1"
    assert value["ranks"] == {"4": 2}


def test_inspect_prints_foreign_words_on_one_line(here, capsys):
    adapter = small(metadata={"modelspec.title": "a\n::error::\x1b[2J" + "x" * 999})
    write_adapter(adapter, here / "c.safetensors", Format.KOHYA)
    assert main(["formats", "inspect", "c.safetensors"]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\n::error" not in told
    assert max(map(len, told.splitlines())) < 200


def test_convert_keeps_the_effect_and_an_existing_file(here, capsys):
    command = ["formats", "convert", "a.safetensors", "k.safetensors", "--to", "kohya"]
    assert main([*command, "--dtype", "fp16"]) == 0
    assert "2 layers for sd1, kohya, fp16" in capsys.readouterr().out
    found = inspect_file(here / "k.safetensors")
    assert (found.format, found.dtypes["F16"]) == ("kohya", 4)
    adapters = [read_adapter(here / f"{name}.safetensors") for name in "ak"]
    assert all(effect.same for effect in compare_effect(*adapters))
    before = (here / "k.safetensors").read_bytes()
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "is there already" in told
    assert "--force" in told
    assert (here / "k.safetensors").read_bytes() == before
    assert main([*command, "--force"]) == 0
    assert (here / "k.safetensors").read_bytes() != before


def test_resize_says_what_it_lost(here, capsys):
    assert main(["formats", "resize", "b.safetensors", "r.safetensors", "--rank", "2"]) == 0
    told = capsys.readouterr().out
    assert "rank 4 → 2; relative error" in told
    assert Q in told
    found = inspect_file(here / "r.safetensors")
    assert (found.format, found.ranks) == ("kohya", {"2": 2})
    command = ["formats", "resize", "b.safetensors", "s.safetensors", "--max-error", "0", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["error"] < 1e-6


def test_merge_is_exact_or_states_its_error(here, capsys):
    command = ["formats", "merge", "a.safetensors", "b.safetensors", "--out", "m.safetensors"]
    assert main([*command, "--weights", "0.5,-1", "--to", "kohya"]) == 0
    assert "2 adapters, rank 8, exact" in capsys.readouterr().out
    a, b, m = (read_adapter(here / f"{name}.safetensors").layers[Q].delta() for name in "abm")
    assert torch.allclose(m, 0.5 * a - b, atol=1e-5)
    assert main([*command, "--rank", "3", "--force"]) == 0
    assert "rank 3, relative error" in capsys.readouterr().out


def test_an_average_of_factors_is_refused_with_its_error(here, capsys):
    command = ["formats", "merge", "a.safetensors", "b.safetensors", "--out", "m.safetensors"]
    assert main([*command, "--method", "average", "--weights", "0.5,0.5"]) == 2
    told = capsys.readouterr().err
    assert "mixes each adapter's ups with the others' downs" in told
    assert "% of the update's size" in told
    assert "--method cat" in told
    assert not (here / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["inspect", "none.safetensors"], 1, "cannot be read"),
        (["convert", "a.safetensors", "no/k.safetensors", "--to", "kohya"], 2, "no such folder"),
        (["resize", "a.safetensors", "r.safetensors"], 2, "resize to what?"),
        (["resize", "a.safetensors", "r.safetensors", "--rank", "0"], 2, "at least 1"),
        (["merge", "a.safetensors", "--out", "m", "--weights", "x"], 2, "not numbers"),
        (["merge", "a.safetensors", "--out", "m", "--weights", "1,2"], 2, "2 weights for 1"),
        (["merge", "a.safetensors", "--out", "m", "--weights", "nan"], 2, "no finite number"),
        (["convert", "a.safetensors", ".", "--to", "kohya", "--force"], 2, ". is a folder"),
        (["resize", "a.safetensors", ".", "--rank", "2", "--force"], 2, ". is a folder"),
        (["merge", "a.safetensors", "--out", "m", "--method", "svd"], 2, "svd to what?"),
        (
            ["merge", "a.safetensors", "--out", "m", "--method", "cat", "--rank", "2"],
            2,
            "knows no --rank",
        ),
        (["check", "a.safetensors", "--base", "nowhere"], 2, "is no folder"),
    ],
)
def test_what_cannot_be_done_is_told(here, capsys, command, code, words):
    assert main(["formats", *command]) == code
    told = capsys.readouterr().err
    assert words in told
    assert "  → " in told
    assert "Traceback" not in told


def test_check_by_itself(here, capsys):
    assert main(["formats", "check", "a.safetensors"]) == 0
    assert "fits (by itself" in capsys.readouterr().out
    adapter = small(metadata={"ss_base_model_version": "flux1"})
    idle = {name: layer for name, layer in adapter.layers.items() if layer.up.zero_() is not None}
    write_adapter(type(adapter)(layers=idle), here / "z.safetensors", Format.KOHYA)
    assert main(["formats", "check", "z.safetensors"]) == 1
    told = capsys.readouterr()
    assert "the adapter does nothing" in told.err
    assert "does not work" in told.out


@pytest.mark.slow
def test_check_with_a_base(here, tiny_sd, tiny_sdxl, capsys):
    from lora_ci.diffusion.outline import base_shapes

    shapes = {n: s for n, s in base_shapes(tiny_sd).items() if n.endswith("to_k")}
    write_adapter(random_adapter(shapes), here / "q.safetensors", Format.KOHYA)
    assert main(["formats", "check", "q.safetensors", "--base", str(tiny_sd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert main(["formats", "check", "q.safetensors", "--base", str(tiny_sdxl)]) == 1
    told = capsys.readouterr()
    assert "the file says that it is for sd1, the base is sdxl" in told.err
    assert "does not fit" in told.out
