"""Teachers on this machine: our engine with the tiny base, and torch with a tiny random model."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.distill.engine_teacher import EngineTeacher
from lorid_edge.distill.knowledge import parse_rules
from lorid_edge.distill.teacher import TOO_LONG, Ask, Reply, Teacher
from lorid_edge.distill.teachers import TeacherSettings, open_teacher
from lorid_edge.errors import CancelledError, LoridError, ModelFileError, PackError, UsageError
from lorid_edge.packs.store import PackStore

ASKS = [
    Ask(
        f"a{n}",
        f"A shop sells {n + 2} pens for $3 each. What does it get?",
        f"It gets {n + 2} * 3 = {3 * n + 6} dollars.",
        seed=n,
    )
    for n in range(3)
]
LONG = Ask("long", "How many? " * 3000, "Many.", seed=1)


def replies_to(teacher: Teacher, asks: list[Ask]) -> dict[str, Reply]:
    for ask in asks:
        teacher.submit(ask)
    found: dict[str, Reply] = {}
    while replies := teacher.next_replies():
        found |= {reply.key: reply for reply in replies}
    return found


# Our engine


@pytest.fixture
def store(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> PackStore:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return PackStore(tiny_home)


def test_the_engine_holds_replies_to_json(store: PackStore) -> None:
    with closing(open_teacher("tiny", TeacherSettings(concurrency=3), store)) as teacher:
        assert teacher.capacity == 3
        found = replies_to(teacher, [*ASKS, LONG])
    assert set(found) == {"a0", "a1", "a2", "long"}
    assert found["long"].refusal == TOO_LONG
    for ask in ASKS:
        reply = found[ask.key]
        assert reply.generated_tokens > 0
        assert reply.prompt_tokens > 0
        assert reply.text.startswith('["')
        if reply.text.endswith('"]'):  # else its length was cut off
            assert parse_rules(reply.text)
    assert sum(reply.text.endswith('"]') for reply in found.values()) >= 2


def test_an_engine_at_work_can_be_aborted(store: PackStore, tiny_base: Path) -> None:
    with closing(EngineTeacher(tiny_base, "0" * 64, capacity=2)) as teacher:
        for ask in ASKS:
            teacher.submit(ask)
        threading.Timer(0.1, teacher.abort).start()
        with pytest.raises(CancelledError):
            list(iter(teacher.next_replies, []))


def test_a_pack_writes_knowledge_by_command(store: PackStore, tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    lines = [{"id": ask.key, "question": ask.question, "rationale": ask.rationale} for ask in ASKS]
    problems.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    arguments = ["distill", "knowledge", str(problems), "--teacher", "tiny", "--attempts", "2"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "rules.jsonl"), "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["done"] == report["problems"] == 3
    assert report["replies"] >= 3
    assert report["kept"] == len((tmp_path / "rules.jsonl").read_text("utf-8").splitlines())


def test_what_is_no_teacher(store: PackStore, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF????")
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        open_teacher(str(broken), TeacherSettings(), store)
    with pytest.raises(PackError, match="a teacher may also be an address"):
        open_teacher("nobody", TeacherSettings(), store)
    with pytest.raises(UsageError, match="no address"):
        open_teacher("tiny", TeacherSettings(model="m"), store)
    with pytest.raises(UsageError, match="not for torch"):
        open_teacher("http://127.0.0.1:1", TeacherSettings(in_torch=True), store)
    with pytest.raises(UsageError, match="name of its model"):
        open_teacher("http://127.0.0.1:1", TeacherSettings(), store)


# Torch


def test_a_pack_runs_in_torch_where_that_is_wanted(store: PackStore) -> None:
    pytest.importorskip("transformers")
    settings = TeacherSettings(concurrency=3, in_torch=True)
    with closing(open_teacher("tiny", settings, store)) as teacher:
        assert teacher.capacity == 3
        found = replies_to(teacher, [*ASKS, LONG])
    assert set(found) == {"a0", "a1", "a2", "long"}
    assert found["long"].refusal == TOO_LONG
    # As long as the engine's prompts: both are made by the same code.
    with closing(open_teacher("tiny", TeacherSettings(concurrency=3), store)) as engine:
        others = replies_to(engine, ASKS)
    for ask in ASKS:
        assert found[ask.key].prompt_tokens == others[ask.key].prompt_tokens
        assert found[ask.key].text.strip()
        assert 0 < found[ask.key].generated_tokens <= 200


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer and a chat template."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("teacher") / "random-llama"
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<end>{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8192,
        eos_token_id=len(vocabulary) - 1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_torch_replies_in_batches(random_folder: Path) -> None:
    def ask() -> dict[str, Reply]:
        settings = TeacherSettings(concurrency=2)
        with closing(open_teacher(str(random_folder), settings)) as teacher:
            assert (teacher.name, teacher.capacity) == ("random-llama", 2)
            return replies_to(teacher, [*ASKS, LONG])

    first = ask()
    assert set(first) == {"a0", "a1", "a2", "long"}
    assert first["long"] == Reply("long", "", 0, 0, refusal=TOO_LONG)
    prompts = {first[one.key].prompt_tokens for one in ASKS}
    assert min(prompts) > 60  # a byte is a token; the common beginning is not counted
    assert max(prompts) < 300
    assert all(0 < first[one.key].generated_tokens <= 200 for one in ASKS)
    assert "<end>" not in "".join(reply.text for reply in first.values())
    assert ask() == first


def test_torch_takes_the_threads_that_it_is_given(random_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        with closing(open_teacher(str(random_folder), TeacherSettings(threads=1))):
            assert torch.get_num_threads() == 1
        with closing(open_teacher(str(random_folder), TeacherSettings(threads=3))):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_torch_can_be_aborted(random_folder: Path) -> None:
    with closing(open_teacher(str(random_folder), TeacherSettings())) as teacher:
        teacher.submit(ASKS[0])
        teacher.abort()
        with pytest.raises(CancelledError):
            teacher.next_replies()


def test_a_folder_that_torch_cannot_load(random_folder: Path, tmp_path: Path) -> None:
    from lorid_edge.distill.torch_teacher import TorchTeacher

    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    with pytest.raises(ModelFileError, match="cannot be loaded as a teacher"):
        open_teacher(str(tmp_path), TeacherSettings())
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(LoridError, match="No GPU is there"):
            TorchTeacher(random_folder, device="cuda")
