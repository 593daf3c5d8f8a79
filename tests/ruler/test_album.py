"""Pictures are made once, whoever asks; no stop, kill, damage or full disk loses what was made."""

import multiprocessing
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_ci.core.errors import Interrupted
from lora_ci.core.settings import QaSettings
from lora_ci.ruler.album import BATCH, FOLDER, Album, Maker, png_bytes, template_of
from lora_ci.store.cache import write_cached

TEMPLATE = template_of(QaSettings(), side=16, guidance=3.5)
PROMPTS = [f"a thing {i}" for i in range(BATCH)]
BASE = ("base", "cpu", "torch.float32")
ADAPTERS = (("adapter", 1.0),)


class Counting:
    """Draws noise by prompt, seed and weight, and counts; `open` counts too."""

    def __init__(self):
        self.asked, self.opened = [], 0

    def open(self):
        self.opened += 1
        return self

    def generate(self, requests):
        self.asked += requests
        return [draw(r) for r in requests]


def draw(r):
    source = np.random.default_rng([r.seed, *r.prompt.encode(), int(100 * r.weight)])
    return source.integers(0, 256, (r.height, r.width, 3), np.uint8)


def maker(generator, base=BASE, adapters=ADAPTERS):
    return Maker(base=base, adapters=adapters, open=generator.open)


def album(tmp_path, template=TEMPLATE, stop=lambda: False, **more):
    return Album(template=template, cache=tmp_path, told=lambda _: None, stop=stop, **more)


def right(made):
    """Are these the pictures of their prompts and seeds?"""
    return all(
        np.array_equal(picture, draw(replace(TEMPLATE, prompt=prompt, seed=seed, weight=1.0)))
        for prompt, row in made.items()
        for seed, picture in enumerate(row)
    )


def files(tmp_path):
    return sorted(p for p in (tmp_path / FOLDER).glob("*/*") if not p.name.startswith("."))


def test_a_second_album_opens_nothing_and_gives_the_same(tmp_path):
    first, second = Counting(), Counting()
    made = album(tmp_path).pictures(maker(first), PROMPTS[:3], range(2))
    again = album(tmp_path).pictures(maker(second), PROMPTS[:3], range(2))
    assert (len(first.asked), first.opened) == (6, 1)
    assert (len(second.asked), second.opened) == (0, 0)
    assert list(made) == list(again) == PROMPTS[:3]
    assert right(made)
    assert right(again)


def test_more_seeds_make_only_what_is_new(tmp_path):
    generator = Counting()
    seen = album(tmp_path)
    seen.pictures(maker(generator), PROMPTS, range(2))
    made = seen.pictures(maker(generator), PROMPTS, range(4))
    assert (len(generator.asked), generator.opened) == (4 * BATCH, 2)
    assert {r.seed for r in generator.asked[2 * BATCH :]} == {2, 3}
    assert right(made)


def test_a_second_adapter_on_the_same_base_makes_no_picture_of_the_base(tmp_path):
    base, second = Counting(), Counting()
    album(tmp_path).pictures(maker(base, adapters=()), PROMPTS, range(2))
    album(tmp_path).pictures(maker(Counting()), PROMPTS, range(2))
    album(tmp_path).pictures(maker(base, adapters=()), PROMPTS, range(2))
    album(tmp_path).pictures(maker(second, adapters=(("other", 1.0),)), PROMPTS, range(2))
    assert (base.opened, len(base.asked)) == (1, 2 * BATCH)
    assert len(second.asked) == 2 * BATCH


def test_what_is_kept_and_made_is_told(tmp_path):
    told = []
    seen = Album(template=TEMPLATE, cache=tmp_path, told=told.append, stop=lambda: False)
    seen.pictures(maker(Counting()), PROMPTS[:3], range(1))
    seen.pictures(maker(Counting()), PROMPTS, range(2))
    assert told == [0, 3, 3, BATCH, BATCH - 3]


@pytest.mark.parametrize(
    ("base", "adapters", "template"),
    [
        (("other", "cpu", "torch.float32"), ADAPTERS, TEMPLATE),
        (("base", "cuda", "torch.float32"), ADAPTERS, TEMPLATE),
        (("base", "cpu", "torch.bfloat16"), ADAPTERS, TEMPLATE),
        (BASE, (), TEMPLATE),
        (BASE, (("other", 1.0),), TEMPLATE),
        (BASE, (("adapter", 0.8),), TEMPLATE),
        (BASE, (("adapter", 1.0), ("second", 1.0)), TEMPLATE),
        (BASE, ADAPTERS, replace(TEMPLATE, steps=7)),
        (BASE, ADAPTERS, replace(TEMPLATE, guidance=7.0)),
        (BASE, ADAPTERS, replace(TEMPLATE, guidance_rescale=0.5)),
        (BASE, ADAPTERS, replace(TEMPLATE, negative_prompt="ugly")),
        (BASE, ADAPTERS, replace(TEMPLATE, width=32, height=32)),
    ],
)
def test_all_that_a_picture_depends_on_tells_it_apart(tmp_path, base, adapters, template):
    album(tmp_path).pictures(maker(Counting()), PROMPTS[:1], range(1))
    other = Counting()
    album(tmp_path, template).pictures(maker(other, base, adapters), PROMPTS[:1], [0])
    assert len(other.asked) == 1
    assert other.asked[0].weight == (adapters[0][1] if adapters else 0)


