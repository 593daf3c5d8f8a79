"""A real base, killed while it draws: the next one makes the rest, and all are what they would be.

The processes are new ones, as a runner starts them: threads of torch do not outlive a fork.
"""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.diffusion.pipelines import distance

pytestmark = pytest.mark.slow

PROMPTS = ["a cat", "a dog", "a flat dog"]
SEEDS = range(8)
LEVELS = 2


def draw(base: Path, cache: Path, made: list[str] | None = None):
    """All pictures of the base, then of an adapter; the requests that were made go to `made`."""
    import torch

    from lora_ci.core.settings import QaSettings
    from lora_ci.diffusion.easel import Easel
    from lora_ci.diffusion.load import load_base
    from lora_ci.formats.adapter import Adapter, LoraLayer
    from lora_ci.ruler.album import Album, Maker, template_of

    torch.set_num_threads(1)
    model = load_base(base, content_id="b1")
    easel, source = Easel(model=model), torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=source), torch.randn(32, 2, generator=source)
    layer = LoraLayer(down=down, up=up, alpha=2.0)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_v"
    album = Album(
        template=template_of(QaSettings(steps=3), side=16, guidance=3.0),
        cache=cache,
        told=lambda _: None,
        stop=lambda: False,
    )

    def opened(who, *worn):
        if made is not None:
            made.append(who)
        return easel.generator(*worn)

    bare = Maker(base=easel.identity, open=partial(opened, "base"))
    worn = (Adapter(layers={name: layer}), 1.0)
    adapted = Maker(
        base=easel.identity, adapters=(("a1", 1.0),), open=partial(opened, "adapter", *worn)
    )
    return [album.pictures(maker, PROMPTS, SEEDS) for maker in (bare, adapted)]


def kept(cache: Path) -> set[Path]:
    return {path for path in cache.glob("pictures/*/*") if not path.name.startswith(".")}


def test_what_a_killed_process_drew_is_used(tmp_path, tiny_sd):
    cache, both = tmp_path / "killed", 2 * len(PROMPTS) * len(SEEDS)
    process = multiprocessing.get_context("spawn").Process(target=draw, args=(tiny_sd, cache))
    process.start()
    deadline = time.monotonic() + 120
    while len(kept(cache)) < both // 2 + 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL
    first = {path: path.stat().st_ino for path in kept(cache)}
    assert both // 2 < len(first) < both
    opened: list[str] = []
    found = draw(tiny_sd, cache, opened)
    # The base was done: nothing of it was made again.
    assert opened == ["adapter"]
    assert len(kept(cache)) == both
    assert all(path.stat().st_ino == inode for path, inode in first.items())
    wanted = draw(tiny_sd, tmp_path / "calm")
    for pictures, others in zip(found, wanted, strict=True):
        for prompt in PROMPTS:
            assert max(map(distance, pictures[prompt], others[prompt])) <= LEVELS
    assert draw(tiny_sd, cache, opened)
    assert opened == ["adapter"]
