"""The Node example, with the machine's own Node and a real `lorid-edge serve --stdio`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"
COMMAND = Path(sys.executable).parent / "lorid-edge"
QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"
DEADLINE_SECONDS = 60

NODE = shutil.which("node") or ""
pytestmark = pytest.mark.skipif(not NODE, reason="Node is not installed")


@pytest.fixture
def environment(tiny_home: Path) -> dict[str, str]:
    return {**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_OFFLINE": "1"}


def command_line(pack: str | Path, question: str) -> list[str]:
    script = EXAMPLE / "solve.mjs"
    return [NODE, str(script), "--pack", str(pack), "--command", str(COMMAND), question]


def test_it_prints_the_answer_and_the_work(environment: dict[str, str], brief_pack: Path) -> None:
    done = subprocess.run(
        command_line(brief_pack, QUESTION),
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "--- intuitive_reasoner 1:" in done.stderr
    assert "confidence" in done.stderr


@pytest.mark.parametrize(
    ("pack", "question", "said"),
    [("nowhere", QUESTION, "nowhere"), ("brief", "", "question")],
)
def test_what_goes_wrong_is_said(
    environment: dict[str, str], brief_pack: Path, pack: str, question: str, said: str
) -> None:
    done = subprocess.run(
        command_line(brief_pack if pack == "brief" else pack, question),
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not done.stdout


def test_a_client_cancels_and_solves_again(environment: dict[str, str]) -> None:
    """One client, one child: cancel at the first text, list the packs, solve, shut down."""
    script = f"""
      import {{ LoridEdge }} from {json.dumps((EXAMPLE / "lorid_edge.mjs").as_uri())};
      const solver = new LoridEdge({{ pack: "tiny", command: {json.dumps(str(COMMAND))} }});
      const cancelling = new AbortController();
      const names = new Set();
      const onEvent = (name) => {{
        names.add(name);
        if (name === "text_added") cancelling.abort();
      }};
      const question = {json.dumps(QUESTION)};
      const options = {{ policy: "paper", onEvent, signal: cancelling.signal }};
      const cancelled = await solver.solve(question, options).catch((error) => error.message);
      const packs = (await solver.packs()).map((pack) => pack.name);
      const solution = await solver.solve("What is 2 + 2?", {{ policy: "ir" }});
      await solver.shutdown();
      const rounds = solution.rounds;
      console.log(JSON.stringify({{ cancelled, names: [...names], packs, rounds }}));
    """
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "cancel" in result["cancelled"].lower()
    assert "role_started" in result["names"]
    assert {"tiny", "small", "standard"} <= set(result["packs"])
    assert result["rounds"] == 1


def test_the_child_ends_when_node_is_killed(environment: dict[str, str]) -> None:
    node = subprocess.Popen(
        command_line("tiny", QUESTION), env=environment, stderr=subprocess.PIPE, text=True
    )
    assert node.stderr is not None
    node.stderr.readline()  # a sample is finished: the child is in the middle of the problem
    (child,) = [
        process
        for process in psutil.Process(node.pid).children(recursive=True)
        if "serve" in process.cmdline()
    ]
    node.send_signal(signal.SIGKILL)
    node.wait()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)
