"""Features are made once: what is kept is given back whole or made anew, and bounded in size."""

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lora_ci.core.errors import InputError
from lora_ci.ruler import feature_cache
from lora_ci.ruler.feature_cache import CachedEmbedder, FeatureCache, picture_digest
from lora_ci.ruler.opening import open_embedder

VECTOR = np.linspace(-1, 1, 16, dtype=np.float32)
PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in range(6)]


class Counting:
    """Counts what it is asked; its vectors tell the pictures."""

    def __init__(self, width: int = 3) -> None:
        self.pictures, self.texts, self.width = 0, 0, width

    def embed_pictures(self, pictures):
        self.pictures += len(pictures)
        return np.array([[1 + p[0, 0, 0], 2, *[3] * (self.width - 2)] for p in pictures], float)

    def embed_texts(self, texts):
        self.texts += len(texts)
        return np.array([[len(text), 2, 3] for text in texts], float)


def cached(inner, cache: Path | None, identity: str = "one", **given) -> CachedEmbedder:
    return CachedEmbedder(
        spec="path:x", identity=identity, license=None, knows_texts=True, opener=lambda: inner,
        cache=FeatureCache(cache=cache) if cache else None, **given,
    )  # fmt: skip


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_each_picture_and_text_is_embedded_once(tmp_path):
    inner = Counting()
    one = cached(inner, tmp_path)
    asked = [PICTURES[2], PICTURES[0], PICTURES[2]]
    made = one.embed_pictures(asked)
    assert inner.pictures == 2
    assert np.array_equal(made[0], made[2])
    assert np.allclose(made @ made.T, np.einsum("id,jd->ij", made, made))
    one.embed_pictures(PICTURES)
    one.embed_texts(["a", "ab", "a"])
    assert (inner.pictures, inner.texts) == (6, 2)
    other = cached(Counting(), tmp_path)
    assert np.array_equal(other.embed_pictures(asked), made)
    assert other.embed_texts(["ab"]).shape == (1, 3)
    assert other.opener().pictures == other.opener().texts == 0


def test_the_identity_and_all_of_a_picture_are_in_the_key(tmp_path):
    cached(Counting(), tmp_path).embed_pictures(PICTURES[:1])
    again = Counting()
    cached(again, tmp_path, identity="two").embed_pictures(PICTURES[:1])
    assert again.pictures == 1
    flat = PICTURES[0].reshape(2, 8, 3)
    assert picture_digest(flat) != picture_digest(PICTURES[0])
    assert picture_digest(PICTURES[0].T.copy().T) == picture_digest(PICTURES[0])


def test_what_was_embedded_before_a_failure_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "PART", 2)

    class Failing(Counting):
        def embed_pictures(self, pictures):
            if self.pictures == 4:
                raise KeyboardInterrupt
            return super().embed_pictures(pictures)

    with pytest.raises(KeyboardInterrupt):
        cached(Failing(), tmp_path).embed_pictures(PICTURES)
    inner = Counting()
    made = cached(inner, tmp_path).embed_pictures(PICTURES)
    assert inner.pictures == 2
    assert np.array_equal(made, cached(Counting(), None).embed_pictures(PICTURES))


def test_without_a_folder_the_memory_keeps_it():
    inner = Counting()
    embedder = cached(inner, None)
    embedder.embed_pictures(PICTURES)
    embedder.embed_pictures(PICTURES)
    assert inner.pictures == 6


def test_what_is_damaged_is_made_anew(tmp_path):
    cache = FeatureCache(cache=tmp_path)
    cache.put("one", "a", VECTOR)
    assert np.array_equal(cache.get("one", "a"), VECTOR)
    assert cache.get("one", "b") is None
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for damage in (whole[:-1], whole[:40], b"", whole[:50] + b"\0" + whole[51:], whole + b"more"):
        path.write_bytes(damage)
        assert cache.get("one", "a") is None
    cache.put("one", "a", VECTOR)
    assert np.array_equal(cache.get("one", "a"), VECTOR)
    inner = Counting()
    embedder = cached(inner, tmp_path / "other")
    made = embedder.embed_pictures(PICTURES)
    files(tmp_path / "other")[0].write_bytes(b"damaged")
    assert np.array_equal(cached(inner, tmp_path / "other").embed_pictures(PICTURES), made)
    assert inner.pictures == 7


