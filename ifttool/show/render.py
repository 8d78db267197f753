"""Explanations and differences as text for a terminal.

Everything that comes from data is escaped: it can neither drive the terminal nor pass for a mark. Every line of a
sample's text starts with ``| ``, so that data can't pass for a line of ours either.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ifttool.findings import CODES
from ifttool.report.text import number, percent, table
from ifttool.show.differing import DiffCounts, Difference, Move, TextLine
from ifttool.show.explanation import Explanation, Item, Refusal, Span, Stretch
from ifttool.words import counted

GUTTER = "| "
_EXCERPT = 32
_TRAINED, _MASKED, _RESET = "\x1b[32;4m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Style:
    """How trained stretches are marked: by colour, or else by ``«…»``.

    Attributes:
        colour: Green and underlined for trained, dim for the rest.
        ascii_only: For terminals that can't show more: ``{…}``, and other characters escaped.
    """

    colour: bool = False
    ascii_only: bool = False

    @property
    def newline(self) -> str:
        """What stands for a line end in the data."""
        return "\\n" if self.ascii_only else "↵"

    @property
    def marks(self) -> tuple[str, str]:
        """What encloses a trained stretch."""
        if self.colour:
            return "", ""
        return ("{", "}") if self.ascii_only else ("«", "»")

    @property
    def ellipsis(self) -> str:
        """What stands for text that is left out."""
        return "..." if self.ascii_only else "…"


def escaped(text: str, style: Style) -> str:
    """Text on one line, in characters that do nothing but show.

    A line end becomes ``↵``. A backslash goes before backslashes, ``↵`` and the marks; what can't be printed
    becomes ``\\x1b``, ``\\u200d`` or ``\\U000e0001``. So no two texts have the same form.
    """
    own = {"\\", *style.marks}
    if not style.ascii_only:
        own.add(style.newline)
    return "".join(_escaped(char, style, own) for char in text)


def _escaped(char: str, style: Style, own: set[str]) -> str:
    if char == "\n":
        return style.newline
    if char in own:
        return f"\\{char}"
    if char.isprintable() and (char.isascii() or not style.ascii_only):
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def stated(text: str, style: Style) -> str:
    """A sentence of ours on one line, as every command prints it, whatever data it quotes.

    Unlike :func:`escaped`, nothing is told apart in it: a backslash that a message shows stays a single one.
    """
    return "".join(_escaped(char, style, set()) for char in text)


def picture(stretches: Iterable[Stretch], style: Style) -> list[str]:
    """The text with trained stretches marked, as lines.

    Lines break behind line ends of the data; a mark that closes there stands before the break.
    """
    lines = [""]
    for text, trained in stretches:
        opening, closing = style.marks if trained else ("", "")
        parts = text.split("\n")
        shown = [escaped(part, style) + style.newline for part in parts[:-1]]
        if parts[-1] or not shown:
            shown.append(escaped(parts[-1], style))
        shown[0] = opening + shown[0]
        shown[-1] += closing
        for index, part in enumerate(shown):
            lines[-1] += _painted(part, trained, style)
            if index < len(parts) - 1:
                lines.append("")
    return [GUTTER + line for line in lines if line]


def _painted(text: str, trained: bool, style: Style) -> str:
    if not style.colour or not text:
        return text
    return f"{_TRAINED if trained else _MASKED}{text}{_RESET}"


def item_text(item: Item, style: Style, *, spans: bool = True, ids: bool = False) -> str:
    """One sample, or one row without a sample, as text that ends in a line end.

    Args:
        item: What to show.
        style: How.
        spans: With the table of spans.
        ids: With the table of tokens.
    """
    if isinstance(item, Refusal):
        return "".join(f"{line}\n" for line in _refusal_lines(item, style))
    lines = [_header(item, style), *_remarks(item, style), *picture(item.stretches(), style)]
    if spans and item.spans:
        lines += ["", *_span_table(item, style), *_strays(item, style)]
    if ids:
        lines += ["", *_token_table(item, style)]
    return "".join(f"{line}\n" for line in lines)


def _header(sample: Explanation, style: Style) -> str:
    origin, total, trained = sample.origin, len(sample.tokens), sample.trained_tokens
    name = "" if origin.id is None else f"id {escaped(origin.id, style)}, "
    share = percent(trained / total) if total else "-"
    place = escaped(str(origin.place), style)
    return f"{place}: {name}{number(total)} tokens, {number(trained)} trained ({share}), verdict {origin.verdict}"


def _remarks(sample: Explanation, style: Style) -> Iterator[str]:
    verdicts = [f"turn {turn.message} ({escaped(turn.role, style)}) {turn.verdict}" for turn in sample.turns]
    if len(verdicts) > 1:
        yield f"  verdicts: {', '.join(verdicts)}"
    for code in sample.findings:
        where = [str(turn.message) for turn in sample.turns if code in turn.codes]
        yield f"  {code} {CODES[code]}" + (f": turn {', '.join(where)}" if where else "")
    if sample.left_out:
        yield f"  mask leaves this sample out: {stated(sample.left_out, style)}"
    for note in sample.notes:
        yield f"  {stated(note, style)}"


def _refusal_lines(refusal: Refusal, style: Style) -> Iterator[str]:
    name = "" if refusal.id is None else f"id {escaped(refusal.id, style)}, "
    where = f" at {escaped(refusal.path, style)}" if refusal.path else ""
    place, message = escaped(str(refusal.place), style), stated(refusal.message, style)
    yield f"{place}: {name}no sample: {refusal.code}{where}: {message}"
    if refusal.hint:
        yield f"  hint: {stated(refusal.hint, style)}"


def _span_table(sample: Explanation, style: Style) -> list[str]:
    head = ("chars", "tokens", "message", "kind", "trained", "why", "text")
    rows = [
        (
            f"{span.start}-{span.stop}",
            str(span.tokens),
            _message(span, style),
            span.kind,
            "yes" if span.trained else "no",
            escaped(span.reason, style),
            _excerpt(sample.text[span.start : span.stop], style),
        )
        for span in sample.spans
    ]
    return table([head, *rows], left=frozenset({2, 3, 4, 5, 6}))


def _message(span: Span, style: Style) -> str:
    return "-" if span.message is None else f"{span.message} {escaped(span.role or '', style)}"


def _strays(sample: Explanation, style: Style) -> Iterator[str]:
    for index, token in enumerate(sample.tokens):
        if token.stray:
            text = _excerpt(sample.text[token.start : token.stop], style)
            fate = "trained" if token.trained else "masked"
            yield f"token {index} ({token.start}-{token.stop}, {text}) {fate}: {escaped(token.reason, style)}"


def _token_table(sample: Explanation, style: Style) -> list[str]:
    head = ("token", "id", "chars", "trained", "text")
    rows = [
        (
            str(index),
            str(token.id),
            f"{token.start}-{token.stop}",
            "yes" if token.trained else "no",
            _excerpt(sample.text[token.start : token.stop], style),
        )
        for index, token in enumerate(sample.tokens)
    ]
    return table([head, *rows], left=frozenset({3, 4}))


def _excerpt(text: str, style: Style) -> str:
    """The start of a text in quotes, so that white space shows."""
    return f'"{escaped(text[:_EXCERPT], style)}"' + (style.ellipsis if len(text) > _EXCERPT else "")


def difference_text(difference: Difference, style: Style) -> str:
    """How one sample differs between two settings, as text that ends in a line end."""
    before, after = difference.before, difference.after
    if isinstance(before, Explanation) and isinstance(after, Explanation):
        lines = _both_sides(before, after, difference, style)
    else:
        lines = [f"{sign} {_one_side(item, style)}" for sign, item in (("-", before), ("+", after))]
    return "".join(f"{line}\n" for line in lines)


def _one_side(item: Item | None, style: Style) -> str:
    if item is None:
        return "no such sample"
    return _header(item, style) if isinstance(item, Explanation) else "\n  ".join(_refusal_lines(item, style))


def _both_sides(before: Explanation, after: Explanation, difference: Difference, style: Style) -> list[str]:
    lines = [f"- {_header(before, style)}", f"+ {_header(after, style)}"]
    for sign, side in (("-", before), ("+", after)):
        if side.left_out:
            lines.append(f"{sign} mask leaves this sample out: {stated(side.left_out, style)}")
    if difference.kind == "tokens":
        lines.append("  the text is the same, its tokens aren't")
    if difference.lines:
        lines += ["  the text differs:", *_text_lines(difference.lines, style)]
    for move in difference.moves:
        lines += _move_lines(move, style)
    return lines


def _text_lines(lines: Sequence[TextLine], style: Style) -> Iterator[str]:
    """The comparison of two texts; below each run of lines of one side, why they are trained or not."""
    for sign, group in groupby(lines, key=lambda line: line.sign):
        members = list(group)
        for line in members:
            if sign == "@":
                yield f"    @ {counted(line.hidden, 'equal line')}"
            else:
                (shown,) = picture(line.stretches, style)
                yield f"    {sign} {shown}"
        if sign in "-+":
            reasons = dict.fromkeys(reason for line in members for reason in line.reasons)
            yield f"    {sign} why: {'; '.join(escaped(reason, style) for reason in reasons)}"


def _move_lines(move: Move, style: Style) -> list[str]:
    fate = "masked → trained" if move.now_trained else "trained → masked"
    if style.ascii_only:
        fate = fate.replace("→", "->")
    return [
        f"  {fate}: {counted(move.tokens, 'token')}, chars {move.start}-{move.stop}: {_excerpt(move.text, style)}",
        f"    before: {escaped(move.before, style)}",
        f"    after:  {escaped(move.after, style)}",
    ]


def counts_text(counts: DiffCounts) -> str:
    """The summary of a comparison as one line that ends in a line end."""
    named: Sequence[tuple[int, str]] = (
        (counts.same, "the same"),
        (counts.sides, "with tokens that change sides"),
        (counts.tokens, "with other tokens"),
        (counts.text, "with another text"),
        (counts.one_sided, "on one side only"),
    )
    total = sum(count for count, _ in named)
    parts = ", ".join(f"{number(count)} {what}" for count, what in named if count) or "none"
    become = "becomes" if counts.newly_trained == 1 else "become"
    moved = f"{counted(counts.newly_trained, 'token')} {become} trained, {number(counts.newly_masked)} masked"
    return f"{counted(total, 'sample')} compared: {parts}; {moved}\n"
