"""The three roles that share one base model."""

from __future__ import annotations

from enum import Enum


class Role(str, Enum):
    """A role's name as it stands in manifests, adapter metadata and results."""

    INTUITIVE_REASONER = "intuitive_reasoner"
    """Solves the problem at once, by chain of thought (System 1)."""
    KNOWLEDGE_GENERATOR = "knowledge_generator"
    """Writes the general rules that the problem needs."""
    DEEP_REASONER = "deep_reasoner"
    """Solves the problem with those rules in view (System 2)."""
