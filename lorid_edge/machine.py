"""What a measurement depends on beside its settings: the machine and the versions of the software.

Every file with measured numbers holds both, so that the numbers can be judged and repeated.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """For files and programs."""
        return self.model_dump(mode="json")


class Machine(_Facts):
    """The hardware and its operating system.

    Attributes:
        processor: the name that the processor gives itself.
        cores: physical cores of the machine, whatever a container may use of them.
        logical_cpus: what the operating system schedules on.
        memory_bytes: installed memory.
        system: operating system, release and architecture.
    """

    processor: str
    cores: int
    logical_cpus: int
    memory_bytes: int
    system: str

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        import psutil

        logical_cpus = os.cpu_count() or 1
        return cls(
            processor=processor_name(),
            cores=psutil.cpu_count(logical=False) or logical_cpus,
            logical_cpus=logical_cpus,
            memory_bytes=int(psutil.virtual_memory().total),
            system=platform.platform(),
        )

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores ({self.logical_cpus} logical CPUs), "
            f"{self.memory_bytes / 1e9:.1f} GB, {self.system}"
        )


class Versions(_Facts):
    """The software that a solution depends on.

    Attributes:
        native_library: 16 hex digits that tell builds of llama.cpp apart.
    """

    lorid_edge: str
    python: str
    llama_cpp_python: str
    native_library: str

    @classmethod
    def here(cls) -> Versions:
        """What is installed here; loads the native library. Raises EngineError if it cannot."""
        from lorid_edge import __version__
        from lorid_edge.engine.native import library_hash

        return cls(
            lorid_edge=__version__,
            python=platform.python_version(),
            llama_cpp_python=_installed("llama-cpp-python"),
            native_library=library_hash(),
        )


def processor_name() -> str:
    """The name of the processor's model, or its architecture where that is all that is known."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
