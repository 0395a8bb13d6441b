"""GSM8K for the tests of data sets, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def gsm8k_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GSM8K's train.jsonl and test.jsonl: beside the checkout, or as fetched."""
    beside = ROOT.parent / "shared" / "data" / "gsm8k"
    if (beside / "train.jsonl").is_file():
        return beside
    from lorid_edge.data.gsm8k import TEST_FILE, TRAIN_FILE
    from lorid_edge.packs.places import HOME_VARIABLE, Places

    places = Places(Path(os.environ[HOME_VARIABLE])) if HOME_VARIABLE in os.environ else None
    folder = tmp_path_factory.mktemp("gsm8k")
    for name, published in (("train", TRAIN_FILE), ("test", TEST_FILE)):
        fetched = (places or Places.default()).dataset(published.sha256, published.file)
        if not fetched.is_file():
            pytest.skip("GSM8K is not here; 'lorid-edge distill' fetches it")
        (folder / f"{name}.jsonl").symlink_to(fetched)
    return folder


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The published sample of LoRID's own training data, where it lies beside the checkout."""
    folder = ROOT.parent / "shared" / "data" / "lorid_sample"
    if not folder.is_dir():
        pytest.skip("the sample of LoRID's data is not here")
    return folder
