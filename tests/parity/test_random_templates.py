"""Random rows through one worker on random templates: what it has learnt of some rows must not change others.

Published templates do much the same things. These put together what Jinja offers beside: tests of text, lengths,
positions, neighbours, namespaces and parts of the data against each other.
"""

import random
from pathlib import Path

import pytest

from parity.test_rows_in_any_order import check_rows

MARKUP = (
    ("<|im_start|>{{ m.role }}\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    ("<|im_start|>{{ m['role'] }}\n", "<|im_end|>", "<|im_start|>assistant\n"),
    ("<|{{ m.role }}|>", "<|im_end|>\n", "<|assistant|>"),
    ("{{ '<|im_start|>%s\n' % m.role }}", "{{ '<|im_end|>' + '\n' }}", "<|im_start|>assistant\n"),
    ("<{{ m.role }}>\n", "\n</{{ m.role }}>\n", "<assistant>\n"),
    ("{{ m.role }}: ", "<|endoftext|>", "assistant: "),
    ("### {{ m.role | capitalize }}:\n", "\n\n", "### Assistant:\n"),
)
CONTENTS = (
    "m.content",
    "m['content']",
    "m.content | trim",
    "m.content.strip()",
    "m.content or ''",
    "m.content | default('')",
    "m.content.split('</think>')[-1]",
    "m.content.split('</think>')[-1].lstrip('\n')",
    "m.content | replace('\n', ' ')",
    "m.content ~ ''",
    "'%s' % m.content",
    "'{}'.format(m.content)",
    "(m.content | upper) if m.role == 'user' else m.content",
)
TESTS = (
    "loop.first",
    "loop.last",
    "not loop.last",
    "loop.index0 is odd",
    "loop.index0 % 3 == 1",
    "m.role == 'user'",
    "m.role != 'assistant' and not loop.first",
    "m.role in ['tool', 'system']",
    "'think' in (m.content or '')",
    "(m.content or '').startswith('a')",
    "(m.content or '') | length > loop.index0",
    "(m.content or '') | length == loop.index",
    "(m.content or '') | trim | length in [loop.index0, 2]",
    "m.content",
    "m.content is string and m.content | trim",
    "m.content == messages[0].content",
    "m.content == messages[-1].content",
    "m.content == 'ok'",
    "loop.previtem is defined and loop.previtem.role == m.role",
    "loop.nextitem is defined and loop.nextitem.content == m.content",
    "loop.nextitem is defined and loop.nextitem.role == 'tool'",
    "messages | length > 3",
    "messages | length == loop.index + 1",
    "m.tool_calls is defined",
    "m.tool_calls and m.tool_calls == messages[2].tool_calls",
    "m.tool_calls and m.tool_calls[0] in (messages[1].tool_calls or [])",
    "tools and tools[0] == tools[-1]",
    "ns.count > 1",
    "ns.seen",
    "loop.index0 > ns.last",
    "ns.last == loop.index0 - 1",
    "ns.said == m.content",
)
LITERALS = ("[A]", "[B]\n", " ", "\n", "<|x|>", "")
UPDATES = (
    "{% set ns.count = ns.count + 1 %}",
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}",
    "{% set ns.seen = loop.first %}",
    "{% set ns.said = m.content %}",
)
BEFORE = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}",
    "{% if tools %}{% for tool in tools %}{{ tool.function.name }}, {% endfor %}{% endif %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}",
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}",
    "{% if messages[0].role != 'system' %}You are kind.\n{% endif %}",
)
SEQUENCES = (
    "messages",
    "messages",
    "messages",
    "messages[1:]",
    "(messages[1:] if messages[0].role == 'system' else messages)",
    "messages | selectattr('role', 'ne', 'system')",
)
REASONING = (
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>\n{% endif %}",
    "{% if m.reasoning_content and loop.index0 > ns.last %}<think>\n{{ m.reasoning_content | trim }}\n</think>\n\n{% endif %}",
)
CALLS = (
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}"
    "</tool_call>{% endfor %}",
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}",
)


def branch(chance: random.Random) -> str:
    said = [chance.choice(LITERALS) for _ in range(2)]
    return f"{{% if {chance.choice(TESTS)} %}}{said[0]}{{% else %}}{said[1]}{{% endif %}}"


def template(chance: random.Random) -> str:
    """A template that prints every message once, with more around and inside."""

    def some(parts: tuple[str, ...], share: float) -> str:
        return "".join(part for part in parts if chance.random() < share)

    opening, closing, prompt = chance.choice(MARKUP)
    reply = some(REASONING[:1] if chance.random() < 0.5 else REASONING[1:], 0.4)
    reply += f"{{{{ {chance.choice(CONTENTS)} }}}}" + some((chance.choice(CALLS),), 0.7)
    inside = branch(chance) if chance.random() < 0.4 else ""
    if chance.random() < 0.15:
        reply = f"{{% generation %}}{reply}{{% endgeneration %}}"
    body = some(UPDATES, 0.3) + (branch(chance) if chance.random() < 0.4 else "")
    body += opening + inside + reply + closing + (branch(chance) if chance.random() < 0.3 else "")
    text = "{% set ns = namespace(count=0, last=-1, seen=false, said='') %}" + some(BEFORE, 0.25)
    text += f"{{% for m in {chance.choice(SEQUENCES)} %}}{body}{some(UPDATES, 0.2)}{{% endfor %}}"
    return text + f"{{% if add_generation_prompt %}}{prompt}{{% endif %}}"


def check_template(seed: int, tokenizers: tuple[str, str], folder: Path, *, count: int) -> None:
    chance = random.Random(seed)
    check_rows(template(chance), tokenizers, folder, chance, tools=chance.random() < 0.5, count=count)


@pytest.mark.parametrize("seed", range(16))
def test_random_templates(seed: int, tokenizers: tuple[str, str], tmp_path: Path) -> None:
    check_template(seed, tokenizers, tmp_path, count=30)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_random_templates(seed: int, tokenizers: tuple[str, str], tmp_path: Path) -> None:
    check_template(seed, tokenizers, tmp_path, count=60)
