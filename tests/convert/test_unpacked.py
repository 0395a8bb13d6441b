"""The unpacked copy of a base: when it is made, kept, remembered, and left alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from lorid_edge.convert import unpacked
from lorid_edge.convert.quantize import Quantization, quantize
from lorid_edge.convert.unpacked import choose_weights, fast_type, weight_types
from lorid_edge.packs.places import Places

SHA256 = "ab" * 32


@pytest.fixture
def packed(base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "abababababab-packed.gguf"
    quantize(Quantization(base, path, "Q4_0"))
    return path


@pytest.fixture
def multiplying(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that multiplies bfloat16; llama.cpp decodes such weights on any."""
    monkeypatch.setattr(unpacked, "fast_type", lambda: "BF16")


def gain(monkeypatch: pytest.MonkeyPatch, ratio: float) -> list[Path]:
    """Decides how fast a copy is; the list holds what was timed."""
    timed: list[Path] = []

    def pace(path: Path, samples: int, threads: int) -> float:
        timed.append(path)
        return ratio if "bf16" in path.name else 1.0

    monkeypatch.setattr(unpacked, "tokens_per_second", pace)
    return timed


def test_a_faster_copy_is_made_once_and_remembered(
    packed: Path, tmp_path: Path, multiplying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = gain(monkeypatch, 2.0)
    places = Places(tmp_path / "home")
    first = choose_weights(packed, SHA256, 16, places)
    assert first.file is not None
    assert first.file.name == "abababababab-bf16-packed.gguf"
    assert weight_types(first.file) <= {"BF16", "F32"}
    assert len(timed) == 2
    written = first.file.stat().st_mtime_ns
    assert choose_weights(packed, SHA256, 16, places) == first
    assert first.file.stat().st_mtime_ns == written
    assert len(timed) == 2


def test_two_first_runs_at_once_share_what_one_of_them_makes(
    packed: Path, tmp_path: Path, multiplying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = gain(monkeypatch, 2.0)
    places = Places(tmp_path / "home")
    with ThreadPoolExecutor(2) as runs:
        first, second = runs.map(lambda _: choose_weights(packed, SHA256, 16, places), range(2))
    assert first == second
    assert first.file is not None
    assert len(timed) == 2


def test_a_copy_that_does_not_pay_is_deleted_and_not_made_again(
    packed: Path, tmp_path: Path, multiplying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = gain(monkeypatch, 1.05)
    places = Places(tmp_path / "home")
    for _ in range(2):
        weights = choose_weights(packed, SHA256, 16, places)
        assert weights.file is None
        assert "1.05 times" in weights.reason
    assert not places.unpacked(SHA256, packed.name, "BF16").exists()
    assert len(timed) == 2


def test_more_samples_are_timed_for_themselves_with_the_same_copy(
    packed: Path, tmp_path: Path, multiplying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []

    def pace(path: Path, samples: int, threads: int) -> float:
        timed.append(samples)
        return samples / 20 if "bf16" in path.name else 1.0

    monkeypatch.setattr(unpacked, "tokens_per_second", pace)
    places = Places(tmp_path / "home")
    for _ in range(2):
        assert choose_weights(packed, SHA256, 8, places).file is None
        copy = choose_weights(packed, SHA256, 32, places).file
        assert copy is not None
        written = copy.stat().st_mtime_ns
        assert choose_weights(packed, SHA256, 64, places).file == copy
        assert copy.stat().st_mtime_ns == written
    assert timed == [16, 16, 32, 32]


@pytest.mark.parametrize("other", [{"library": "another"}, {"engine": 0}])
def test_a_copy_timed_with_another_llama_or_engine_is_timed_again(
    packed: Path,
    tmp_path: Path,
    multiplying: None,
    monkeypatch: pytest.MonkeyPatch,
    other: dict[str, object],
) -> None:
    timed = gain(monkeypatch, 2.0)
    places = Places(tmp_path / "home")
    copy = choose_weights(packed, SHA256, 16, places).file
    assert copy is not None
    note = copy.with_suffix(".json")
    note.write_text(json.dumps(json.loads(note.read_text("utf-8")) | other), "utf-8")
    assert choose_weights(packed, SHA256, 16, places).file == copy
    assert len(timed) == 4


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        '{"gains": {"16": 2}}',
        '{"library": 1, "engine": 1, "gains": {"16": "x"}}',
        '{"library": 1, "engine": 1, "gains": 2}',
    ],
)
def test_a_damaged_note_only_costs_another_timing(
    packed: Path,
    tmp_path: Path,
    multiplying: None,
    monkeypatch: pytest.MonkeyPatch,
    note: str,
) -> None:
    gain(monkeypatch, 2.0)
    places = Places(tmp_path / "home")
    copy = places.unpacked(SHA256, packed.name, "BF16")
    copy.parent.mkdir(parents=True)
    copy.with_suffix(".json").write_text(note, "utf-8")
    assert choose_weights(packed, SHA256, 16, places).file == copy


def test_few_samples_or_a_cpu_that_gains_nothing_keep_the_base(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path / "home")
    monkeypatch.setattr(unpacked, "fast_type", lambda: None)
    assert choose_weights(packed, SHA256, 16, places).file is None
    monkeypatch.setattr(unpacked, "fast_type", lambda: "BF16")
    assert choose_weights(packed, SHA256, 7, places).file is None
    assert not places.home.exists()


@pytest.mark.parametrize("fast", ["F16", "Q8_0"])
def test_the_copy_is_of_the_type_that_the_cpu_is_fast_with(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: str
) -> None:
    monkeypatch.setattr(unpacked, "fast_type", lambda: fast)
    monkeypatch.setattr(
        unpacked,
        "tokens_per_second",
        lambda path, *_: 2.0 if f"-{fast.lower()}-" in path.name else 1.0,
    )
    copy = choose_weights(packed, SHA256, 16, Places(tmp_path / "home")).file
    assert copy is not None
    assert weight_types(copy) <= {fast, "F32"}


def test_no_room_on_the_disk_keeps_the_base(
    packed: Path, tmp_path: Path, multiplying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "_SPARE", 1e12)
    weights = choose_weights(packed, SHA256, 16, Places(tmp_path / "home"))
    assert weights.file is None
    assert "on the disk" in weights.reason


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (b"CPU : F16C = 1 | FMA = 1 | AVX512_BF16 = 1 | AMX_INT8 = 1 | LLAMAFILE = 1 | ", "Q8_0"),
        (b"CPU : F16C = 1 | FMA = 1 | AVX512_BF16 = 1 | LLAMAFILE = 1 | ", "BF16"),
        (b"CPU : AVX2 = 1 | F16C = 1 | FMA = 1 | LLAMAFILE = 1 | ", "F16"),
        (b"CPU : AVX2 = 1 | F16C = 1 | FMA = 1 | ", None),
        (b"CPU : NEON = 1 | ARM_FMA = 1 | LLAMAFILE = 1 | ", None),
    ],
)
def test_the_type_follows_what_llama_says_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, told: bytes, expected: str | None
) -> None:
    library = SimpleNamespace(llama_print_system_info=lambda: told)
    monkeypatch.setattr(unpacked.native, "load", lambda: library)
    assert fast_type() == expected


@pytest.mark.skipif(fast_type() is None, reason="needs AMX, bfloat16, or F16C and FMA")
def test_both_are_timed_for_real(packed: Path, tmp_path: Path) -> None:
    places = Places(tmp_path / "home")
    weights = choose_weights(packed, SHA256, 16, places)
    (note_file,) = places.home.glob("unpacked/*.json")
    note = json.loads(note_file.read_text())
    gain = note["gains"]["16"]
    assert gain > 0
    assert (weights.file is not None) == (gain >= unpacked.LEAST_GAIN)


def test_the_copies_of_a_base_are_found_with_their_notes(tmp_path: Path) -> None:
    places = Places(tmp_path)
    copy = places.unpacked(SHA256, "abababababab-packed.gguf", "F16")
    other = places.unpacked("cd" * 32, "cdcdcdcdcdcd-packed.gguf", "F16")
    renamed = places.unpacked(SHA256, "abababababab-renamed-packed.gguf", "F16")
    for path in (copy, copy.with_suffix(".json"), other, renamed):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = places.unpacked_copies(SHA256, "abababababab-packed.gguf")
    assert found == [copy, copy.with_suffix(".json")]
