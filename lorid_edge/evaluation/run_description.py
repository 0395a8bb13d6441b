"""What an evaluation run is, and under what circumstances it was made: its `run.json`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lorid_edge.machine import Machine, Versions
from lorid_edge.packs.manifest import Sampling
from lorid_edge.roles import Role


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class PackIdentity(_Model):
    """The pack that is evaluated.

    Attributes:
        manifest_sha256: of all in the manifest but its description and its measured results.
        adapters: SHA-256 of the adapter of each role that has one; none if `bare`.
        bare: whether the pack's adapters were left out.
    """

    name: str
    version: str
    manifest_sha256: str
    base_sha256: str
    adapters: dict[Role, str]
    bare: bool


class DataIdentity(_Model):
    """The problems.

    Attributes:
        name: of the data set.
        sha256: of the data set's file or files.
        limit: how many problems were drawn; None for all.
        sample_seed: chose them, together with `sha256` and `limit`.
    """

    name: str
    split: str
    sha256: str
    limit: int | None
    sample_seed: int


class RunIdentity(_Model):
    """All that the solutions depend on, floating-point noise aside.

    Attributes:
        max_rounds: as the policy takes it; never None.
        sequence_tokens: longest question and answer of a sample.
        seed: of the run; each problem's own is derived from it and the problem's id.
    """

    pack: PackIdentity
    data: DataIdentity
    policy: str
    width: int
    max_rounds: int
    max_seconds: float | None
    calculator: bool
    sampling: Sampling
    sequence_tokens: int
    seed: int

    def extends(self, other: RunIdentity) -> bool:
        """Whether this is the other run with a larger sample, or the very same."""
        mine, smaller = self.data.limit, other.data.limit
        if mine is None or smaller is None or mine < smaller:
            return False
        data = self.data.model_copy(update={"limit": smaller})
        return self.model_copy(update={"data": data}) == other

    def differences(
        self, other: RunIdentity, ours: str = "here", theirs: str = "there"
    ) -> list[str]:
        """What is not the same, such as "policy: ir here, vote there"; [] if all is."""
        mine = dict(_flat(self.model_dump(mode="json")))
        other_values = dict(_flat(other.model_dump(mode="json")))
        return [
            f"{name}: {mine.get(name)} {ours}, {other_values.get(name)} {theirs}"
            for name in dict.fromkeys([*mine, *other_values])
            if mine.get(name) != other_values.get(name)
        ]


class Circumstances(_Model):
    """What times and memory depend on beside the identity.

    Attributes:
        in_flight: problems solved at the same time.
        threads: that decoded.
        weights: as the base's file has them ("packed"), or a copy in 8 or 16 bits ("unpacked"),
            which gives the same up to rounding.
        engine: this process ("local"), or a Ray cluster.
        command: what was typed.
        when: the start.
        solved: problems solved before the end; None if a kill came first.
        solving_seconds: from the loaded pack to the end; likewise.
    """

    in_flight: int
    threads: int
    weights: Literal["packed", "unpacked"] = "packed"
    engine: Literal["local", "ray"] = "local"
    versions: Versions
    machine: Machine
    command: str
    when: datetime
    solved: int | None = None
    solving_seconds: float | None = None


class RunDescription(_Model):
    """A whole `run.json` (schema 1).

    Attributes:
        circumstances: of the start.
        continued: those of each time that the run was gone on with.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    identity: RunIdentity
    circumstances: Circumstances
    continued: tuple[Circumstances, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What stands in the file."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def sessions(self) -> tuple[Circumstances, ...]:
        """The start, and each time that the run was gone on with."""
        return self.circumstances, *self.continued

    @property
    def wall_seconds_per_problem(self) -> float | None:
        """Over the sessions that came to an end; None if there is none."""
        ended = [
            (session.solving_seconds, session.solved)
            for session in self.sessions
            if session.solving_seconds is not None and session.solved
        ]
        if not ended:
            return None
        return sum(seconds for seconds, _ in ended) / sum(solved for _, solved in ended)

    def continued_under(self, circumstances: Circumstances) -> RunDescription:
        """The same run, gone on with."""
        return self.model_copy(update={"continued": (*self.continued, circumstances)})

    def session_ended(self, solved: int, seconds: float) -> RunDescription:
        """The same, with what the last session did."""
        *before, last = self.sessions
        last = last.model_copy(update={"solved": solved, "solving_seconds": round(seconds, 3)})
        first, *later = *before, last
        return self.model_copy(update={"circumstances": first, "continued": tuple(later)})


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested objects with dotted names."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
