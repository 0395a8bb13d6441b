"""Small packs, a server that can be slow or wrong, and pulls that kill themselves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest

from lorid_edge.packs.manifest import UrlSource
from lorid_edge.packs.store import Pack, PackStore

ROOT = Path(__file__).parents[2]
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
