"""How a comparison is run: what every side is told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for counted_votes, when run as a script
from counted_votes import CountedPolicy

from lorid_edge.loop.policies import Policy, make_policy


@dataclass(frozen=True)
class SideSettings:
    """How a comparison is run; the same for all its sides.

    Attributes:
        pack: the folder of the pack with adapters.
        width: samples of a role at once, for the policy of ours.
        peer_width: the same for the peer's.
        in_flight: problems that ours solves at once.
        calculator: whether ours forces results of arithmetic; no peer can.
        weights: a copy of the base with unpacked weights for ours, where eval would take one.
        slots: of llama-server, for each role; as many problems are handed to it at once.
        server_weights: the file that llama-server loads; None for the pack's base.
        dtype: of the weights in torch.
    """

    pack: str
    policy: str = CountedPolicy.name
    width: int = 1
    peer_width: int = 1
    max_rounds: int | None = None
    in_flight: int = 8
    calculator: bool = False
    threads: int | None = None
    weights: str | None = None
    slots: int = 8
    server_weights: str | None = None
    dtype: str = "bfloat16"

    def peer_policy(self) -> Policy:
        """A policy for one problem of a peer."""
        return make_policy(self.policy, self.peer_width, self.max_rounds)
