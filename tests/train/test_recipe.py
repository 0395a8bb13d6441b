"""Recipes: what they say, and that all that is wrong with one is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_base import write_random_base
from small_pack import Workshop, make_workshop, problem, write_lines

from lorid_edge.roles import Role
from lorid_edge.train.plan import make_plan
from lorid_edge.train.recipe import Recipe, RecipeError, read_recipe
from lorid_edge.train.shipped import find_recipe, known_recipes

IR, KG, DR = Role


@pytest.fixture(scope="module")
def random_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_base("llama", tiny_base, tmp_path_factory.mktemp("base") / "toy.gguf")


@pytest.fixture
def workshop(tmp_path: Path, random_base: Path) -> Workshop:
    return make_workshop(tmp_path, random_base)


def refusal(workshop: Workshop, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        make_plan(workshop.recipe, list(Role), overrides=overrides, store=workshop.store)
    return str(caught.value)


def read(path: Path, *overrides: str) -> Recipe:
    recipe, problems = read_recipe(path, overrides)
    assert problems == []
    assert recipe is not None
    return recipe


@pytest.mark.parametrize("name", known_recipes())
def test_every_shipped_recipe_is_valid(name: str) -> None:
    recipe = read(find_recipe(name))
    folder, form = name.split("/")
    if folder == "paper":
        lora, training = recipe.lora, recipe.training
        assert (lora.rank, lora.alpha, lora.dropout) == (512, 1024, 0.1)
        assert lora.targets == ("q_proj", "v_proj")
        assert (training.learning_rate, training.epochs, training.batch_examples) == (5e-5, 5, 16)
        assert (training.warmup_fraction, training.dtype) == (0.03, "bfloat16")
    else:
        assert recipe.pack == folder
        assert recipe.name == f"{folder}-{form}"
        assert recipe.training.device == ("cuda" if form == "gpu" else "auto")


def test_the_recipes_of_the_issue_are_there() -> None:
    packs = {f"{pack}/{form}" for pack in ("tiny", "small", "standard") for form in ("cpu", "gpu")}
    assert packs <= known_recipes().keys()
    assert sum(name.startswith("paper/") for name in known_recipes()) == 5


def test_an_unknown_recipe_is_told_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="tiny/cpu"):
        find_recipe("tiny/tpu")


def test_a_role_has_its_own_keys_and_else_those_of_all(workshop: Workshop) -> None:
    workshop.change("[output]", "training = { epochs = 3.0 }\ndata = { limit = 5 }\n\n[output]")
    recipe = read(workshop.recipe, "training.learning_rate=0.5")
    deep, knowing = recipe.for_role(DR), recipe.for_role(KG)
    assert (deep.training.epochs, knowing.training.epochs) == (3, 1)
    assert deep.training.learning_rate == knowing.training.learning_rate == 0.5
    assert (deep.data.limit, knowing.data.limit) == (5, None)
    assert deep.data.reasoning == ("problems.jsonl",)
    assert (deep.start_from, knowing.start_from) == ("intuitive_reasoner", None)


def test_an_override_takes_a_bare_word_as_text(workshop: Workshop) -> None:
    recipe = read(workshop.recipe, "training.device=auto", 'data.reasoning=["a","b"]')
    assert recipe.training.device == "auto"
    assert recipe.data.reasoning == ("a", "b")


@pytest.mark.parametrize("override", ["training", "=3", "a b=1"])
def test_an_override_that_sets_nothing(workshop: Workshop, override: str) -> None:
    with pytest.raises(RecipeError, match="key=value"):
        read_recipe(workshop.recipe, [override])


def test_everything_that_is_wrong_is_told_at_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorid_edge.train.plan.has_gpu", lambda: False)
    workshop.change("rank = 4", "rank = 0\nalhpa = 8")
    workshop.change('device = "cpu"', 'device = "cuda"')
    workshop.change('knowledge = ["problems.jsonl"]', 'knowledge = ["nowhere.jsonl"]')
    base = next((workshop.home / "bases").iterdir())
    base.write_bytes(base.read_bytes()[:-1] + b"!")
    message = refusal(workshop)
    for part in (
        "lora.rank: input should be greater than or equal to 1, not 0",
        "lora.alhpa: unknown key",
        "demands a GPU",
        "nowhere.jsonl",
        "SHA-256",
    ):
        assert part in message
    assert len(message.splitlines()) == 6


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("training.epochs=nan", "training.epochs"),
        ("training.learning_rate=-1.0", "training.learning_rate"),
        ("training.dtype=int8", "training.dtype"),
        ("roles.deep_reasoner.lora.rank=8", "[lora] has to be that of intuitive_reasoner"),
        ("roles.critic.lora.rank=8", "roles.critic: unknown key"),
        (
            "roles.deep_reasoner.data.max_broken_fraction=0.5",
            "roles.deep_reasoner.data.max_broken_fraction: roles share what is read",
        ),
        ("lora.targets=['q_proj', 'v_prj']", "the base has no v_prj; it has q_proj, k_proj"),
        ("output.type=q4_0", "output.type"),
        ("evaluation.policies=['guess']", "there is no policy 'guess'"),
        ("data.reasoning=[]", "data.reasoning: empty"),
        ("pack=nowhere", "unknown pack"),
        ("base.model=other.gguf", "either pack or [base]"),
        ("training.max_tokens=16", "no example is left"),
    ],
)
def test_an_impossible_value_is_named(workshop: Workshop, override: str, part: str) -> None:
    assert part in refusal(workshop, override)


def test_a_base_needs_prompts(workshop: Workshop, random_base: Path) -> None:
    workshop.change('pack = "../toy"', f'base = {{ model = "{random_base}" }}')
    assert "[base] needs [prompts]" in refusal(workshop)
    prompts = (
        'prompts.intuitive_reasoner="{question}"',
        'prompts.knowledge_generator="{question} {knowledge}"',
        'prompts.deep_reasoner="{question}"',
    )
    message = refusal(workshop, *prompts)
    assert "prompts.knowledge_generator: expected a prompt with {question} and without" in message
    assert "prompts.deep_reasoner: expected a prompt with {question} and {knowledge}" in message


def test_a_base_by_its_path_is_checked_against_its_hash(
    workshop: Workshop, random_base: Path
) -> None:
    workshop.change(
        'pack = "../toy"', f'base = {{ model = "{random_base}", sha256 = "{"0" * 64}" }}'
    )
    prompts = ("prompts.knowledge_generator={question}", "prompts.intuitive_reasoner={question}")
    message = refusal(workshop, *prompts, "prompts.deep_reasoner={question} {knowledge}")
    assert f"the recipe wants {'0' * 64}" in message


def test_broken_lines_are_passed_over_up_to_a_limit(workshop: Workshop) -> None:
    records = [problem(number) for number in range(199)]
    write_lines(workshop.data, [*records, '{"question": 7}'])
    plan = make_plan(workshop.recipe, [IR], store=workshop.store)
    [dataset] = plan.datasets.values()
    assert [broken.line for broken in dataset.broken] == [200]
    write_lines(workshop.data, [*records[:10], '{"question": 7}', '{"question": '])
    message = refusal(workshop)
    assert "line 11" in message
    assert "line 12" in message
    assert "allow more with data.max_broken_fraction" in message
    plan = make_plan(
        workshop.recipe, [IR], overrides=["data.max_broken_fraction=0.2"], store=workshop.store
    )
    assert len(plan.roles[IR].examples) == 10


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("name = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(path)
    with pytest.raises(RecipeError, match="cannot read"):
        read_recipe(tmp_path / "missing.toml")


def test_examples_that_are_too_long_are_left_out_and_counted(workshop: Workshop) -> None:
    long = {**problem(99), "rationale": "word " * 200}
    write_lines(workshop.data, [problem(1), long, problem(2)])
    planned = make_plan(workshop.recipe, [IR], store=workshop.store).roles[IR]
    assert (len(planned.examples), planned.too_long) == (2, 1)
    assert planned.tokens == sum(len(e.prompt) + len(e.completion) for e in planned.examples)
    assert 0 < planned.completion_tokens < planned.tokens


def test_only_the_training_split_of_gsm8k_is_trained_on(workshop: Workshop) -> None:
    held_out = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"
    if not held_out.is_file():
        pytest.skip("needs GSM8K's files")
    assert "test" in refusal(workshop, f'data.reasoning=["{held_out}"]')
