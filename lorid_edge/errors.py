"""Every error that lorid-edge raises on purpose.

A message says what went wrong, where, what was expected and what to do next; the command line
prints it as it stands, without a traceback.
"""

from __future__ import annotations


class LoridError(Exception):
    """Base of all lorid-edge errors: the work failed for a reason the message names."""


class UsageError(LoridError):
    """An argument or setting is impossible (exit code 2 on the command line)."""


class ModelFileError(LoridError):
    """A GGUF file is missing, damaged, or not of the kind that was expected."""


class AdapterError(LoridError):
    """A LoRA adapter does not fit the base model."""


class PackError(LoridError):
    """A pack is unknown, malformed, or its files do not match its manifest."""


class DownloadError(LoridError):
    """A file could not be fetched: network, disk, permissions or checksum."""


class OfflineError(DownloadError):
    """Something is missing and LORID_EDGE_OFFLINE forbids fetching it."""


class DataError(LoridError):
    """A data set is unknown, too broken to use, or not meant for what it was asked for."""


class ConversionError(LoridError):
    """A converter could not do its work: output, disk, or a step in native code."""


class TrainingError(LoridError):
    """An adapter cannot be trained: base, device, checkpoint, or numbers that left all bounds."""


class EngineError(LoridError):
    """llama.cpp failed to load a model, make a context or decode."""


class MemoryShortageError(EngineError):
    """The machine has too little free memory for the requested model and settings."""


class ContextOverflowError(LoridError):
    """A problem does not fit the context; raised before anything is generated."""


class CancelledError(LoridError):
    """The work was cancelled by the caller."""
