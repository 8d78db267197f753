"""The reason for one turn's verdict, and what to do about it."""

from dataclasses import dataclass

from ifttool.doctor.result import Evidence

ADVICE: dict[str, str] = {
    "prompt-first-turn": 'drop the leading assistant message, or flag it with "train": false',
    "prompt-refused": 'flag such turns with "train": false, or use another template',
    "prompt-turn-refused": "such a turn can only be trained inside a longer conversation; use another template",
    "prompt-opens-reasoning": (
        "give every turn the reasoning it would have, set a template variable that turns reasoning off, "
        "or use a template whose generation prompt ends where its turns start"
    ),
    "prompt-closes-reasoning": (
        "set the template variable that turns reasoning on, or train these conversations without their reasoning"
    ),
    "prompt-white-space": "correct the white space of the generation prompt in a copy: --template FILE",
    "prompt-header": "make the generation prompt end as the turn's header does in a copy: --template FILE",
    "prompt-context": "unrolling doesn't help; use another template of the family (ifttool templates list)",
    "history-reasoning": "--unroll auto: each turn is trained in a sample of its own, as the model would write it",
    "history-ending": "--unroll auto, or live with earlier turns that end another way than the last",
    "history-context": "--unroll auto: each turn is trained after the context that it had when it was written",
    "history-turn": "--unroll auto: each turn is trained in a sample of its own, as the model would write it",
    "history-gone": "--unroll auto: each turn is trained while it is the last one",
    "dropped-last-only": "--unroll always: each turn is trained while it is the last one",
    "dropped-parts": 'write contents as lists of parts: [{"type": "text", "text": "…"}]',
    "dropped-tool-calls": "use a template that writes tool calls",
    "dropped-empty": "leave out assistant messages without text",
    "dropped-content": "use another template: this one isn't made for chats",
}
"""Cause → what to do about it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one turn has its verdict.

    Attributes:
        cause: A key of :data:`ADVICE`; it starts with the verdict.
        finding: The reason, in one sentence.
        evidence: The two texts that should agree.
    """

    cause: str
    finding: str
    evidence: Evidence

    @property
    def advice(self) -> str:
        return ADVICE[self.cause]
