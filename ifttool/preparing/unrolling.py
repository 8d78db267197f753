"""One conversation → one conversation a trained turn."""

from collections.abc import Iterator, Sequence
from typing import Any

from ifttool.records import Conversation


def unrolled(conversation: Conversation, turns: Sequence[int], *, final_only: bool = True) -> Iterator[Conversation]:
    """One conversation for each of ``turns``: everything up to and including it, nothing after.

    Args:
        conversation: What to unroll.
        turns: Message indices, as :meth:`Selection.turns` gives them.
        final_only: Flag only the last message of each for training; otherwise earlier turns are trained too.
    """
    for turn in turns:
        yield Conversation(
            messages=conversation.messages[: turn + 1],
            tools=conversation.tools,
            train=(False,) * turn + (True,) if final_only else conversation.train[: turn + 1],
            id=None if conversation.id is None else f"{conversation.id}#{turn}",
        )


def conversation_row(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a JSON row that ifttool reads back, training flags included."""
    messages = conversation.messages
    if conversation.train:
        messages = [
            # Only assistant messages are trained by default, so only a flag that says otherwise is written out.
            message if flag is None or flag == (message["role"] == "assistant") else {**message, "train": flag}
            for message, flag in zip(messages, conversation.train, strict=True)
        ]
    row: dict[str, Any] = {} if conversation.id is None else {"id": conversation.id}
    row["messages"] = messages
    if conversation.tools is not None:
        row["tools"] = conversation.tools
    return row
