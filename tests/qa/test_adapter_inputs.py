"""Adapters as inputs of the judgement: a file, or one alone in a folder, as commits lay it out."""

import pytest

from lora_ci.core.errors import InputError
from lora_ci.qa.step import adapter_file

pytestmark = pytest.mark.slow  # loads torch


def test_a_file_is_itself_and_a_folder_is_its_only_file(tmp_path):
    file = tmp_path / "deep" / "style.safetensors"
    file.parent.mkdir()
    file.touch()
    assert adapter_file(file, "companion") == file
    assert adapter_file(tmp_path, "companion") == file


@pytest.mark.parametrize("count", [0, 2])
def test_none_or_several_are_told(tmp_path, count):
    for i in range(count):
        (tmp_path / f"{i}.safetensors").touch()
    with pytest.raises(InputError, match=f"companion adapter is a folder of {count} files") as told:
        adapter_file(tmp_path, "companion")
    assert "qa.compose_with" in told.value.findings[0].hint
