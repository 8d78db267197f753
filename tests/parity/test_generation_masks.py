"""Loss masks of ``{% generation %}`` templates beside ``return_assistant_tokens_mask=True``.

Both sides agree on the spans in every conversation. From spans to tokens they differ, for reasons that are listed
here; on every row, ours is exactly the tokens that overlap a span, less the first token of the row, and theirs is
exactly the tokens that overlap one, unless one of their known bugs strikes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ifttool.errors import RowError
from ifttool.masks import loss_mask, widened
from ifttool.template.chat_template import ChatTemplate, TracedRender
from ifttool.template.layout import lay_out
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.tokenizer.reference import encode_texts
from jinja_oracle import NOW
from parity.conversations import CHATS, Chat, assistant, user
from parity.corpus import SPECIAL_TOKENS, compiled, generation_names
from parity.tokenizers_at_hand import folders

Span = tuple[int, int]
Mask = list[int]

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not folders(), reason="the shared tokenizers aren't there"),
]


@dataclass(frozen=True)
class Row:
    """One conversation, masked by both sides; offsets are those of its tokens."""

    text: str
    spans: list[Span]
    offsets: list[Span]
    ours: Mask
    theirs: Mask

    def texts(self, mask: Mask) -> list[str]:
        """Text of each run of tokens in a mask."""
        runs: list[list[int]] = []
        for index, bit in enumerate(mask):
            if bit and not (index and mask[index - 1]):
                runs.append([])
            if bit:
                runs[-1].append(index)
        return [self.text[self.offsets[run[0]][0] : self.offsets[run[-1]][1]] for run in runs]

    def covering(self, char: int) -> list[int]:
        """The tokens that hold a character."""
        return [index for index, (start, stop) in enumerate(self.offsets) if start <= char < stop]

    def targets(self) -> Mask:
        """Tokens that overlap a span that isn't empty; not the first token, which nothing predicts."""
        spans = [(low, high) for low, high in self.spans if low < high]
        inside = [any(low < stop and start < high for low, high in spans) for start, stop in self.offsets]
        return [int(bit and index > 0) for index, bit in enumerate(inside)]

    def overlapping(self) -> Mask:
        """Tokens of which some character is in a span."""
        return [int(any(low < stop and start < high for low, high in self.spans)) for start, stop in self.offsets]

    def their_bugs(self) -> set[str]:
        """Which known bugs of ``return_assistant_tokens_mask`` strike in this row (``BUGS`` says what they do)."""
        found = set()
        for low, high in self.spans:
            first, last = self.covering(low), self.covering(high - 1)
            if low == high:
                found.add("empty span")
            if not first:
                found.add("start in no token")
            if not last:
                found.add("end in no token")
            if last[:1] == [0]:
                found.add("end in token 0")
            if len(last) > 1:
                found.add("end in several tokens")
        return found

    def straddles(self) -> bool:
        """Whether a token begins before a span and ends inside it."""
        return any(start < low < stop for low, _ in self.spans for start, stop in self.offsets)


class Pair:
    """A tokenizer on both sides."""

    def __init__(self, ours: Tokenizer, theirs: Any) -> None:
        self.ours = ours
        self.theirs = theirs

    def row(self, template: ChatTemplate, chat: Chat) -> Row:
        render = template.trace(chat.messages, chat.tools)
        spans = spans_of(render, chat)
        encoded = encode_texts(self.ours, [render.text])
        out = self.theirs.apply_chat_template(
            chat.messages,
            tools=chat.tools,
            chat_template=template.text,
            return_assistant_tokens_mask=True,
            **SPECIAL_TOKENS,
        )
        assert out["input_ids"] == encoded.ids.tolist()
        offsets = list(zip(encoded.starts.tolist(), encoded.ends.tolist(), strict=True))
        # The library has no interval for an empty block; ours keeps none either.
        kept = [span for span in spans if span[0] < span[1]]
        ours = loss_mask(encoded, [widened(encoded, kept)]).tolist()
        return Row(render.text, their_spans(template.text, chat), offsets, ours, out["assistant_masks"])


def spans_of(render: TracedRender, chat: Chat) -> list[Span]:
    """What the template's generation blocks printed, in characters."""
    roles = [str(message["role"]) for message in chat.messages]
    analysis, _ = lay_out(render.pieces, [], roles, lost=render.lost)
    at = analysis.positions()
    return [(at[low], at[high]) for _, (low, high) in analysis.layout.generated]


def their_spans(template: str, chat: Chat) -> list[Span]:
    from transformers.utils import chat_template_utils  # noqa: PLC0415 - it takes seconds to import

    _, spans = chat_template_utils.render_jinja_template(
        [chat.messages],
        tools=chat.tools,
        chat_template=template,
        return_assistant_tokens_mask=True,
        **SPECIAL_TOKENS,
    )
    return [(low, high) for low, high in spans[0]]


@pytest.fixture(scope="module")
def tokenizers() -> Iterator[dict[str, Pair]]:
    pytest.importorskip("transformers")
    from parity import oracle  # noqa: PLC0415 - it takes seconds to import

    with oracle.standing_clock():
        yield {name: Pair(load_tokenizer(str(path)), oracle.folder_tokenizer(path)) for name, path in folders().items()}


def not_empty(spans: list[Span]) -> list[Span]:
    return [(low, high) for low, high in spans if low < high]


