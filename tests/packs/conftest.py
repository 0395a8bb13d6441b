"""Fixtures for the tests of packs."""

from pack_workshop import base_file, pack, server, store

__all__ = ["base_file", "pack", "server", "store"]
