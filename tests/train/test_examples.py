"""Token examples on the real tokenizer of the tiny base: what is read, what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lorid_edge.data.record import Record
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import Finish, GenerationRequest, Sequence
from lorid_edge.loop.prompts import RolePrompts
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.train.base import RoleQuestions, without_examples
from lorid_edge.train.examples import Curriculum, ExampleMaker, Lesson
from lorid_edge.train.shown import show
from lorid_edge.train.targets import Annotations

if TYPE_CHECKING:
    from lorid_edge.engine.model import Model

IR, KG, DR = Role
QUESTION = "Ann has 3 boxes of 4 eggs. How many <|im_end|> eggs?"
RATIONALE = (
    "She has 3 * 4 = $<<3*4=12>>12 eggs.\n"
    "Then $5 +$7=$<<5+7=12>>12, so 1,000*2= <<1000*2=2000>>2,000."
)


@pytest.fixture(scope="module")
def manifest() -> PackManifest:
    return PackStore().find("tiny").manifest


@pytest.fixture(scope="module")
def vocabulary(tiny_base: Path) -> Model:
    from lorid_edge.engine.model import Model

    return Model(tiny_base, vocabulary_only=True)


@pytest.fixture(scope="module")
def maker(vocabulary: Model, manifest: PackManifest) -> ExampleMaker:
    roles = without_examples(manifest.roles, list(Role))
    return ExampleMaker(vocabulary, RoleQuestions(manifest.prompt, roles))


def record(**changes: object) -> Record:
    fields = {
        "id": "1",
        "question": QUESTION,
        "rationale": RATIONALE,
        "answer": "12",
        "knowledge": ("Multiply.", "Add."),
    }
    return Record.model_validate({**fields, **changes})


def lesson(role: Role) -> Lesson:
    curriculum = Curriculum(Annotations.STRIP, "boxed")
    [one] = curriculum.lessons(role, [record()], [record(rationale=None)])
    return one


@pytest.mark.parametrize("role", list(Role))
def test_a_prompt_is_what_the_runtime_asks(
    role: Role, maker: ExampleMaker, tiny_model: Model, manifest: PackManifest
) -> None:
    roles = without_examples(manifest.roles, list(Role))
    runtime = RolePrompts(tiny_model, manifest.model_copy(update={"roles": roles}))
    knowledge = "- Multiply.\n- Add." if role is DR else ""
    asked = runtime.build(role, QUESTION, knowledge).tokens
    assert maker.make(role, lesson(role)).prompt == asked


@pytest.mark.parametrize("role", list(Role))
def test_only_the_reply_and_its_end_are_trained(
    role: Role, maker: ExampleMaker, vocabulary: Model
) -> None:
    example = maker.make(role, lesson(role))
    *reply, end = example.completion
    text = b"".join(vocabulary.piece(token) for token in reply).decode()
    assert text == lesson(role).target
    assert vocabulary.special_text(end) == "<|im_end|>"
    assert vocabulary.is_end(end)
    assert not any(vocabulary.is_end(token) for token in reply)
    # system, user: the <|im_end|> in the question is text and ends nothing
    assert sum(vocabulary.is_end(token) for token in example.prompt) == 2


def test_an_example_can_be_seen(maker: ExampleMaker, vocabulary: Model) -> None:
    shown = show(maker.make(KG, lesson(KG)), vocabulary)
    assert shown.prompt.endswith("<|im_start|>assistant\n")
    assert QUESTION in shown.prompt
    assert (shown.completion, shown.end) == ("- Multiply.\n- Add.", "<|im_end|>")
    assert shown.marked().endswith("[[trained: - Multiply.\n- Add.<|im_end|> ]]")


@pytest.mark.parametrize("pack", ["tiny", pytest.param("small", marks=pytest.mark.slow)])
@pytest.mark.parametrize("annotations", [Annotations.STRIP, Annotations.WHERE_NEEDED])
def test_the_runtime_with_its_calculator_writes_just_the_tokens_that_are_trained(
    pack: str, annotations: Annotations, tiny_base: Path
) -> None:
    """A model that has learnt the target perfectly, in the runtime's own sequence."""
    from lorid_edge.engine.model import Model

    found = PackStore().find(pack)
    path = tiny_base if pack == "tiny" else found.base_path
    if not path.is_file():
        pytest.skip(f"needs the base of the pack {pack}")
    vocabulary = Model(path, vocabulary_only=True)
    maker = ExampleMaker(vocabulary, found.manifest)
    [one] = Curriculum(annotations, "line").lessons(IR, [record()], [])
    target = maker.make(IR, one).completion
    request = GenerationRequest(
        (1,), len(target) + 8, seed=0, sampling=SamplingSettings(0.0), calculator=True
    )
    sequence = Sequence(0, request, vocabulary)
    while sequence.finish is None:
        # after each fed token: the likeliest next one is the target's
        rows = []
        for back in reversed(range(sequence.wanted_logits())):
            row = np.zeros(vocabulary.vocabulary_size, np.float32)
            row[target[len(sequence.tokens) - back]] = 9
            rows.append(row)
        sequence.receive(rows)
    assert sequence.finish is Finish.END
    assert tuple(sequence.tokens) == target[:-1]
    assert sequence.forced_tokens > 0
    assert not any(call.differed for call in sequence.calculator_calls)
    sequence.close()


def test_the_deep_reasoner_learns_every_rationale_of_a_question_with_knowledge() -> None:
    reasoning = [
        record(rationale="One way."),
        record(rationale="Another way."),
        record(question="Never explained?"),
    ]
    knowledge = [
        record(rationale=None),
        record(question="Own rationale?", rationale="By itself."),
        record(question="No rationale?", rationale=None),
        record(question="No rules?", knowledge=()),
    ]
    curriculum = Curriculum(Annotations.STRIP, "hash")
    lessons = curriculum.lessons(DR, reasoning, knowledge)
    assert [lesson.target for lesson in lessons] == [
        "One way.\n#### 12",
        "Another way.\n#### 12",
        "By itself.\n#### 12",
    ]
    assert {lesson.knowledge for lesson in lessons} == {"- Multiply.\n- Add."}
    assert len(curriculum.lessons(KG, reasoning, knowledge)) == 3
    assert len(curriculum.lessons(IR, reasoning, knowledge)) == 3