def test_a_vector_of_another_width_is_none_of_this_embedder(tmp_path):
    cached(Counting(width=5), tmp_path).embed_pictures(PICTURES[:1])
    inner = Counting(width=3)
    embedder = cached(inner, tmp_path)
    embedder.embed_pictures(PICTURES[1:2])
    assert embedder.embed_pictures(PICTURES[:2]).shape == (2, 3)
    assert inner.pictures == 2


def test_the_least_recently_used_goes_beyond_the_limit(tmp_path):
    size = 32 + VECTOR.nbytes
    cache = FeatureCache(cache=tmp_path, limit_bytes=4 * size)
    for number in range(20):
        cache.put("one", str(number), VECTOR)
        os.utime(files(tmp_path)[-1])
        assert cache.get("one", "0") is not None or number > 4
    kept = [number for number in range(20) if cache.get("one", str(number)) is not None]
    assert 4 <= len(kept) <= 8
    assert 19 in kept
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 8 * size


def test_a_full_disk_costs_no_judgement(tmp_path, monkeypatch):
    def full(path, payload):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(feature_cache, "write_cached", full)
    inner = Counting()
    embedder = cached(inner, tmp_path)
    assert embedder.embed_pictures(PICTURES).shape == (6, 3)
    assert embedder.embed_pictures(PICTURES).shape == (6, 3)
    assert inner.pictures == 6
    assert files(tmp_path) == []


def write_many(cache: Path, number: int) -> None:
    for round_ in range(30):
        embedder = cached(Counting(), cache)
        embedder.embed_pictures(PICTURES[round_ % 3 :])
        if (number + round_) % 7 == 0:
            whole = [path for path in files(cache) if not path.name.startswith(".")]
            whole[0].unlink(missing_ok=True)


def test_many_writers_at_once_leave_whole_entries(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert not [path for path in files(tmp_path) if path.name.startswith(".")]
    made = cached(Counting(), tmp_path).embed_pictures(PICTURES)
    assert np.array_equal(made, cached(Counting(), None).embed_pictures(PICTURES))


def test_one_without_texts_says_so(tmp_path):
    embedder = open_embedder("classic:", None, cache=tmp_path)
    assert not embedder.knows_texts
    with pytest.raises(InputError, match="embedder `classic:` knows no texts"):
        embedder.embed_texts(["a"])
    assert embedder.embed_texts([]).shape == (0, 0)


REJUDGE = """
import sys
from pathlib import Path
import numpy as np
from lora_ci.ruler.opening import open_embedder
embedder = open_embedder("path:clip", Path("examples/emoji/clip"), cache=Path(sys.argv[1]))
pictures = [np.full((8, 8, 3), value, np.uint8) for value in (0, 90)]
print(embedder.embed_pictures(pictures).shape, embedder.embed_texts(["a crab"]).shape)
print(sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_what_is_kept_is_judged_without_torch(tmp_path):
    told = [
        subprocess.run(
            [sys.executable, "-c", REJUDGE, str(tmp_path)], capture_output=True, text=True,
            check=True, timeout=120,
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    assert told[0][0] == told[1][0]
    assert told[0][1] == "['torch', 'transformers']"
    assert told[1][1] == "[]"


def test_other_libraries_read_anew(tmp_path):
    old, new = (FeatureCache(cache=tmp_path, read_by=(f"torch {n}",)) for n in (1, 2))
    old.put("one", "abc", VECTOR)
    assert np.array_equal(old.get("one", "abc"), VECTOR)
    assert new.get("one", "abc") is None


def test_an_embedder_is_kept_by_the_libraries_that_run_it(tmp_path):
    kept = open_embedder("classic:", None, cache=tmp_path).cache
    assert [one.split()[0] for one in kept.read_by] == ["numpy", "pillow"]
