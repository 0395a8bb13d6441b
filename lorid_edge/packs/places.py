"""Where lorid-edge keeps its files, and whether it may use the network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.errors import UsageError

HOME_VARIABLE = "LORID_EDGE_HOME"
OFFLINE_VARIABLE = "LORID_EDGE_OFFLINE"


def is_offline() -> bool:
    """Whether the user forbids the network: any value of the variable but "" and "0" does."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


@dataclass(frozen=True)
class Places:
    """The folders below one home. None of them is made before something is written to it."""

    home: Path

    @classmethod
    def default(cls) -> Places:
        """LORID_EDGE_HOME or, where it is not set, the platform's folder for user data.

        Raises UsageError if LORID_EDGE_HOME is in the home of a user who does not exist.
        """
        from platformdirs import user_data_path

        home = os.environ.get(HOME_VARIABLE)
        try:
            folder = (
                Path(home).expanduser() if home else user_data_path("lorid-edge", appauthor=False)
            )
        except RuntimeError as error:
            raise UsageError(
                f"{HOME_VARIABLE} is {home!r}, expected the path of a folder: {error}"
            ) from error
        return cls(folder.absolute())

    @property
    def packs(self) -> Path:
        """Packs that the user added, one folder each."""
        return self.home / "packs"

    @property
    def downloads(self) -> Path:
        """Unfinished downloads and their locks."""
        return self.home / "downloads"

    @property
    def state(self) -> Path:
        """What was found out about this machine and its files, and unfinished runs."""
        return self.home / "state"

    @property
    def evaluations(self) -> Path:
        """Evaluation runs, one folder each."""
        return self.home / "evaluations"

    @property
    def verified(self) -> Path:
        """Notes about files whose SHA-256 was computed."""
        return self.state / "verified"

    @property
    def prompts(self) -> Path:
        """Evaluated fixed prompts."""
        return self.state / "prompts"

    def base(self, sha256: str, file_name: str) -> Path:
        """A base model. A file gets this name only after its SHA-256 matched."""
        return self.home / "bases" / f"{sha256[:12]}-{file_name}"

    def unpacked(self, sha256: str, file_name: str, weight_type: str) -> Path:
        """The copy of a base with unpacked weights, which can be made again at any time."""
        name = f"{sha256[:12]}-{weight_type.lower()}-{file_name.partition('-')[2]}"
        return self.home / "unpacked" / name

    def unpacked_copies(self, sha256: str, file_name: str) -> list[Path]:
        """The copies of a base that are here, of any type, with the notes beside them."""
        own_name = Path(file_name.partition("-")[2])
        return sorted(
            path
            for path in (self.home / "unpacked").glob(f"{sha256[:12]}-*")
            if Path(path.name.split("-", 2)[-1]).with_suffix("") == own_name.with_suffix("")
        )

    def dataset(self, sha256: str, file_name: str) -> Path:
        """A file of a data set, named like a base once its SHA-256 matched."""
        return self.home / "datasets" / f"{sha256[:12]}-{file_name}"

    def download(self, sha256: str) -> Path:
        """The folder for the unfinished download of one file."""
        return self.downloads / sha256

    def lock(self, sha256: str) -> Path:
        """Held by the process that fetches or removes one file."""
        return self.downloads / f"{sha256}.lock"