def test_the_weight_of_what_is_beside_tells_pictures_apart(tmp_path):
    for weight in (0.5, 1.0, 1.5):
        one = maker(Counting(), adapters=(*ADAPTERS, ("second", weight)))
        album(tmp_path).pictures(one, PROMPTS[:1], [0])
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize(
    ("settings", "side", "guidance"),
    [
        (QaSettings(), 512, 5.0),
        (QaSettings(guidance=2.0), 512, 2.0),
        (QaSettings(guidance=0.0, resolution=64), 64, 0.0),
    ],
)
def test_what_nobody_set_is_the_bases(settings, side, guidance):
    made = template_of(settings, side=512, guidance=5.0)
    assert (made.width, made.height, made.guidance) == (side, side, guidance)
    assert made.steps == settings.steps


def test_what_judges_pictures_shares_them():
    plain = template_of(QaSettings(), side=16, guidance=3.5)
    other = QaSettings(gates={"identity": ">= 0.1"}, embedder="path:x", seeds=9, error=0.01)
    assert template_of(other, side=16, guidance=3.5) == plain


@pytest.fixture
def kept(tmp_path):
    """The file of a picture in a cache that has no other."""
    album(tmp_path).pictures(maker(Counting()), PROMPTS[:1], range(1))
    (path,) = files(tmp_path)
    return path


def made_anew(tmp_path):
    """True if the picture was made again, and is kept now."""
    again, nobody = Counting(), Counting()
    assert right(album(tmp_path).pictures(maker(again), PROMPTS[:1], range(1)))
    assert right(album(tmp_path).pictures(maker(nobody), PROMPTS[:1], range(1)))
    return (len(again.asked), len(nobody.asked)) == (1, 0)


@pytest.mark.parametrize("size", [0, 31, 32, 40, -1])
def test_a_cut_picture_is_made_again(tmp_path, kept, size):
    kept.write_bytes(kept.read_bytes()[:size])
    assert made_anew(tmp_path)


def test_a_picture_with_a_flipped_bit_is_made_again(tmp_path, kept):
    whole = kept.read_bytes()
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        kept.write_bytes(damaged)
        assert made_anew(tmp_path)


@pytest.mark.parametrize("content", [b"no picture", png_bytes(np.zeros((8, 16, 3), np.uint8))])
def test_a_whole_file_of_something_else_is_made_again(tmp_path, kept, content):
    write_cached(kept, content)
    assert made_anew(tmp_path)


def test_a_stop_keeps_what_was_made(tmp_path):
    generator = Counting()
    with pytest.raises(Interrupted):
        album(tmp_path, stop=lambda: bool(generator.asked)).pictures(
            maker(generator), PROMPTS, range(2)
        )
    rest = Counting()
    album(tmp_path).pictures(maker(rest), PROMPTS, range(2))
    assert (len(generator.asked), len(rest.asked)) == (BATCH, BATCH)


def test_a_full_disk_costs_the_keeping_alone(tmp_path):
    """Files may have 100 bytes: what is written beyond is refused by the kernel."""
    seen, generator = album(tmp_path), Counting()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        made = seen.pictures(maker(generator), PROMPTS, range(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert right(made)
    (finding,) = seen.findings
    assert finding.rule == "qa.pictures-not-kept"
    assert "File too large" in finding.message
    assert files(tmp_path) == []
    album(tmp_path).pictures(maker(generator), PROMPTS, range(2))
    assert len(generator.asked) == 4 * BATCH


def test_the_least_recently_used_go_beyond_the_limit(tmp_path):
    old, new = maker(Counting(), ("old",)), maker(Counting(), ("new",))
    album(tmp_path).pictures(old, PROMPTS, range(1))
    for path in files(tmp_path):
        os.utime(path, (1, 1))
    size = files(tmp_path)[0].stat().st_size
    album(tmp_path).pictures(old, PROMPTS[:2], range(1))
    album(tmp_path, limit_bytes=int((BATCH + 2.5) * size)).pictures(new, PROMPTS, range(1))
    assert len(files(tmp_path)) == BATCH + 2
    left = Counting()
    album(tmp_path).pictures(maker(left, ("new",)), PROMPTS, range(1))
    album(tmp_path).pictures(maker(left, ("old",)), PROMPTS[:2], range(1))
    assert left.asked == []
    # What is asked for stays, be it more than the limit.
    album(tmp_path, limit_bytes=0).pictures(maker(left, ("third",)), PROMPTS, range(1))
    assert len(files(tmp_path)) == BATCH


def _draw_all(cache: Path, pause_s: float) -> None:
    class Slow(Counting):
        def generate(self, requests):
            time.sleep(pause_s)
            return super().generate(requests)

    album(cache).pictures(maker(Slow()), PROMPTS, range(8))


def started(cache, pause_s):
    process = multiprocessing.get_context("fork").Process(target=_draw_all, args=(cache, pause_s))
    process.start()
    return process


def test_several_processes_draw_into_one_cache(tmp_path):
    processes = [started(tmp_path, 0.0) for _ in range(3)]
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    nobody = Counting()
    assert right(album(tmp_path).pictures(maker(nobody), PROMPTS, range(8)))
    assert nobody.asked == []
    assert len(files(tmp_path)) == 8 * BATCH


def test_a_killed_process_loses_a_batch_at_most(tmp_path):
    process = started(tmp_path, 0.05)
    deadline = time.monotonic() + 60
    while len(files(tmp_path)) < 2 * BATCH and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL
    kept = len(files(tmp_path))
    assert 2 * BATCH <= kept < 8 * BATCH
    rest = Counting()
    assert right(album(tmp_path).pictures(maker(rest), PROMPTS, range(8)))
    assert len(rest.asked) == 8 * BATCH - kept
