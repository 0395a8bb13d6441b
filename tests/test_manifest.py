"""Manifests: what is accepted, and that one error names everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lorid_edge.errors import PackError
from lorid_edge.packs.manifest import (
    KNOWLEDGE,
    QUESTION,
    PackManifest,
    WheelsSource,
    load_manifest,
)
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role

GOOD = r"""
schema = 1
name = "own"
version = "0.1.0"
licence = "MIT"
description = "one line"

[base]
file = "base.gguf"
bytes = 1000
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
architecture = "qwen2"
licence = "Apache-2.0"
[[base.sources]]
kind = "hub"
repo = "Some/Repo-GGUF"
revision = "ebb2015119c907b064c512bf053e945850b5875f"
file = "base.gguf"
[[base.sources]]
kind = "wheels"
package = "some-part{n}"
version = "0.9.0"
member = "some_part{n}/data/part{n:02}.bin"
parts = 12
[[base.sources]]
kind = "url"
url = "https://example.org/base.gguf"
[[base.sources]]
kind = "local"
path = "../base.gguf"

[prompt]
system = ""
[roles.intuitive_reasoner]
prompt = 'Problem: {question} Answer in \boxed{...}, not {x}.'
max_tokens = 400
stop = ["\n\n"]
[roles.intuitive_reasoner.adapter]
file = "ir.gguf"
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
scale = 1
[roles.knowledge_generator]
prompt = "Problem: {question} Rules?"
max_tokens = 100
[roles.deep_reasoner]
prompt = "Problem: {question} Rules: {knowledge}"
max_tokens = 400

[sampling]
temperature = 0
top_k = 0
top_p = 1.0
[answer]
format = "boxed"
[context]
sequence_tokens = 1024

