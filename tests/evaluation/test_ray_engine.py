"""`eval --engine ray` on a real local cluster of two workers, one of which is killed on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.evaluation.run_folder import RunWriter, read_run
from lorid_edge.loop.solution import Solution

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(900)  # its processes start slowly on a busy machine

PROBLEMS = 16


@pytest.fixture(scope="module")
def cluster(tiny_home: Path) -> Iterator[None]:
    """Two CPUs in this machine's own cluster, without its dashboard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORID_EDGE_HOME", str(tiny_home))
        patch.setenv("LORID_EDGE_OFFLINE", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default workers are the last to get a CPU
        _start_cluster()
        yield
        ray.shutdown()


def _start_cluster() -> None:
    """Ray waits 30 seconds for its own processes, which may be too few on a busy machine."""
    for _ in range(5):
        try:
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        except Exception as error:  # it raises nothing more special
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
        else:
            return
    pytest.fail("Ray did not start in five attempts.")


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Sixteen problems with answers."""
    path = tmp_path / "sums.jsonl"
    lines = [
        {"id": f"sum-{n}", "question": f"What is {n}+{n}?", "answer": str(2 * n)}
        for n in range(1, PROBLEMS + 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def command(data: Path, pack: Path, run: Path, *more: str) -> list[str]:
    settings = ("--policy", "ir", "--width", "1", "--threads", "1", "--in-flight", "2")
    where = ("--engine", "ray", "--run", str(run))
    return ["eval", "--data", str(data), "--pack", str(pack), *settings, *where, *more]


def worker_processes() -> list[int]:
    """The processes of the workers, which Ray started below this one."""
    below = psutil.Process().children(recursive=True)
    return [process.pid for process in below if "ray::Worker" in " ".join(process.cmdline())]


def kill_workers_after(
    monkeypatch: pytest.MonkeyPatch, kept: list[int], solutions: int, workers: int
) -> None:
    """Kill so many workers as soon as so many solutions are on disk; `kept` gets their lines."""
    append = RunWriter.append

    def append_and_kill(self: RunWriter, solution: Solution) -> None:
        append(self, solution)
        kept.append(solution.line or 0)
        if len(kept) == solutions:
            processes = worker_processes()
            assert len(processes) == 2
            for process in processes[:workers]:
                os.kill(process, signal.SIGKILL)

    monkeypatch.setattr(RunWriter, "append", append_and_kill)


def test_all_problems_are_solved_once_though_a_worker_is_killed(
    cluster: None, sums: Path, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    kill_workers_after(monkeypatch, kept, solutions=2, workers=1)
    folder = tmp_path / "run"
    found = CliRunner().invoke(app, command(sums, brief_pack, folder, "--json"))
    assert found.exit_code == 0, found.output
    assert "is lost" in found.stderr
    assert sorted(kept) == list(range(1, PROBLEMS + 1))
    run = read_run(folder)
    assert not run.unsolved
    assert len((folder / "solutions.jsonl").read_text("utf-8").splitlines()) == PROBLEMS
    assert run.description.circumstances.engine == "ray"
    assert json.loads(found.stdout)["accuracy"]["problems"] == PROBLEMS


def test_without_any_worker_left_the_run_ends_and_can_be_gone_on_with(
    cluster: None, sums: Path, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(sums, brief_pack, tmp_path / "run", "--limit", "12")
    kept: list[int] = []
    with monkeypatch.context() as patch:
        kill_workers_after(patch, kept, solutions=1, workers=2)
        found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 1, found.output
    assert "All workers are lost" in found.stderr
    assert set(read_run(tmp_path / "run").solutions) == set(kept)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert not read_run(tmp_path / "run").unsolved


def test_a_worker_with_another_pack_stops_the_run_and_says_where(
    cluster: None, sums: Path, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorid_edge.evaluation import evaluate

    real = evaluate.pack_identity

    def of_another_version(*arguments: Any) -> Any:
        return real(*arguments).model_copy(update={"version": "9.9.9"})

    monkeypatch.setattr(evaluate, "pack_identity", of_another_version)  # here, not in the workers
    found = CliRunner().invoke(app, command(sums, brief_pack, tmp_path / "run", "--limit", "2"))
    assert found.exit_code == 2
    assert "is another here than where the run was started" in found.stderr.replace("\n", " ")


def test_without_a_cluster_it_says_how_to_start_one(
    sums: Path, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_home: Path
) -> None:
    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    found = CliRunner().invoke(app, command(sums, brief_pack, tmp_path / "run", "--limit", "2"))
    assert found.exit_code == 2
    assert "ray start --head" in found.stderr