@pytest.mark.parametrize("name", generation_names())
def test_masks_differ_only_for_listed_reasons(name: str, tokenizers: dict[str, Pair]) -> None:
    template = compiled(name)
    for chat_name, chat in CHATS.items():
        try:
            spans = not_empty(spans_of(template.trace(chat.messages, chat.tools), chat))
        except RowError:
            continue
        for tokenizer_name, pair in tokenizers.items():
            row = pair.row(template, chat)
            place = (chat_name, tokenizer_name)
            assert (place, spans) == (place, not_empty(row.spans))
            assert (place, row.ours) == (place, row.targets())
            if not row.their_bugs():
                assert (place, row.theirs) == (place, row.overlapping())
            if not row.their_bugs() and not row.straddles() and row.theirs[:1] != [1]:
                assert (place, row.ours) == (place, row.theirs)


# -- the differences, one by one ---------------------------------------------------------------------------------

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}"
)
BODY = CHATML.replace(
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}", "{{ m.content }}{% endgeneration %}<|im_end|>"
)
BARE = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{{ '\n' }}{% endfor %}"


def masked(tokenizers: dict[str, Pair], name: str, template: str, *contents: str) -> Row:
    """User and assistant take turns; a template that has no roles starts with the assistant."""
    speakers = (assistant, user) if template is BARE else (user, assistant)
    messages = [speakers[index % 2](content) for index, content in enumerate(contents)]
    return tokenizers[name].row(ChatTemplate(template, name="here", clock=NOW), Chat(messages))


def test_without_special_circumstances_the_masks_are_equal(tokenizers: dict[str, Pair]) -> None:
    for name in ("qwen3", "minimind"):
        row = masked(tokenizers, name, CHATML, "Hi", "One answer.", "And?", "Another one.")
        assert row.ours == row.theirs
        assert row.texts(row.ours) == ["One answer.<|im_end|>", "Another one.<|im_end|>"]


@pytest.mark.parametrize("ending", ["cafe\u0301", "phe\u0302", "\u1112\u1161\u11ab"])
def test_transformers_trains_the_user_behind_a_turn_that_ends_in_nfd(ending: str, tokenizers: dict[str, Pair]) -> None:
    row = masked(tokenizers, "qwen3", BODY, "Hi", ending, "secret question", "ok")
    assert row.their_bugs() == {"end in no token"}
    assert "secret question" in "".join(row.texts(row.theirs))
    # The composed character's token ends at its first code point; nothing of the next turn follows it.
    turn, last = row.texts(row.ours)
    assert (ending.startswith(turn), turn != "", last) == (True, True, "ok")


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "t5-small"])
def test_transformers_trains_the_user_behind_a_turn_that_ends_in_dropped_whitespace(
    name: str, tokenizers: dict[str, Pair]
) -> None:
    row = masked(tokenizers, name, BODY, "Hi", "fine \n", "secret", "ok")
    assert "end in no token" in row.their_bugs()
    assert "secret" in "".join(row.texts(row.theirs))
    assert "secret" not in "".join(row.texts(row.ours))
    assert row.texts(row.ours) == ["fine", "ok"]


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "t5-small"])
def test_transformers_loses_all_turns_behind_one_that_starts_in_dropped_whitespace(
    name: str, tokenizers: dict[str, Pair]
) -> None:
    row = masked(tokenizers, name, BODY, "Hi", "\nfine", "And?", "ok")
    assert "start in no token" in row.their_bugs()
    assert row.texts(row.theirs) == []
    assert row.texts(row.ours) == ["fine", "ok"]


@pytest.mark.parametrize("name", ["qwen3", "minimind", "mistral-v3-spm", "phi-3-mini"])
def test_transformers_keeps_one_token_of_an_emoji_that_ends_a_turn(name: str, tokenizers: dict[str, Pair]) -> None:
    row = masked(tokenizers, name, BODY, "Hi", "Yes 🫨", "And?", "ok")
    emoji = row.covering(row.text.index("🫨"))
    assert row.their_bugs() == {"end in several tokens"}
    assert len(emoji) > 1
    assert [row.theirs[index] for index in emoji] == [1] + [0] * (len(emoji) - 1)
    assert [row.ours[index] for index in emoji] == [1] * len(emoji)


def test_transformers_trains_everything_if_a_turn_ends_in_the_first_token(tokenizers: dict[str, Pair]) -> None:
    row = masked(tokenizers, "qwen3", BARE, "Hi", "there")
    assert row.their_bugs() == {"end in token 0"}
    assert row.theirs == [1] * len(row.theirs)
    assert row.texts(row.ours) == ["there"]


def test_transformers_trains_everything_behind_an_empty_span(tokenizers: dict[str, Pair]) -> None:
    """The end of an empty span is looked for before its start; in T5 a space belongs to no token."""
    row = masked(tokenizers, "t5-small", BODY, "Hi", "", "secret", "ok")
    assert "empty span" in row.their_bugs()
    assert "secret" in "".join(row.texts(row.theirs))
    assert row.texts(row.ours) == ["ok"]


def test_we_never_train_the_first_token(tokenizers: dict[str, Pair]) -> None:
    """Nothing precedes it that could predict it; a shifted loss leaves it out anyway."""
    row = masked(tokenizers, "qwen3", BARE, "One two three")
    assert row.their_bugs() == set()
    assert row.theirs == [1, 1, 1, 0]
    assert row.ours == [0, 1, 1, 0]


def test_a_token_that_begins_before_the_span_is_trained(tokenizers: dict[str, Pair]) -> None:
    """The block is the template's word on what is trained, so the token that its first character is in counts."""
    row = masked(tokenizers, "minimind", BODY, "Hi", "  indented")
    token = row.covering(row.spans[0][0])[0]
    assert row.their_bugs() == set()
    assert row.text[slice(*row.offsets[token])].startswith("\n")
    assert row.ours[token] == 1
    assert row.ours == row.theirs
