"""Install llama-cpp-python from source and show how far the build is, one line a few seconds.

    python scripts/build_llama.py llama-cpp-python==0.3.36

The compiler's own output goes to build/llama-build.log; its end is shown if the build fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

LOG = Path("build/llama-build.log")
STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
SECONDS_BETWEEN_LINES = 5.0


def main(requirement: str) -> int:
    LOG.parent.mkdir(exist_ok=True)
    # Without pip's cache: a wheel in it may have been built for another CPU or with other flags.
    command = [sys.executable, "-m", "pip", "install", "--verbose", "--no-cache-dir"]
    command += ["--force-reinstall", "--no-deps", "--no-binary=llama-cpp-python", requirement]
    began = last_shown = time.monotonic()
    lines: list[str] = []
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines = [*lines[-30:], line]
            step = STEP.match(line)
            if step and time.monotonic() - last_shown > SECONDS_BETWEEN_LINES:
                last_shown = time.monotonic()
                print(f"  built {step[1]} of {step[2]} files", flush=True)
    if process.wait() != 0:
        sys.stderr.write("".join(lines))
        sys.stderr.write(f"The build failed; {LOG} has the whole log. A C++ compiler is needed.\n")
        return 1
    print(f"  done in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
