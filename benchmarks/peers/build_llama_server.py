"""Build llama-server from the source distribution of llama-cpp-python that this project runs on.

    python benchmarks/peers/build_llama_server.py

The same llama.cpp, compiler and flags as the installed library's, without HTTPS and web page. The
program is written to build/llama-server/bin; the first build takes minutes, a later one only what
is left to do.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "llama-server"
PROGRAM = FOLDER / "bin" / "llama-server"

_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at once")
    jobs = parser.parse_args().jobs
    source = unpacked_source()
    flags = subprocess.check_output(
        ["sh", str(REPOSITORY / "scripts" / "llama_build_flags.sh")], text=True
    )
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()] + shlex.split(flags)
    run("cmake", "-S", str(source), "-B", str(FOLDER), *options)
    run("cmake", "--build", str(FOLDER), "--target", "llama-server", "--parallel", str(jobs))
    print(PROGRAM)


def unpacked_source() -> Path:
    """llama.cpp's source, fetched and unpacked if it is not here yet."""
    release = version("llama-cpp-python")
    name = f"llama_cpp_python-{release}"
    source = FOLDER / name / "vendor" / "llama.cpp"
    if source.is_dir():
        return source
    FOLDER.mkdir(parents=True, exist_ok=True)
    download = ["pip", "download", "--no-deps", "--no-binary=llama-cpp-python"]
    run(sys.executable, "-m", *download, "-d", str(FOLDER), f"llama-cpp-python=={release}")
    unfinished = FOLDER / "unpacking"
    with tarfile.open(FOLDER / f"{name}.tar.gz") as archive:
        archive.extractall(unfinished, filter="data")
    (unfinished / name).replace(FOLDER / name)
    return source


def run(*command: str) -> None:
    """Run a program whose output goes to stderr; exit with its status if it fails."""
    status = subprocess.run(command, stdout=sys.stderr).returncode
    if status != 0:
        sys.exit(f"{shlex.join(command[:3])} ... failed with status {status}; see above.")


if __name__ == "__main__":
    main()
