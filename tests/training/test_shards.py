"""Datasets dealt out to sites: every image once, concepts even; what sites trained is added up."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.cli.main import main
from lora_ci.core.errors import UsageError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from lora_ci.training.data import Sample, read_samples
from lora_ci.training.shards import concept_of, split

SAMPLES = st.lists(
    st.builds(
        lambda folder, tag, content: (folder, tag, content),
        st.sampled_from(["", "mei/", "leo/x/"]),
        st.sampled_from(["cat, a", "Cat, b", "dog", ""]),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=60,
).map(
    lambda rows: [
        Sample(path=Path(f"{i}"), name=f"{row[0]}{i}.png", caption=row[1], sha256=f"{row[2]:064}")
        for i, row in enumerate(rows)
    ]
)
MODULE = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@given(SAMPLES, st.integers(1, 8))
def test_every_image_is_at_one_site_and_concepts_are_even(samples, sites):
    if sites > len(samples):
        with pytest.raises(UsageError, match="each needs one at least"):
            split(samples, sites)
        return
    shards = split(samples, sites)
    assert Counter(s.name for shard in shards for s in shard) == Counter(s.name for s in samples)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    for concept in set(map(concept_of, samples)):
        counts = [sum(concept_of(s) == concept for s in shard) for shard in shards]
        assert max(counts) - min(counts) <= 1


@given(SAMPLES, st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_order_and_names_of_pictures_say_nothing(samples, random, sites):
    unlike = {s.sha256: s for s in samples}.values()
    if sites > len(unlike):
        return
    renamed = [
        Sample(
            path=s.path, caption=s.caption, sha256=s.sha256,
            name=f"{s.name.rpartition('/')[0]}/{random.random()}.png".lstrip("/"),
        )
        for s in unlike
    ]  # fmt: skip
    random.shuffle(renamed)
    before, after = split(list(unlike), sites), split(renamed, sites)
    assert [{s.sha256 for s in shard} for shard in before] == [
        {s.sha256 for s in shard} for shard in after
    ]


def put(root: Path) -> Path:
    """Five pictures in two folders: captions beside them, in a list, or none."""
    dataset = root / "data"
    for number, name in enumerate(("a/0.png", "a/1.png", "a/2.jpg", "b/3.png", "b/4.png")):
        path = dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture %d" % number)
    (dataset / "a/0.txt").write_text("mei, smiling")
    (dataset / "a/1.caption").write_text("mei")
    line = json.dumps({"file_name": "3.png", "text": "leo"})
    (dataset / "b/metadata.jsonl").write_text(line + "\n")
    return dataset


@pytest.mark.parametrize("link", [[], ["--link"]])
def test_the_command_writes_what_the_trainer_reads(tmp_path, capsys, link):
    dataset = put(tmp_path)
    out = tmp_path / "new" / "shards"
    options = ["--sites", "2", "--out", str(out), "--json", "--quiet", *link]
    assert main(["shard", "split", str(dataset), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], sorted(told["sites"].values())) == (5, [2, 3])
    whole = {s.name: (s.caption, s.sha256) for s in read_samples(dataset, "t")}
    parts = [
        {s.name: (s.caption, s.sha256) for s in read_samples(folder, "t")}
        for folder in sorted(out.iterdir())
    ]
    assert parts[0] | parts[1] == whole
    assert not parts[0].keys() & parts[1].keys()
    assert {path.name for path in out.parent.iterdir()} == {"shards"}
    linked = {path.stat().st_nlink for path in out.rglob("*.png")}
    assert linked == ({2} if link else {1})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["{root}/data", "--sites", "6", "--out", "{root}/o"], "each needs one at least"),
        (["{root}/data", "--sites", "2", "--out", "{root}/data"], "is there already"),
        (["{root}/data", "--sites", "2", "--out", "{root}/data/o"], "lies in the dataset"),
        (["{root}/none", "--sites", "2", "--out", "{root}/o"], "is no folder"),
    ],
)
def test_what_cannot_be_dealt_out_leaves_nothing(tmp_path, capsys, options, told):
    put(tmp_path)
    given_options = [option.replace("{root}", str(tmp_path)) for option in options]
    assert main(["shard", "split", *given_options]) == 2
    assert told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def adapter(path: Path, seed: int, images: str | None) -> Path:
    """A file of one layer of rank 2."""
    source = torch.Generator().manual_seed(seed)
    layer = LoraLayer(
        down=torch.randn(2, 8, generator=source), up=torch.randn(6, 2, generator=source), alpha=2.0
    )
    metadata = {} if images is None else {"ss_num_train_images": images}
    made = Adapter(layers={MODULE: layer}, family="sd1", metadata=metadata)
    write_adapter(made, path, Format.DIFFUSERS)
    return path


@pytest.mark.slow
def test_adapters_are_added_up_by_their_images(tmp_path, capsys):
    one, two = (
        adapter(tmp_path / "1.safetensors", 1, "30"),
        adapter(tmp_path / "2.safetensors", 2, "10"),
    )
    out = tmp_path / "m.safetensors"
    assert main(["shard", "merge", str(one), str(two), "--out", str(out), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["weights"], told["rank"]) == ([0.75, 0.25], 4)
    parts = [read_adapter(path).layers[MODULE].delta() for path in (one, two)]
    whole = read_adapter(out).layers[MODULE].delta()
    torch.testing.assert_close(whole, 0.75 * parts[0] + 0.25 * parts[1])
    assert main(["shard", "merge", str(one), "--out", str(out)]) == 2
    assert main(["shard", "merge", str(one), "--out", str(tmp_path), "--force"]) == 2
    options = ["--images", "1,1", "--force", "--json", "-q"]
    capsys.readouterr()
    assert main(["shard", "merge", str(one), str(two), "--out", str(out), *options]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("images", "option", "told"),
    [
        (None, [], "does not say on how many images"),
        ("many", [], "does not say on how many images"),
        ("0", [], "has no weight"),
        ("1", ["--images=1,2"], "expected 1 whole numbers"),
        ("1", ["--images=-1"], "expected 1 whole numbers"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path, capsys, images, option, told):
    path, out = adapter(tmp_path / "1.safetensors", 1, images), tmp_path / "m.safetensors"
    assert main(["shard", "merge", str(path), "--out", str(out), *option]) in (1, 2)
    assert told in capsys.readouterr().err
    assert not out.exists()
