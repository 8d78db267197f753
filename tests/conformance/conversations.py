"""Conversations of one to four rounds, the same in every run."""

import random
from typing import Any

from helpers import chat

# Each side has words of its own, so that a loss over the wrong side's tokens is a different number.
USER_WORDS = "amber brook cedar delta ember fjord grove heron".split()
ASSISTANT_WORDS = "inlet juniper kelp larch meadow nectar otter pebble".split()


def conversations(count: int) -> list[dict[str, Any]]:
    """``count`` conversations; every third has a system message, lengths differ by a factor of ten."""
    random_source = random.Random(20)
    rows = []
    for number in range(count):
        contents = []
        for _ in range(random_source.randint(1, 4)):
            contents += [_words(USER_WORDS, random_source), _words(ASSISTANT_WORDS, random_source)]
        row = chat(*contents, id=f"generated-{number}")
        if number % 3 == 0:
            row["messages"].insert(0, {"role": "system", "content": _words(USER_WORDS, random_source)})
        rows.append(row)
    return rows


def _words(words: list[str], random_source: random.Random) -> str:
    return " ".join(random_source.choices(words, k=random_source.randint(1, 6)))
