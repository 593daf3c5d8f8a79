"""Fixtures and options that all rooms' tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.ledgers import KINDS, drop_ledger, new_ledger

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite the golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compares text with a golden file, or rewrites it with --update-goldens."""

    def check(name: str, text: str) -> None:
        path = request.path.parent / "golden" / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text, f"{name} differs; look, then: make golden"

    return check


@pytest.fixture(params=KINDS)
def ledger_kind(request: pytest.FixtureRequest) -> str:
    """What the ledger is kept in."""
    return request.param


@pytest.fixture
def ledger_url(ledger_kind: str, tmp_path: Path) -> Iterator[str]:
    """An empty ledger, on each kind of database."""
    url = new_ledger(tmp_path, ledger_kind)
    yield url
    drop_ledger(url)


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Stable Diffusion folder."""
    from tests.tiny_sd import build_tiny_sd

    return build_tiny_sd(tmp_path_factory.mktemp("tiny-sd"))


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL folder."""
    from tests.tiny_sdxl import build_tiny_sdxl

    return build_tiny_sdxl(tmp_path_factory.mktemp("tiny-sdxl"))


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random FLUX folder."""
    from tests.tiny_flux import build_tiny_flux

    return build_tiny_flux(tmp_path_factory.mktemp("tiny-flux"))


@pytest.fixture(scope="session")
def style_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example style LoRA, trained in 150 steps on the shipped base model."""
    from tests.emoji_world import train_style

    return train_style(tmp_path_factory.mktemp("style"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test of all first, so that two cores end at about the same time."""
    items.sort(key=lambda item: "test_demo.py" not in item.nodeid)
