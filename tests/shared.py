"""Where the real recordings and reference files lie, and the reason for skipping where they are absent."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
REFERENCE = SHARED / "reference"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real recordings (../shared/data) are not here")
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files (../shared/reference) are not here")
