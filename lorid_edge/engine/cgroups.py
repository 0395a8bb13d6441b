"""The control groups of this process, which bound what a container may use (Linux)."""

from __future__ import annotations

from pathlib import Path

CGROUP_FOLDER = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def own_cgroups() -> list[Path]:
    """This process's cgroup folder (version 2) and its parents, innermost first.

    Some may not be visible from inside a container. Empty where the system has none.
    """
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = CGROUP_FOLDER / own.lstrip("/")
    return [
        folder,
        *(parent for parent in folder.parents if CGROUP_FOLDER in (parent, *parent.parents)),
    ]
