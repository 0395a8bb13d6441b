"""The packs of this machine: those shipped, those the user added, and any folder by its path."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorid_edge.errors import AdapterError, LoridError, ModelFileError, PackError
from lorid_edge.formats.adapters import AdapterInfo, check_adapter
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.packs.checksums import known_sha256_of, remove_stamp, sha256_of
from lorid_edge.packs.download import ProgressCallback, file_lock, pull_base
from lorid_edge.packs.manifest import MANIFEST_NAME, PackManifest, load_manifest
from lorid_edge.packs.places import Places
from lorid_edge.roles import Role

_LOGGER = logging.getLogger("lorid_edge.packs.store")


@dataclass(frozen=True)
class Pack:
    """A pack whose manifest was read; its files may be missing.

    `reference` is what the user would type to name it: a known name or a path.
    """

    manifest: PackManifest
    folder: Path
    reference: str
    places: Places

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def base_path(self) -> Path:
        """Where the base lies, or will after a pull."""
        return self.places.base(self.manifest.base.sha256, self.manifest.base.file)

    @property
    def is_present(self) -> bool:
        """Whether the base is here with the right size; its content is not read."""
        return self.missing_bytes == 0

    @property
    def missing_bytes(self) -> int:
        """What a pull has to fetch, not counting what an earlier try left."""
        expected_bytes = self.manifest.base.bytes
        try:
            found_bytes = self.base_path.stat().st_size
        except OSError:
            return expected_bytes
        return 0 if found_bytes == expected_bytes else expected_bytes

    def adapter_path(self, role: Role) -> Path | None:
        """The role's adapter in the pack's folder, None if the role runs on the bare base."""
        adapter = self.manifest.roles[role].adapter
        return None if adapter is None else self.folder / adapter.file


@dataclass(frozen=True)
class VerifiedPack:
    """A pack whose files were checked and may be handed to llama.cpp."""

    pack: Pack
    base: GgufFile
    adapters: dict[Role, AdapterInfo]


@dataclass(frozen=True)
class Removal:
    """What `PackStore.remove` did; `note` is a line for people."""

    freed_bytes: int
    note: str


class PackStore:
    """Finds, fetches, checks and removes packs below one home folder."""

    def __init__(self, home: Path | None = None) -> None:
        """`home` defaults to LORID_EDGE_HOME or the platform's folder for user data."""
        self.places = Places.default() if home is None else Places(home.absolute())

    @cached_property
    def _shipped(self) -> Path:
        return shipped_folder()

    def known(self) -> list[str]:
        """The names of the packs shipped and of those in HOME/packs, in this order."""
        shipped = _pack_names(self._shipped)
        return shipped + [name for name in _pack_names(self.places.packs) if name not in shipped]

    def find(self, name_or_path: str | Path) -> Pack:
        """The pack of that name, else the one in the folder at that path.

        Raises PackError if there is none or its manifest is wrong.
        """
        name = str(name_or_path)
        for parent in (self._shipped, self.places.packs):
            if name in _pack_names(parent):
                folder = parent / name
                return Pack(load_manifest(folder), folder, name, self.places)
        own_folder = _folder_at(name_or_path)
        if own_folder is None:
            raise PackError(
                f"unknown pack {name!r}; known are {', '.join(self.known())}, "
                f"and the path of a folder with a {MANIFEST_NAME} works too"
            )
        return Pack(load_manifest(own_folder), own_folder.absolute(), name, self.places)

    def pull(self, pack: Pack, progress: ProgressCallback | None = None) -> Path:
        """Fetch the pack's base if need be and return its path. Raises DownloadError."""
        return pull_base(pack.manifest.base, pack.folder, pack.places, progress)

    def open(self, pack: Pack, *, ignore_base_hash: bool = False) -> VerifiedPack:
        """Check everything that is going to be loaded; a stamped base is not hashed again.

        With `ignore_base_hash`, adapters made for another base of the same shapes are accepted.
        Raises PackError, ModelFileError or AdapterError; a PackError if several things are wrong.
        """
        verified, problems = _examine(pack, rehash=False, ignore_base_hash=ignore_base_hash)
        if verified is not None:
            return verified
        if len(problems) == 1:
            raise problems[0]
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise PackError(f"pack {pack.name} has {len(problems)} problems:{lines}")

    def verify(self, pack: Pack) -> list[str]:
        """Read and hash every file of the pack again; the problems found, none if all is well."""
        _, problems = _examine(pack, rehash=True)
        return [str(problem) for problem in problems]

    def remove(self, pack: Pack, force: bool = False) -> Removal:
        """Delete the pack's base and its unfinished download, never the pack's own folder.

        A base that another known pack uses stays, unless `force`. Raises PackError if the
        files cannot be deleted.
        """
        users = [other.name for other in self._others(pack) if other.base_path == pack.base_path]
        if users and not force:
            return Removal(0, f"kept {pack.base_path.name}: {', '.join(users)} uses it too")
        base = pack.manifest.base
        download = pack.places.download(base.sha256)
        copies = pack.places.unpacked_copies(base.sha256, pack.base_path.name)
        is_wanted = any(other.manifest.base.sha256 == base.sha256 for other in self._others(pack))
        parts = [] if is_wanted and not force else list(download.rglob("*"))
        paths = [path for path in (pack.base_path, *copies, *parts) if path.is_file()]
        if not paths:
            return Removal(0, f"nothing to remove: the base of {pack.name} is not here")
        freed_bytes = sum(path.stat().st_size for path in paths)
        try:
            with file_lock(base.sha256, pack.places):
                pack.base_path.unlink(missing_ok=True)
                for copy in copies:
                    copy.unlink(missing_ok=True)
                remove_stamp(pack.base_path, pack.places.verified)
                if parts:
                    shutil.rmtree(download, ignore_errors=True)
        except OSError as error:
            raise PackError(
                f"cannot remove {pack.base_path}: {error.strerror or error}; "
                "close the programs that use it and check the folder's permissions"
            ) from error
        return Removal(freed_bytes, f"removed {pack.base_path}")

    def _others(self, pack: Pack) -> list[Pack]:
        """The other packs here; those with a broken manifest do not count."""
        others = []
        for name in self.known():
            try:
                other = self.find(name)
            except PackError:
                continue
            if other.folder.resolve() != pack.folder.resolve():
                others.append(other)
        return others