[[results]]
dataset = "gsm8k/test"
policy = "adaptive"
accuracy_percent = 50.0
low_percent = 45.0
high_percent = 55.0
problems = 400
tokens_per_problem = 900.5
seconds_per_problem = 12
command = "lorid-edge eval --pack own"
"""


def load(folder: Path, content: str) -> PackManifest:
    (folder / "pack.toml").write_text(content, encoding="utf-8")
    return load_manifest(folder)


def test_reads_every_key(tmp_path: Path) -> None:
    manifest = load(tmp_path, GOOD)

    assert manifest.schema_version == 1
    assert [source.kind for source in manifest.base.sources] == ["hub", "wheels", "url", "local"]
    reasoner = manifest.roles[Role.INTUITIVE_REASONER]
    assert reasoner.adapter is not None
    assert (reasoner.adapter.scale, reasoner.stop) == (1.0, ("\n\n",))
    assert manifest.roles[Role.DEEP_REASONER].adapter is None
    assert manifest.sampling.temperature == 0
    assert manifest.results[0].problems == 400


def test_cannot_be_changed(tmp_path: Path) -> None:
    manifest = load(tmp_path, GOOD)
    with pytest.raises(ValidationError):
        manifest.base.bytes = 5  # type: ignore[misc]


def test_optional_tables_have_defaults(tmp_path: Path) -> None:
    start, rest = GOOD.split("[sampling]")
    manifest = load(tmp_path, start + rest[rest.index("[answer]") : rest.index("[context]")])
    assert manifest.sampling.temperature == 0.7
    assert manifest.context.sequence_tokens == 1024
    assert manifest.results == ()


def test_only_the_two_placeholders_are_filled_and_only_once(tmp_path: Path) -> None:
    roles = load(tmp_path, GOOD).roles
    asked = roles[Role.INTUITIVE_REASONER].fill(r"What is {knowledge} \1?")
    assert asked == r"Problem: What is {knowledge} \1? Answer in \boxed{...}, not {x}."
    deep = roles[Role.DEEP_REASONER].fill(QUESTION, KNOWLEDGE)
    assert deep == f"Problem: {QUESTION} Rules: {KNOWLEDGE}"


def test_parts_of_wheels_are_numbered(tmp_path: Path) -> None:
    source = load(tmp_path, GOOD).base.sources[1]
    assert isinstance(source, WheelsSource)
    assert source.package_of(12) == "some-part12"
    assert source.member_of(3) == "some_part3/data/part03.bin"


TRAPS = {
    "schema": ("schema = 1", "schema = 2", "schema: "),
    "unknown key": ('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"', "license: "),
    "unknown table": ("[context]", "[contxt]", "contxt: "),
    "unknown role": ("[roles.knowledge_generator]", "[roles.poet]", "roles.poet: "),
    "missing role": (
        "[roles.knowledge_generator]",
        "[roles.poet]",
        "roles.knowledge_generator: Field required",
    ),
    "missing key": ("bytes = 1000", "", "base.bytes: Field required"),
    "text for a number": ("bytes = 1000", 'bytes = "1000"', "base.bytes: "),
    "yes for a number": ("bytes = 1000", "bytes = true", "base.bytes: "),
    "upper-case hash": ("0123456789abcdef" * 4, "0123456789ABCDEF" * 4, "base.sha256: "),
    "pack name": ('name = "own"', 'name = "../own"', "name: "),
    "parent folder": ('file = "base.gguf"', 'file = "../base.gguf"', "base.file: "),
    "absolute path": ('file = "base.gguf"', 'file = "/etc/passwd"', "base.file: "),
    "windows path": ('file = "base.gguf"', "file = 'a\\b.gguf'", "base.file: "),
    "drive": ('file = "base.gguf"', 'file = "c:b.gguf"', "base.file: "),
    "dots": ('file = "base.gguf"', 'file = ".."', "base.file: "),
    "line break": ('file = "base.gguf"', 'file = "b.gguf\\n"', "base.file: "),
    "adapter path": ('file = "ir.gguf"', 'file = "../ir.gguf"', "adapter.file: "),
    "adapter scale": ("scale = 1", "scale = nan", "adapter.scale: "),
    "source kind": ('kind = "hub"', 'kind = "ftp"', "base.sources[0]: "),
    "source key": ('path = "../base.gguf"', "", "base.sources[3].path: Field required"),
    "plain http": ("https://", "http://", "base.sources[2].url: "),
    "letters in an address": ("org/base", "org/b\u00e4se", "base.sources[2].url: expected ASCII"),
    "endless file": ("bytes = 1000", f"bytes = 0x{'f' * 5000}", "base.bytes: "),
    "endless digits": ("bytes = 1000", f"bytes = {'9' * 5000}", "not valid TOML"),
    "no host": ("https://example.org/", "https:///", "base.sources[2].url: "),
    "branch as revision": (
        "ebb2015119c907b064c512bf053e945850b5875f",
        "main",
        "base.sources[0].revision: ",
    ),
    "option of pip": ('package = "some', 'package = "--index-url=x', "base.sources[1]: "),
    "format field": ("part{n:02}.bin", "{n.__class__}.bin", "base.sources[1]: "),
    "question missing": ("{question} Rules?", "Rules?", "roles.knowledge_generator: "),
    "knowledge missing": (" Rules: {knowledge}", "", "the prompt lacks {knowledge}"),
    "knowledge elsewhere": ("Rules?", "{knowledge}", "only deep_reasoner has"),
    "temperature": ("temperature = 0", "temperature = 5.1", "sampling.temperature: "),
    "top_p": ("top_p = 1.0", "top_p = 0", "sampling.top_p: "),
    "answer": ('format = "boxed"', 'format = "xml"', "answer.format: "),
    "no room": ("sequence_tokens = 1024", "sequence_tokens = 400", "leaves no room"),
    "percent": ("accuracy_percent = 50.0", "accuracy_percent = 101", "results[0].accuracy_percent"),
    "not TOML": ("schema = 1", "schema: 1", "not valid TOML"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_refuses_and_names_the_key(trap: str, tmp_path: Path) -> None:
    old, new, message = TRAPS[trap]
    assert old in GOOD
    with pytest.raises(PackError, match=r"pack\.toml") as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)


def test_many_parts_must_differ(tmp_path: Path) -> None:
    content = GOOD.replace("some-part{n}", "some").replace("some_part{n}/data/part{n:02}.bin", "x")
    with pytest.raises(PackError, match=r"12 parts need \{n\}"):
        load(tmp_path, content)


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    content = GOOD.replace("bytes = 1000", "").replace("top_k = 0", "top_k = -1")
    content = content.replace("{question} Rules?", "Rules?").replace('format = "boxed"', "")
    with pytest.raises(PackError) as caught:
        load(tmp_path, content)
    for key in ("base.bytes", "sampling.top_k", "roles.knowledge_generator", "answer.format"):
        assert f"\n  {key}: " in str(caught.value)


def test_never_trusts_the_file(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="cannot read the manifest"):
        load_manifest(tmp_path)
    path = tmp_path / "pack.toml"
    for content in (b"\xff\xfe", b"a = " + b"[" * 100_000, b"#" * (2**20 + 1)):
        path.write_bytes(content)
        with pytest.raises(PackError, match=r"pack\.toml"):
            load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["tiny", "small", "standard"])
def test_shipped_packs_are_sound(name: str, tmp_path: Path) -> None:
    pack = PackStore(tmp_path).find(name)
    assert pack.name == name
    assert (pack.folder / "README.md").is_file()
    for role in Role:
        prompt = pack.manifest.roles[role].prompt
        # The roles share the question's part of the context only if it comes first.
        assert prompt.strip().removeprefix("Problem: ").startswith(QUESTION)
