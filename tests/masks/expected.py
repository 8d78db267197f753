"""What ought to be trained, by definition: renders of the first messages compared as text. Nothing of ifttool's engine.

The generation prompt of turn *k* is the render of the messages before it with ``add_generation_prompt``; its completion
is what follows in the render of the messages up to and including it. A turn is exact if both stand so in the whole
conversation.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja_oracle
from masks.conversations import WORD
from masks.generators import Message, Row, backend

Span = tuple[int, int]


class JinjaTexts:
    """Renders by plain Jinja with the special tokens of a tokenizer folder; None where the template refuses."""

    def __init__(self, template: str, special_tokens: dict[str, str], **kwargs: Any) -> None:
        self._template = template
        self._variables = {**special_tokens, **kwargs}
        self._known: dict[str, str | None] = {}

    def __call__(self, messages: Sequence[Message], tools: Any = None, *, prompt: bool = False) -> str | None:
        key = json.dumps([messages, tools, prompt])
        if key not in self._known:
            try:
                self._known[key] = self._render(messages, tools, prompt=prompt)
            except Exception:  # templates fail with errors of jinja2 and of Python alike
                self._known[key] = None
        return self._known[key]

    def _render(self, messages: Sequence[Message], tools: Any, *, prompt: bool) -> str:
        return jinja_oracle.render(
            self._template,
            [_aliased(message) for message in messages],
            tools=tools,
            add_generation_prompt=prompt,
            **self._variables,
        )


class TransformersTexts(JinjaTexts):
    """The same by ``apply_chat_template`` of a loaded tokenizer."""

    def __init__(self, template: str, tokenizer: Any) -> None:
        super().__init__(template, {})
        self._tokenizer = tokenizer

    def _render(self, messages: Sequence[Message], tools: Any, *, prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tools=tools, chat_template=self._template, tokenize=False, add_generation_prompt=prompt
        )
        return text


def _aliased(message: Message) -> Message:
    """Reasoning under every name, as transformers does before it renders."""
    for field in ("reasoning_content", "thinking", "reasoning"):
        if message.get(field) is not None:
            return {"thinking": message[field], **message, "reasoning_content": message[field]}
    return message


def exact_spans(texts: JinjaTexts, row: Row) -> dict[int, Span]:
    """Character spans of the completions of all assistant turns that are exact, by message."""
    messages, tools = row["messages"], row.get("tools")
    full = texts(messages, tools)
    spans: dict[int, Span] = {}
    for turn, message in enumerate(messages):
        if message["role"] != "assistant" or turn == 0 or full is None:
            continue
        prompt = texts(messages[:turn], tools, prompt=True)
        own = texts(messages[: turn + 1], tools)
        if prompt is None or own is None or not (own.startswith(prompt) and full.startswith(prompt)):
            continue
        end = max(_end_of_turn(_without_next_prompt(texts, own), message), len(prompt))
        if full.startswith(own[:end]):
            spans[turn] = (len(prompt), end)
    return spans


def blank_tails(texts: JinjaTexts, row: Row) -> list[Span]:
    """White space behind the completions of turns that say nothing: whose it is, no text tells."""
    messages, tools = row["messages"], row.get("tools")
    full = texts(messages, tools) or ""
    tails = []
    for turn, message in enumerate(messages):
        own = texts(messages[: turn + 1], tools) or ""
        if message["role"] == "assistant" and not (message["content"] or "").strip() and full.startswith(own):
            own = _without_next_prompt(texts, own)
            tails.append((len(own.rstrip()), len(own) + 1))
    return tails


def _without_next_prompt(texts: JinjaTexts, own: str) -> str:
    """A turn's own render, less the next generation prompt where the template prints one without being asked."""
    question = [{"role": "user", "content": "zq0czq"}]
    prompt = texts(question, prompt=True) or ""
    if texts(question) != prompt:
        return own
    closing = prompt.rpartition("zq0czq")[2]
    marker = re.search(r"<[^<>\s]+>|\[[^\[\]\s]+\]", closing)
    header = closing[marker.end() :] if marker else closing
    return own.removesuffix(header) if header.strip() else own


def _end_of_turn(own: str, message: Message) -> int:
    """Where a turn ends: white space after its end-of-turn text isn't part of it, white space it says itself is."""
    end = len(own.rstrip())
    content = message["content"]
    if content.strip() and own[:end].endswith(content.rstrip()):
        for char, said in zip(own[end:], content[len(content.rstrip()) :], strict=False):
            if char != said:
                break
            end += 1
    return end


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as ``tokenizers`` encodes it."""

    text: str
    ids: list[int]
    offsets: list[Span]

    @classmethod
    def of(cls, tokenizer: str, text: str) -> "Tokens":
        encoding = backend(tokenizer).encode(text, add_special_tokens=False)
        return cls(text, encoding.ids, encoding.offsets)

    def mask(self, spans: Sequence[Span]) -> list[int]:
        """1 for tokens whose first character lies in a span; never for the first token."""
        return [
            int(index > 0 and any(low <= start < high for low, high in spans))
            for index, (start, _) in enumerate(self.offsets)
        ]

    def before(self, point: int) -> list[int]:
        """Ids of the tokens that start before a character."""
        return [token for token, (start, _) in zip(self.ids, self.offsets, strict=True) if start < point]

    def any_trained(self, mask: Sequence[int], spans: Sequence[Span]) -> bool:
        """Whether a mask trains a token that starts in a span."""
        return any(bit and inside for bit, inside in zip(mask, self.mask(spans), strict=True))

    def without(self, spans: Sequence[Span], mask: Sequence[int]) -> list[int]:
        """A mask less what starts in the spans."""
        inside = self.mask(spans)
        return [bit for bit, left_out in zip(mask, inside, strict=True) if not left_out]

    def foreign_words(self, mask: Sequence[int], messages: Sequence[Message]) -> list[str]:
        """Marked words of untrained roles that a trained token overlaps."""
        trained = [span for span, bit in zip(self.offsets, mask, strict=True) if bit]
        return [
            found[0]
            for found in WORD.finditer(self.text)
            if messages[int(found[1])]["role"] != "assistant"
            and any(start < found.end() and end > found.start() for start, end in trained)
        ]
