"""From what the user calls a teacher to one that can be asked.

An address is an endpoint; a folder with config.json a model for torch; a GGUF file or a pack a
model for our own engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorid_edge.distill.teacher import Teacher
from lorid_edge.errors import PackError, UsageError
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.store import PackStore


@dataclass(frozen=True)
class TeacherSettings:
    """How a teacher is asked; what does not concern its kind has to be left as it is.

    Attributes:
        concurrency: problems it works on at once; None for what suits its kind.
        model: an endpoint's name for its model.
        key_variable: the environment variable with an endpoint's key.
        tries: of a request to an endpoint before it is given up.
        timeout_seconds: for one such try.
        threads: of our engine, or of torch on a CPU; None to choose by the machine.
        in_torch: a pack or GGUF file is unpacked and run in torch, not on our engine.
    """

    concurrency: int | None = None
    model: str | None = None
    key_variable: str | None = None
    tries: int = 6
    timeout_seconds: float = 120.0
    threads: int | None = None
    in_torch: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None and not 1 <= self.concurrency <= 256:
            raise UsageError(f"concurrency is {self.concurrency}; it has to be from 1 to 256.")
        if self.tries < 1 or not self.timeout_seconds > 0:
            raise UsageError("An endpoint needs at least 1 try and a timeout of more than 0 s.")


def is_endpoint(reference: str) -> bool:
    """Whether it is an address."""
    return reference.startswith(("http://", "https://"))


def is_pack(reference: str) -> bool:
    """Whether it is a pack's name or folder, as opposed to a model file or folder."""
    path = Path(reference).expanduser()
    return not (is_endpoint(reference) or _is_model_folder(path) or path.is_file())


def open_teacher(
    reference: str, settings: TeacherSettings, store: PackStore | None = None
) -> Teacher:
    """Load or reach a teacher.

    Args:
        reference: an address, the name or folder of a pack, a GGUF file, or a Hugging Face folder.

    Raises:
        UsageError: a setting does not go with it.
        PackError, ModelFileError, EngineError: it cannot be loaded.
        OfflineError: it is on the network, which is forbidden.
        LoridError: it needs something that is not installed.
    """
    if is_endpoint(reference):
        if settings.in_torch:
            raise UsageError(f"{reference} is an address; what runs there is not for torch here.")
        return _endpoint(reference, settings)
    if settings.model is not None or settings.key_variable is not None:
        raise UsageError(
            f"{reference} is no address, so neither a model's name nor a key goes with it."
        )
    path = Path(reference).expanduser()
    if _is_model_folder(path):
        return _torch(path, settings)
    base, sha256 = _base(path, reference, store or PackStore())
    if settings.in_torch:
        check_base(base)
        return _torch(base, settings)
    from lorid_edge.distill.engine_teacher import EngineTeacher

    return EngineTeacher(
        base, sha256, capacity=settings.concurrency or 16, threads=settings.threads
    )


def _torch(path: Path, settings: TeacherSettings) -> Teacher:
    from lorid_edge.distill.torch_teacher import TorchTeacher

    return TorchTeacher(path, batch=settings.concurrency or 64, threads=settings.threads)


def _endpoint(reference: str, settings: TeacherSettings) -> Teacher:
    from lorid_edge.distill.endpoint_teacher import EndpointSettings, EndpointTeacher

    if settings.model is None:
        raise UsageError(f"{reference} needs the name of its model; give --model.")
    return EndpointTeacher(
        EndpointSettings(
            reference,
            settings.model,
            settings.key_variable,
            concurrency=settings.concurrency or 8,
            tries=settings.tries,
            timeout_seconds=settings.timeout_seconds,
        )
    )


def _is_model_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def _base(path: Path, reference: str, store: PackStore) -> tuple[Path, str]:
    """The GGUF file and its SHA-256."""
    if path.is_file():
        from lorid_edge.packs.checksums import known_sha256_of

        return path, known_sha256_of(path, store.places.verified)
    try:
        pack = store.find(reference)
    except PackError as error:
        raise PackError(
            f"{error}; a teacher may also be an address, a GGUF file or a Hugging Face folder"
        ) from None
    store.open(pack)
    return pack.base_path, pack.manifest.base.sha256
