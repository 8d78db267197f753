"""Every worked example of the RLHF book's chapter on instruction tuning, byte for byte, through the built-ins."""

import itertools
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from jinja_oracle import render

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden" / "chapter"
CHAPTER = ROOT.parent / "shared" / "seed" / "instruction-tuning-chapter.md"

Message = dict[str, Any]

PIRATE = {
    "role": "system",
    "content": "You are a friendly chatbot who always responds in the style of a pirate",
}
HELICOPTERS = {
    "role": "user",
    "content": "How many helicopters can a human eat in one sitting?",
}
SIX = {"role": "assistant", "content": "Oh just 6."}
SURE = {"role": "user", "content": "Are you sure about that?"}
HOW_ARE_YOU = {"role": "user", "content": "How are you doing?"}
PROGRAM = {
    "role": "assistant",
    "content": "I'm just a computer program, so I don't have feelings, but I'm functioning as expected. "
    "How can I assist you today?",
}

EXAMPLES: dict[str, tuple[str, list[Message], dict[str, Any]]] = {
    "base-prompt": (
        "base",
        [{"role": "user", "content": " The capital of the United States is"}],
        {"bos_token": "<bos_token>", "eos_token": "<eos_token>", "add_generation_prompt": True},
    ),
    "chatml-single-turn": (
        "chatml-strict",
        [PIRATE, HELICOPTERS],
        {"bos_token": "", "add_generation_prompt": True},
    ),
    "chatml-multi-turn": (
        "chatml-strict",
        [PIRATE, HELICOPTERS, SIX, SURE],
        {"bos_token": "", "add_generation_prompt": True},
    ),
    "zephyr": ("zephyr", [PIRATE, HELICOPTERS], {"eos_token": "</s>", "add_generation_prompt": True}),
    "tulu": ("tulu", [HOW_ARE_YOU, PROGRAM], {"eos_token": "<|endoftext|>"}),
}


def text_of(name: str) -> str:
    return (ROOT / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.txt").read_bytes()


@pytest.mark.parametrize("example", EXAMPLES)
def test_worked_example_comes_out_byte_for_byte(example: str) -> None:
    template, messages, arguments = EXAMPLES[example]
    assert render(text_of(template), messages, **arguments).encode() == golden(example)


def test_every_golden_file_is_a_worked_example() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(EXAMPLES)


@pytest.mark.parametrize("example", ["chatml-single-turn", "chatml-multi-turn"])
def test_plain_chatml_gives_the_worked_examples_too(example: str) -> None:
    _, messages, arguments = EXAMPLES[example]
    assert render(text_of("chatml"), messages, **arguments).encode() == golden(example)


def test_bos_token_comes_first_and_contents_are_trimmed() -> None:
    messages = [
        {"role": "system", "content": "\n s "},
        {"role": "user", "content": " u\n"},
        {"role": "assistant", "content": " a "},
    ]
    assert render(text_of("chatml-strict"), messages, bos_token="<s>") == (
        "<s><|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
    )


@pytest.mark.parametrize(
    "messages",
    [
        [SIX],
        [HELICOPTERS, SURE],
        [PIRATE, SIX, HELICOPTERS],
        [HELICOPTERS, SIX, SIX],
        [PIRATE, PIRATE, HELICOPTERS],
        [HELICOPTERS, SIX, PIRATE],
    ],
)
def test_roles_that_dont_alternate_raise_the_templates_own_message(messages: list[Message]) -> None:
    with pytest.raises(jinja2.TemplateError) as caught:
        render(text_of("chatml-strict"), messages, bos_token="<s>")
    assert caught.value.message == "Conversation roles must alternate user/assistant/user/assistant/..."


def chapter_text() -> str:
    if not CHAPTER.exists():
        pytest.skip("the chapter isn't beside the project")
    return CHAPTER.read_text(encoding="utf-8")


def code_blocks(markdown: str, language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def test_golden_texts_are_the_chapters_code_blocks() -> None:
    # A code block always ends in a line end; the prompt of a base model and Tulu's last turn don't.
    texts = [golden(name).decode().removesuffix("\n") + "\n" for name in EXAMPLES]
    assert texts == code_blocks(chapter_text())


def test_chatml_strict_is_the_chapters_listing_without_the_space_between_its_tags() -> None:
    (listing,) = code_blocks(chapter_text(), "jinja")
    uncommented = re.sub(r"\{#.*?#\}", "", listing, flags=re.DOTALL)
    squeezed = "".join(line.strip() for line in uncommented.splitlines())
    roles = ("system", "user", "assistant")
    compared = raised = 0
    for length in range(1, 6):
        for combination in itertools.product(roles, repeat=length):
            messages = [{"role": role, "content": f" {i}\n x "} for i, role in enumerate(combination)]
            for prompt in (False, True):
                outcomes = []
                for text in (squeezed, text_of("chatml-strict")):
                    try:
                        outcomes.append(render(text, messages, bos_token="<s>", add_generation_prompt=prompt))
                    except jinja2.TemplateError as error:
                        outcomes.append(f"raised: {error.message}")
                assert outcomes[0] == outcomes[1], combination
                compared += 1
                raised += outcomes[0].startswith("raised: ")
    assert compared == 2 * (3 + 9 + 27 + 81 + 243)
    assert 0 < raised < compared
