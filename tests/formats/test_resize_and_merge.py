"""Lower ranks and sums: the best there is, with the error that is stated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InputError, UsageError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.merge import average_error, merge
from lora_ci.formats.resize import resize
from tests.formats.made import Q, V, random_adapter, small

CONV = "unet.down_blocks.0.resnets.0.conv1"


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(torch.linalg.norm(found - wanted) / torch.linalg.norm(wanted))


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_a_rank_is_as_good_as_the_full_svd(seed, rank, wanted, kernel):
    shape = (7, 5, 3, 3) if kernel else (7, 12)
    adapter = random_adapter({Q: shape}, rank=rank, seed=seed)
    done = resize(adapter, rank=wanted)
    full = adapter.layers[Q].delta().flatten(1).double()
    values = torch.linalg.svdvals(full)
    best = float(values[wanted:].norm() / values.norm())
    found = done.adapter.layers[Q]
    assert found.rank <= wanted
    assert found.weight_shape() == shape
    assert relative(found.delta().flatten(1).double(), full) == pytest.approx(best, abs=1e-5)
    assert done.layers[0].error == pytest.approx(best, abs=1e-5)
    assert done.error == pytest.approx(best, abs=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.01, 0.1, 0.4, 0.99]))
def test_the_lowest_rank_within_an_error_is_taken(seed, limit):
    adapter = random_adapter({Q: (9, 8)}, rank=6, seed=seed)
    (layer,) = resize(adapter, max_error=limit).layers
    assert layer.error <= limit + 1e-6
    if layer.rank > 1:
        (less,) = resize(adapter, rank=layer.rank - 1).layers
        assert less.error > limit


def test_both_limits_hold_and_zeros_stay_zeros():
    adapter = small(rank=4)
    zero = LoraLayer(down=torch.ones(3, 4), up=torch.zeros(6, 3), alpha=3.0)
    adapter = Adapter(layers={**adapter.layers, CONV: zero})
    done = resize(adapter, rank=2, max_error=0.0)
    assert done.adapter.ranks() == (1, 2)
    assert not done.adapter.layers[CONV].delta().any()
    assert done.layers[-1].error == 0
    assert [layer.rank_before for layer in done.layers] == [4, 4, 3]


@pytest.mark.parametrize(
    "limits",
    [{}, {"rank": 0}, {"max_error": 1.0}, {"max_error": -0.1}, {"max_error": float("nan")}],
)
def test_limits_that_mean_nothing_are_refused(limits):
    with pytest.raises(UsageError):
        resize(small(), **limits)


def test_dora_is_neither_resized_nor_merged():
    with pytest.raises(InputError, match="resized"):
        resize(small(dora=True), rank=1)
    with pytest.raises(InputError, match="merged"):
        merge([small(), small(dora=True)], [1, 1])


def three() -> list[Adapter]:
    """Adapters of other ranks and alphas; the last lacks a layer and has one of its own."""
    last = random_adapter({Q: (6, 4), CONV: (6, 4, 3, 3)}, rank=1, seed=3)
    return [small(rank=2, seed=1), small(rank=3, seed=2, alpha=1.0), last]


def test_a_merge_is_the_weighted_sum_exactly():
    adapters, weights = three(), [0.5, -2.0, 1.5]
    merged = merge(adapters, weights)
    assert merged.error == 0
    assert sorted(merged.adapter.layers) == sorted([Q, V, CONV])
    assert merged.adapter.layers[Q].rank == 6
    for name, layer in merged.adapter.layers.items():
        parts = [
            weight * adapter.layers[name].delta()
            for adapter, weight in zip(adapters, weights, strict=True)
            if name in adapter.layers
        ]
        assert torch.allclose(layer.delta(), sum(parts), atol=1e-5)


def test_a_merge_to_a_rank_states_its_error():
    adapters, weights = three(), [1.0, 1.0, 1.0]
    exact, merged = merge(adapters, weights), merge(adapters, weights, rank=2)
    assert max(merged.adapter.ranks()) == 2
    wanted = torch.cat([layer.delta().flatten() for layer in exact.adapter.layers.values()])
    found = torch.cat([layer.delta().flatten() for layer in merged.adapter.layers.values()])
    assert merged.error == pytest.approx(relative(found, wanted), abs=1e-5)
    assert 0 < merged.error < 1
    # Shards that learned the same give back the same.
    twice = merge([adapters[0], adapters[0]], [0.5, 0.5], max_error=1e-5)
    assert twice.adapter.ranks() == (2,)
    assert torch.allclose(twice.adapter.layers[Q].delta(), adapters[0].layers[Q].delta(), atol=1e-4)


def test_the_average_of_factors_is_another_adapter():
    one, other = small(seed=1), small(seed=2)
    assert average_error([one, one], [1, 1]) == pytest.approx(0, abs=1e-6)
    assert average_error([one, other], [0.5, 0.5]) > 0.3
    assert average_error([one, small(rank=3)], [0.5, 0.5]) is None
    assert average_error([one, other], [1, -1]) is None


@pytest.mark.parametrize(
    ("adapters", "weights", "error"),
    [
        ([], [], UsageError),
        ([small()], [1, 2], UsageError),
        ([small()], [float("nan")], UsageError),
        ([small(), small(family="sdxl")], [1, 1], InputError),
        ([small(), random_adapter({Q: (6, 5)})], [1, 1], InputError),
        ([random_adapter({Q: (6, 4)}, rank=2049)] * 2, [1, 1], InputError),
    ],
)
def test_what_cannot_be_merged_is_refused(adapters, weights, error):
    with pytest.raises(error):
        merge(adapters, weights)


def test_a_merge_tells_what_it_is_made_of():
    shared = {"modelspec.license": "MIT", "ss_steps": "3"}
    one = small(metadata={**shared, "modelspec.title": "mei"})
    other = small(metadata={**shared, "modelspec.title": "ink", "ss_base_model_version": "sd_v1"})
    assert merge([one, other], [1, 1]).adapter.metadata == {
        "modelspec.license": "MIT",
        "modelspec.title": "mei + ink",
        "modelspec.merged_from": "mei, ink",
    }
