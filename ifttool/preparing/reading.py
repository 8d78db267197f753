"""One input row → a conversation."""

from typing import Any

from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.preparing.shared_tools import SharedTools
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow


def read_conversation(row: RawRow, recipe: Recipe) -> Conversation:
    """Decode one row.

    Raises:
        RowError: It isn't JSON, or not a conversation.
    """
    return _conversation(decode_row(row.data, terminated=row.terminated, most_keys=row.most_keys), recipe)


class RowReader:
    """Reads rows as :func:`read_conversation` does, faster where they share their tools.

    Args:
        recipe: The options.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.shared_tools = SharedTools()

    def read(self, row: RawRow) -> Conversation:
        """The conversation of a row.

        Raises:
            RowError: It isn't JSON, or not a conversation.
        """
        value = self.shared_tools.decode(row)
        return read_conversation(row, self._recipe) if value is None else _conversation(value, self._recipe)


def _conversation(value: dict[str, Any], recipe: Recipe) -> Conversation:
    return to_conversation(value, input_format=recipe.input_format, tool_arguments=recipe.tool_arguments)
