"""What the engine finds out about the machine: whether a build works on it, and its free memory."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lorid_edge.engine import cgroups
from lorid_edge.engine.memory import available_bytes
from lorid_edge.engine.probe import probe
from lorid_edge.errors import EngineError

# --- the probe ------------------------------------------------------------------------------------

EndChildren = Callable[..., list[bool]]


@pytest.fixture
def end_children(monkeypatch: pytest.MonkeyPatch) -> EndChildren:
    """Lets the probe's children end with given exit codes, None for no end in time.

    Returns whether each that was started was to repack weights.
    """

    def end(*codes: int | None) -> list[bool]:
        pending, started = list(codes), []

        def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
            started.append(command[-1] == "1")
            code = pending.pop(0)
            if code is None:
                raise subprocess.TimeoutExpired(command, 300)
            return subprocess.CompletedProcess(command, code, b"", b"Traceback\nKeyError: 'x'\n")

        monkeypatch.setattr("lorid_edge.engine.probe.subprocess.run", run)
        return started

    return end


def test_a_decode_that_works_is_remembered(tmp_path: Path, end_children: EndChildren) -> None:
    assert end_children(0) == []
    assert probe(Path("base.gguf"), ["Q4_K"], tmp_path).use_extra_buffers
    assert end_children() == []
    again = probe(Path("base.gguf"), ["Q4_K"], tmp_path)
    assert (again.use_extra_buffers, again.was_cached) == (True, True)


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGILL, -signal.SIGABRT, 0xC0000005])
def test_a_crash_turns_repacking_off_for_good(
    tmp_path: Path, end_children: EndChildren, code: int
) -> None:
    started = end_children(code, 0)
    assert not probe(Path("base.gguf"), ["Q4_K"], tmp_path).use_extra_buffers
    assert started == [True, False]
    assert probe(Path("base.gguf"), ["Q4_K"], tmp_path).was_cached


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((None,), "no result in 300 s"),
        ((-signal.SIGKILL,), "killed by signal 9"),
        ((1,), "exit code 1 KeyError"),
        ((-signal.SIGSEGV, -signal.SIGKILL), "signal 11; the one without: killed by signal 9"),
    ],
)
def test_an_end_that_says_nothing_of_the_cpu_turns_repacking_off_once(
    tmp_path: Path,
    end_children: EndChildren,
    caplog: pytest.LogCaptureFixture,
    codes: tuple[int | None, ...],
    said: str,
) -> None:
    end_children(*codes)
    with caplog.at_level(logging.WARNING):
        result = probe(Path("base.gguf"), ["Q4_K"], tmp_path)
    assert not result.use_extra_buffers
    assert not result.is_certain
    assert said in result.explanation
    assert said in caplog.text
    end_children(0)
    assert probe(Path("base.gguf"), ["Q4_K"], tmp_path).use_extra_buffers


def test_a_crash_without_repacking_too_is_an_error(
    tmp_path: Path, end_children: EndChildren
) -> None:
    end_children(-signal.SIGSEGV, -signal.SIGSEGV)
    with pytest.raises(EngineError, match="signal 11"):
        probe(Path("base.gguf"), ["Q4_K"], tmp_path)
    assert not (tmp_path / "probe.json").exists()


# --- memory ---------------------------------------------------------------------------------------

MEGABYTE = 1_000_000


def limit_memory(folder: Path, limit: int | str, used: int, idle: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {idle}\nactive_file 7\n")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process's cgroup, in a system of groups made up for the test."""
    own = tmp_path / "own"
    own.write_text("1:cpu:/elsewhere\n0::/pod/container\n")
    monkeypatch.setattr(cgroups, "CGROUP_FOLDER", tmp_path / "groups")
    monkeypatch.setattr(cgroups, "OWN_CGROUP", own)
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 900 * MEGABYTE})
    )
    return tmp_path / "groups" / "pod" / "container"


def test_cached_files_that_nobody_uses_count_as_free(group: Path) -> None:
    limit_memory(group, 500 * MEGABYTE, used=450 * MEGABYTE, idle=400 * MEGABYTE)
    assert available_bytes() == 450 * MEGABYTE


def test_the_narrowest_limit_on_the_way_up_counts(group: Path) -> None:
    limit_memory(group, "max", used=10 * MEGABYTE, idle=0)
    limit_memory(group.parent, 300 * MEGABYTE, used=100 * MEGABYTE, idle=0)
    limit_memory(group.parent.parent, 700 * MEGABYTE, used=100 * MEGABYTE, idle=0)
    assert available_bytes() == 200 * MEGABYTE


def test_without_limits_the_machine_counts(group: Path) -> None:
    assert not group.exists()
    assert available_bytes() == 900 * MEGABYTE
