"""Files that are written whole, and what is no file."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from lorid_edge.whole_files import write_text


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for text in ("before", "after \ud800"):
        write_text(path, text)
    assert path.read_text("utf-8") == "after \\ud800"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_a_device_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text("utf-8")), daemon=True)
    reader.start()
    write_text(pipe, "as /dev/null and /dev/stdout are")
    reader.join()
    assert heard == ["as /dev/null and /dev/stdout are"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
