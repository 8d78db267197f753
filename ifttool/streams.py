"""Rows in, JSON rows out, one at a time: ``render`` and ``unroll`` without shards."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from ifttool.booking import Refuse, book_lines, book_skipped, leave_out
from ifttool.errors import RowError
from ifttool.io.source import read_rows
from ifttool.ledger import Tally
from ifttool.preparing.reading import read_conversation
from ifttool.preparing.unrolling import conversation_row, unrolled
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.selection import Selection
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate


def conversations(
    sources: Sequence[str], recipe: Recipe, tally: Tally, refuse: Refuse, *, stdin: BinaryIO | None = None
) -> Iterator[tuple[RawRow, Conversation]]:
    """Every readable conversation with its row; counts lines, blanks and rejects, but not what becomes of these."""
    for source in sources:
        for item in read_rows(source, stdin=stdin):
            book_lines([item], tally)
            if not isinstance(item, RawRow):
                book_skipped(item, tally, refuse)
                continue
            try:
                conversation = read_conversation(item, recipe)
            except RowError as error:
                _leave_out(item, error, tally, refuse)
            else:
                yield item, conversation


def _keep(row: RawRow, samples: int, tally: Tally) -> None:
    """Count a row that gave samples."""
    tally.of(row.place.source).kept += 1
    tally.samples += samples


def _leave_out(row: RawRow, error: RowError, tally: Tally, refuse: Refuse) -> None:
    """Book a row that gives nothing; a conversation without a turn to train on is no fault."""
    leave_out(row.place, row.data, error, tally, refuse, dropped=error.code == "IFT401")


def render_rows(
    sources: Sequence[str],
    recipe: Recipe,
    template: ChatTemplate,
    tally: Tally,
    refuse: Refuse,
    *,
    stdin: BinaryIO | None = None,
) -> Iterator[dict[str, Any]]:
    """Each conversation as the text the model sees.

    Yields:
        ``source``, ``line``, ``id`` (if any), ``text`` and ``spans``: for each trained turn its ``message``, half-open
        character intervals and verdict. With ``recipe.generation_prompt`` there are no spans.
    """
    analyser = Analyser(template)
    for row, conversation in conversations(sources, recipe, tally, refuse, stdin=stdin):
        try:
            rendered = _render(conversation, recipe, template, analyser)
        except RowError as error:
            _leave_out(row, error, tally, refuse)
            continue
        _keep(row, 1, tally)
        head: dict[str, Any] = {"source": row.place.source, "line": row.place.line}
        if conversation.id is not None:
            head["id"] = conversation.id
        yield head | rendered


def _render(conversation: Conversation, recipe: Recipe, template: ChatTemplate, analyser: Analyser) -> dict[str, Any]:
    if recipe.generation_prompt:
        text = template.render(conversation.messages, conversation.tools, add_generation_prompt=True)
        return {"text": text}
    text, turns, _ = analyser.locate(conversation, recipe.selection.turns(conversation))
    spans = [
        {"message": message, "intervals": intervals, "verdict": verdict.value}
        for message, intervals, verdict, _ in turns
    ]
    return {"text": text, "spans": spans}


def unroll_rows(
    sources: Sequence[str], recipe: Recipe, tally: Tally, refuse: Refuse, *, stdin: BinaryIO | None = None
) -> Iterator[dict[str, Any]]:
    """One conversation row for each trained turn, ending with it.

    With ``final-turn`` (what ``unroll`` is for) earlier turns are flagged ``"train": false``; with
    ``assistant-turns`` they keep their own flags, so that they are trained too.
    """
    for row, conversation in conversations(sources, recipe, tally, refuse, stdin=stdin):
        turns = Selection().turns(conversation)
        if not turns:
            error = RowError("IFT401", "the conversation has no turn to train on")
            _leave_out(row, error, tally, refuse)
            continue
        _keep(row, len(turns), tally)
        for part in unrolled(conversation, turns, final_only=recipe.train_on == "final-turn"):
            yield conversation_row(part)
