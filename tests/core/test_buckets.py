"""Pictures go into buckets: sides and area hold, little is cut, the same size goes the same way."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.buckets import (
    LONGEST,
    RANDOM_CROPS,
    Bucket,
    buckets_of,
    choose,
    growth,
    square,
    views_of,
)

SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int]:
    """A resolution and a step, at least two steps in it."""
    step = draw(st.sampled_from([8, 16, 32, 64, 128]))
    return draw(st.integers(2 * step, max(2 * step, 40 * step // 2))), step


@given(grids())
def test_sides_are_multiples_and_the_area_holds(grid):
    resolution, step = grid
    buckets = buckets_of(resolution, step)
    assert len(set(buckets)) == len(buckets) > 2
    for bucket in buckets:
        assert bucket.width % step == bucket.height % step == 0
        assert 0 < bucket.width * bucket.height <= resolution**2
        assert max(bucket.width, bucket.height) <= LONGEST * min(bucket.width, bucket.height)
        assert Bucket(width=bucket.height, height=bucket.width) in buckets
    shapes = [bucket.width / bucket.height for bucket in buckets]
    assert len(set(shapes)) == len(shapes)
    assert {1 / LONGEST, 1.0, LONGEST} <= set(shapes)


@given(grids(), SIZES)
def test_a_picture_goes_where_most_of_it_stays(grid, size):
    buckets = buckets_of(*grid)
    bucket = choose(size, buckets)
    assert choose(size, list(buckets)) == bucket
    shape = math.log(size[0] / size[1])

    def error(candidate: Bucket) -> float:
        return abs(shape - math.log(candidate.width / candidate.height))

    assert error(bucket) <= min(map(error, buckets)) + 1e-9
    ordered = sorted(math.log(b.width / b.height) for b in buckets)
    widest = max(b - a for a, b in itertools.pairwise(ordered))
    if abs(shape) <= math.log(LONGEST):
        assert error(bucket) <= widest / 2 + 1e-9


@given(grids(), SIZES, st.sampled_from(["center", "random"]))
def test_a_view_fills_its_bucket_and_cuts_one_side_at_most(grid, size, crop):
    bucket = choose(size, buckets_of(*grid))
    views = views_of(size, bucket, crop)
    assert len(views) == (RANDOM_CROPS if crop == "random" else 1)
    for view in views:
        slack = view.scaled[0] - bucket.width, view.scaled[1] - bucket.height
        assert min(slack) == 0
        assert 0 <= view.left <= slack[0]
        assert 0 <= view.top <= slack[1]
        enlarged = size[0] < bucket.width or size[1] < bucket.height
        assert (growth(size, view) > 1) == enlarged
    if crop == "random":
        assert (views[0].left, views[0].top) == (0, 0)
        assert (views[-1].left, views[-1].top) == slack


def test_the_buckets_of_512():
    shapes = [str(bucket) for bucket in buckets_of(512, 64)]
    assert shapes == [
        *("320x640", "384x640", "448x576", "512x512", "576x448", "640x320", "640x384"),
    ]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1000, 1000), "512x512"), ((1920, 1080), "640x384"), ((1080, 1920), "384x640"),
        ((3000, 1000), "640x320"), ((600, 700), "448x576"), ((10, 10), "512x512"),
    ],
)  # fmt: skip
def test_usual_sizes(size, wanted):
    assert str(choose(size, buckets_of(512, 64))) == wanted


def test_a_square_has_a_side_that_the_model_takes():
    assert square(512, 8) == Bucket(width=512, height=512)
    assert square(500, 64) == Bucket(width=448, height=448)
    assert square(9, 16) == Bucket(width=16, height=16)


def test_the_corner_of_a_mirrored_view_is_that_of_the_mirrored_picture():
    view = views_of((1000, 512), Bucket(width=512, height=512), "random")[1]
    assert (view.left, view.corner) == (162, (0, 162))
    assert replace(view, mirrored=True).corner == (0, 1000 - 512 - 162)
