"""Outputs appear whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorid_edge.convert.output import (
    new_file,
    new_folder,
    require_free,
    require_new,
    scratch_file,
)
from lorid_edge.errors import ConversionError


@pytest.fixture
def ended_process() -> int:
    """The id of a process that was, and is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")

    def fail() -> None:
        with new_file(target, force=True) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_only_when_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with new_folder(target, ("new", "old"), force=True) as temporary:
        (temporary / "new").write_text("new")
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "notes").mkdir(parents=True)
    (target / "new").write_text("old")
    with (
        pytest.raises(ConversionError, match="out holds notes, which is not written here"),
        new_folder(target, ("new",), force=True),
    ):
        pass
    assert sorted(path.name for path in target.iterdir()) == ["new", "notes"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "disk" / "out", tmp_path / "out"
    target.mkdir(parents=True)
    link.symlink_to(target)
    with new_folder(link, ("new",), force=True) as temporary:
        (temporary / "new").write_text("new")
    assert link.is_symlink()
    assert (target / "new").read_text() == "new"
    assert list((tmp_path / "disk").iterdir()) == [target]


def test_the_working_folder_can_be_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    monkeypatch.chdir(target)
    with new_folder(Path(), ("new",), force=True) as temporary:
        (temporary / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]


@pytest.mark.parametrize("has_successor", [False, True])
def test_a_folder_put_aside_by_a_killed_process_is_not_lost(
    has_successor: bool, tmp_path: Path, ended_process: int
) -> None:
    target = tmp_path / "out"
    aside = tmp_path / f".out.{ended_process}.old"
    aside.mkdir()
    (aside / "old").write_text("old")
    if has_successor:
        target.mkdir()
        (target / "new").write_text("new")
    with (
        pytest.raises(ConversionError, match="exists already"),
        new_folder(target, ("new", "old")),
    ):
        pass
    assert [path.name for path in target.iterdir()] == ["new" if has_successor else "old"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    source = folder / "weights"
    source.write_text("x")
    (tmp_path / "link").symlink_to(folder)
    for path, names in ((source, None), (folder, ("weights",)), (tmp_path / "link", ("weights",))):
        with pytest.raises(ConversionError, match="would replace its own input"):
            require_new(path, inputs=[source], force=True, names=names)
    require_new(folder / "converted", inputs=[source])


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from lorid_edge.convert.output import new_file\n"
        "with new_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert child.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with new_file(tmp_path / "out") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_process_at_work_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / f".out.{os.getppid()}.partial"
    theirs.write_text("theirs")
    with new_file(tmp_path / "out") as temporary:
        temporary.write_text("ours")
    assert theirs.exists()


def test_a_scratch_file_is_gone_afterwards(tmp_path: Path) -> None:
    with scratch_file(tmp_path / "out") as scratch:
        scratch.write_text("x")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    with pytest.raises(ConversionError, match="exists already"), new_file(tmp_path / "there"):
        pass
    with pytest.raises(ConversionError, match="does not exist"), new_file(tmp_path / "no" / "x"):
        pass
    with pytest.raises(ConversionError, match="is a folder"), new_file(tmp_path):
        pass
    with pytest.raises(ConversionError, match="is a file"), new_folder(tmp_path / "there", ()):
        pass


def test_too_little_disk_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="MB of disk are needed"):
        require_free(tmp_path, 2**60)
    with (
        pytest.raises(ConversionError, match="MB of disk are needed"),
        new_file(tmp_path / "x", needed_bytes=2**60),
    ):
        pass
