"""Whose license an embedder is under, and what the commercial policy lets in."""

from pathlib import Path

import pytest

from lora_ci.core.embedders import parse_embedder
from lora_ci.core.errors import InputError
from lora_ci.core.licenses import PERMISSIVE, spdx_id, why_not_commercial
from lora_ci.ruler.licenses import KNOWN, card_license, find_license
from lora_ci.ruler.opening import open_embedder
from tests.tiny_embedders import write_onnx

HEX = "0123456789abcdef0123456789abcdef01234567"
CLIP = Path("examples/emoji/clip")


def card(folder: Path, front: str) -> Path:
    (folder / "README.md").write_text(f"---\n{front}\n---\n# a model\nlicense: nothing here\n")
    return folder


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: apache-2.0", "Apache-2.0"),
        ("license: [mit]", "MIT"),
        ("license: cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("license: other\nlicense_name: dinov3-license", "LicenseRef-dinov3-license"),
        ("license: other", "LicenseRef-other"),
        ("license: unknown", None),
        ("license: [mit, apache-2.0]", None),
        ("license: 3", None),
        ("tags: [clip]", None),
        ("- a\n- list", None),
        ("a: [1", None),
    ],
)
def test_the_card_says_it_in_its_front_matter(tmp_path, front, expected):
    assert card_license(card(tmp_path, front)) == expected


@pytest.mark.parametrize(
    "text", ["", "# a model\n", "---\nlicense: mit\n", "----\nlicense: mit\n---"]
)
def test_a_card_without_front_matter_says_nothing(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    assert card_license(tmp_path) is None
    assert card_license(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai/clip-vit-large-patch14", "MIT"),
        ("google/siglip-base-patch16-224", "Apache-2.0"),
        ("google/siglip2-so400m-patch14-384", "Apache-2.0"),
        ("facebook/dinov2-small", "Apache-2.0"),
        ("facebook/dinov3-vits16-pretrain-lvd1689m", "LicenseRef-dinov3-license"),
        ("somebody/clip-vit-large-patch14", None),
    ],
)
def test_well_known_names_stand_in_for_a_silent_card(tmp_path, name, expected):
    spec = parse_embedder(f"hf:{name}@{HEX}")
    assert find_license(spec, tmp_path, None) == expected
    assert find_license(spec, card(tmp_path, "license: isc"), None) == "ISC"
    assert find_license(spec, tmp_path, "bsd-3-clause") == "BSD-3-Clause"


def test_a_copy_of_a_model_has_no_name():
    assert find_license(parse_embedder("path:openai/clip-vit-large-patch14"), None, None) is None


def test_what_is_ours_is_ours():
    assert find_license(parse_embedder("classic:"), None, "MIT") == "Apache-2.0"


@pytest.mark.parametrize(
    ("license_id", "allowed"),
    [
        ("MIT", True),
        ("apache-2.0", True),
        ("CC-BY-4.0", True),
        ("CC-BY-NC-4.0", False),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("openrail", False),
        ("LicenseRef-dinov3-license", False),
        ("MIT-like", False),
        ("", False),
        (None, False),
    ],
)
def test_commercial_work_needs_a_license_that_is_known_to_allow_it(license_id, allowed):
    assert (why_not_commercial(license_id) is None) == allowed
    assert spdx_id("  apache-2.0 ") == "Apache-2.0"


def test_the_policy_refuses_with_the_way_out(tmp_path):
    folder = write_onnx(tmp_path)
    assert open_embedder("onnx:tiny.onnx", folder).license is None
    with pytest.raises(InputError, match="its license is not known") as caught:
        open_embedder("onnx:tiny.onnx", folder, policy="commercial")
    assert "`qa.embedder_license`" in (caught.value.findings[0].hint or "")
    told = open_embedder("onnx:tiny.onnx", folder, policy="commercial", license_id="mit")
    assert told.license == "MIT"
    with pytest.raises(InputError, match=r"`CC-BY-NC-4\.0` is not among"):
        open_embedder("onnx:tiny.onnx", folder, policy="commercial", license_id="CC-BY-NC-4.0")
    assert open_embedder("path:clip", CLIP, policy="commercial").license == "CC-BY-4.0"
    assert open_embedder("classic:", None, policy="commercial").license == "Apache-2.0"


def test_the_docs_name_what_is_allowed_and_known():
    docs = (Path(__file__).parents[2] / "docs" / "embedders.md").read_text()
    for name in (*PERMISSIVE, *(f"`{start}*`" for start in KNOWN)):
        assert name in docs, name