def shipped_folder() -> Path:
    """The installed packs or, in a checkout that is not installed, its models/ folder."""
    from importlib import resources

    try:
        return Path(str(resources.files("lorid_edge.models")))
    except ModuleNotFoundError:
        return Path(__file__).parents[2] / "models"


def _folder_at(path: str | Path) -> Path | None:
    try:
        folder = Path(path).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):  # a path too long, or `~` of a user who does not exist
        return None


def _pack_names(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(path.parent.name for path in parent.glob(f"*/{MANIFEST_NAME}"))


def _examine(
    pack: Pack, *, rehash: bool, ignore_base_hash: bool = False
) -> tuple[VerifiedPack | None, list[LoridError]]:
    """Check the base, then the adapters against it; either the result or all problems."""
    problems: list[LoridError] = []
    base: GgufFile | None = None
    try:
        base = _checked_base(pack, rehash)
    except LoridError as problem:
        problems.append(problem)
    adapters: dict[Role, AdapterInfo] = {}
    for role in Role:
        try:
            adapter = _checked_adapter(pack, role, base, ignore_base_hash)
            if adapter is not None:
                adapters[role] = adapter
        except LoridError as problem:
            problems.append(problem)
    if base is None or problems:
        return None, problems
    return VerifiedPack(pack, base, adapters), []


def _checked_base(pack: Pack, rehash: bool) -> GgufFile:
    expected, path = pack.manifest.base, pack.base_path
    pull = f"lorid-edge packs pull {pack.reference}"
    if not path.is_file():
        raise PackError(
            f"the base of pack {pack.name} is not here "
            f"({expected.bytes / 1e6:,.0f} MB); run: {pull}"
        )
    try:
        size_bytes = path.stat().st_size
        if size_bytes != expected.bytes:
            raise ModelFileError(
                f"{path}: {size_bytes} bytes, expected {expected.bytes}; run: {pull}"
            )
        sha256 = sha256_of(path) if rehash else known_sha256_of(path, pack.places.verified)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if sha256 != expected.sha256:
        remove_stamp(path, pack.places.verified)
        raise ModelFileError(
            f"{path}: SHA-256 is {sha256}, expected {expected.sha256}; run: {pull}"
        )
    base = check_base(path)
    if base.architecture != expected.architecture:
        raise PackError(
            f"{path}: architecture {base.architecture!r}, the manifest of {pack.name} says "
            f"{expected.architecture!r}; correct {pack.folder / MANIFEST_NAME}"
        )
    return base


def _checked_adapter(
    pack: Pack, role: Role, base: GgufFile | None, ignore_base_hash: bool
) -> AdapterInfo | None:
    """The role's adapter, if it has one; without a base only its hash can be checked."""
    expected, path = pack.manifest.roles[role].adapter, pack.adapter_path(role)
    if expected is None or path is None:
        return None
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise AdapterError(
            f"{path}: the adapter of {role.value} cannot be read: {error.strerror or error}; "
            "put it there, or take it out of the manifest"
        ) from error
    if sha256 != expected.sha256:
        raise AdapterError(
            f"{path}: the adapter of {role.value} has SHA-256 {sha256}, "
            f"the manifest says {expected.sha256}; put the right file there, or install the pack "
            "anew"
        )
    if base is None:
        return None
    base_sha256 = pack.manifest.base.sha256
    try:
        info = check_adapter(path, base, base_sha256=base_sha256, ignore_base_hash=ignore_base_hash)
    except ModelFileError as error:
        raise AdapterError(str(error)) from error
    if info.base_sha256 not in (None, base_sha256):
        _LOGGER.warning("%s was made for another base; what it writes may be nonsense", path)
    if info.role not in (None, role):
        raise AdapterError(
            f"{path}: made for {info.role.value}, the manifest uses it as {role.value}"
        )
    return info
