"""Fixtures that several test files share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _shared(name: str) -> Path:
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"the real recordings and reference files (../shared/{name}) are not here")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings; skips where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of what public implementations compute; skips where it is absent."""
    return _shared("reference")
