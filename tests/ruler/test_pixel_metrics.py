"""SSIM and GMSD against their formulas written out window by window, and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.ruler.structure import gmsd, luma, ssim

SOURCE = np.random.default_rng(0)
PLANES = [
    (SOURCE.uniform(0, 255, (17, 23)), SOURCE.uniform(0, 255, (17, 23))),
    (np.add.outer(np.arange(20.0), 5 * np.arange(16.0)), SOURCE.normal(90, 20, (20, 16))),
]


def ssim_by_windows(one, other):
    """Equations 13 to 16 of Wang et al. 2004 for each window by itself."""
    places = np.arange(-5, 6)
    weights = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            a, b = one[y : y + 11, x : x + 11], other[y : y + 11, x : x + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a = (weights * (a - mean_a) ** 2).sum()
            var_b = (weights * (b - mean_b) ** 2).sum()
            cov = (weights * (a - mean_a) * (b - mean_b)).sum()
            found.append(
                (2 * mean_a * mean_b + c1)
                * (2 * cov + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return np.mean(found)


def gmsd_by_points(one, other):
    """The equations of Xue et al. 2014, section II, for each point by itself."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def magnitudes(plane):
        half = np.array(
            [
                [plane[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(w // 2)]
                for h, w in [plane.shape]
                for y in range(h // 2)
            ]
        )
        found = np.zeros((half.shape[0] - 2, half.shape[1] - 2))
        for y, x in np.ndindex(found.shape):
            patch = half[y : y + 3, x : x + 3]
            found[y, x] = math.hypot((patch * prewitt).sum(), (patch * prewitt.T).sum())
        return found

    a, b = magnitudes(one), magnitudes(other)
    similar = (2 * a * b + 170) / (a**2 + b**2 + 170)
    return math.sqrt(((similar - similar.mean()) ** 2).mean())


@pytest.mark.parametrize("planes", PLANES)
def test_structural_similarity_window_by_window(planes):
    assert ssim(*planes) == pytest.approx(ssim_by_windows(*planes), abs=1e-10)


@pytest.mark.parametrize("planes", PLANES)
def test_gradient_deviation_point_by_point(planes):
    assert gmsd(*planes) == pytest.approx(gmsd_by_points(*planes), abs=1e-10)
    assert gmsd(*planes) > 0.05


@given(st.floats(0, 255), st.floats(0, 255))
def test_flat_planes_differ_in_brightness_alone(a, b):
    """Without structure, similarity is (2ab + C1) / (a² + b² + C1)."""
    c1 = (0.01 * 255) ** 2
    wanted = (2 * a * b + c1) / (a * a + b * b + c1)
    found = ssim(np.full((12, 14), a), np.full((12, 14), b))
    assert found == pytest.approx(wanted, abs=1e-6)
    assert gmsd(np.full((12, 14), a), np.full((12, 14), b)) == 0


@pytest.mark.parametrize("planes", PLANES)
def test_a_picture_is_itself_and_order_is_nothing(planes):
    one, other = planes
    assert ssim(one, one) == pytest.approx(1)
    assert gmsd(one, one) == 0
    assert ssim(one, other) == pytest.approx(ssim(other, one))
    assert gmsd(one, other) == pytest.approx(gmsd(other, one))


def test_more_noise_is_less_alike():
    plane = np.add.outer(np.arange(64.0), np.arange(64.0))
    noise = SOURCE.normal(size=(64, 64))
    copies = [plane + size * noise for size in (1, 5, 25)]
    assert sorted((ssim(plane, copy) for copy in copies), reverse=True) == [
        ssim(plane, copy) for copy in copies
    ]
    assert gmsd(plane, copies[0]) < gmsd(plane, copies[1])


def test_brightness_of_the_primaries():
    """ITU-R BT.601: red 0.299, green 0.587, blue 0.114."""
    assert luma(255 * np.eye(3, dtype=np.uint8)[None])[0] == pytest.approx([76.245, 149.685, 29.07])


@pytest.mark.parametrize("measure", [ssim, gmsd])
@pytest.mark.parametrize(("one", "other"), [((12, 12), (12, 13)), ((7, 20), (7, 20))])
def test_planes_that_cannot_be_compared_are_refused(measure, one, other):
    with pytest.raises(ValueError, match="expected the same size"):
        measure(np.zeros(one), np.zeros(other))
