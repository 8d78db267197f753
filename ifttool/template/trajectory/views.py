"""What a recorded template sees as ``messages``, ``loop`` and ``namespace(…)``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jinja2.utils import Namespace

from ifttool.template.environment import refuse_underscore
from ifttool.template.traced_markup import UntraceableError
from ifttool.template.trajectory.affine import COUNT, ITEM, Affine, constant, variable
from ifttool.template.trajectory.numbers import TracedInt

if TYPE_CHECKING:
    from ifttool.template.trajectory.recorder import Recorder

ALL_STOP = variable(COUNT)


class MessageView:
    """``messages`` or a contiguous part of it, forwards or backwards.

    Attributes:
        start: Index of the first message of the part, in conversation order.
        stop: One past the last.
        step: 1, or -1 if the part is read backwards.
    """

    def __init__(self, recorder: "Recorder", start: Affine, stop: Affine, step: int = 1) -> None:
        self._recorder = recorder
        self.start, self.stop, self.step = start, stop, step

    @property
    def spec(self) -> tuple[Affine, Affine, int]:
        return (self.start, self.stop, self.step)

    @property
    def length(self) -> TracedInt:
        """How many messages there are, never less than zero."""
        size = self._recorder.number(self.stop.plus(self.start, -1))
        return size if size >= 0 else self._recorder.number(constant(0))

    @property
    def first(self) -> Affine:
        """Index of the message that is read first."""
        return self.start if self.step == 1 else self.stop.plus(constant(1), -1)

    def at(self, position: Affine) -> Affine:
        """Index of the message at a position that isn't negative."""
        return self.first.plus(position, self.step)

    def item(self, key: int | TracedInt) -> Any:
        """``view[key]``.

        Raises:
            IndexError: There is no such message.
        """
        recorder, length = self._recorder, self.length
        position = key if isinstance(key, TracedInt) else recorder.number(constant(key))
        if position < 0:
            position = position + length
        if position < 0 or position >= length:
            raise IndexError("no such message")
        return recorder.message(self.at(position.form))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | TracedInt):
            return self.item(key)
        if isinstance(key, slice):
            return self._slice(key)
        raise TypeError("messages are numbered")

    def _slice(self, key: slice) -> "MessageView":
        recorder, length = self._recorder, self.length
        if key.step == -1 and key.start is None and key.stop is None:
            return MessageView(recorder, self.start, self.stop, -self.step)
        if key.step not in (None, 1) or self.step != 1:
            raise UntraceableError("a slice with a step")
        bounds = []
        for bound, default in ((key.start, recorder.number(constant(0))), (key.stop, length)):
            at = default if bound is None else bound if isinstance(bound, TracedInt) else _number(recorder, bound)
            if at < 0:
                at = at + length
                at = at if at >= 0 else recorder.number(constant(0))
            bounds.append(at if at <= length else length)
        low, high = bounds
        high = high if high >= low else low
        return MessageView(recorder, self.start.plus(low.form), self.start.plus(high.form))

    def __bool__(self) -> bool:
        return bool(self.length > 0)

    def __eq__(self, other: object) -> bool:
        raise UntraceableError("messages are compared as a whole")

    def __hash__(self) -> int:
        raise UntraceableError("messages are hashed")

    def __len__(self) -> int:
        return int(self.length)

    def __iter__(self) -> Iterator[Any]:
        """All messages, outside of a loop that is followed: the trace then holds for these kinds of messages only."""
        for position in range(int(self.length)):
            yield self._recorder.message(self.at(constant(position)))

    def __reversed__(self) -> Iterator[Any]:
        return iter(MessageView(self._recorder, self.start, self.stop, -self.step))


def _number(recorder: "Recorder", bound: Any) -> TracedInt:
    if not isinstance(bound, int):
        raise UntraceableError("a slice bound that isn't followed")
    return recorder.number(constant(bound))


class FollowedLoop:
    """A top-level loop over messages: every iteration is a segment of the recording."""

    def __init__(self, recorder: "Recorder", view: MessageView, site: int) -> None:
        self._recorder, self._view, self._site = recorder, view, site

    def __iter__(self) -> Iterator[Any]:
        for item, _ in self.with_loop(None):
            yield item

    def with_loop(self, undefined: Any) -> Iterator[tuple[Any, "SpyLoop | None"]]:
        """Items, each with the loop as the template sees it."""
        recorder, view = self._recorder, self._view
        for index in recorder.enter_loop(self._site, view):
            recorder.begin_item(index)
            yield recorder.message(variable(ITEM)), None if undefined is None else SpyLoop(recorder, view, undefined)
        recorder.leave_loop()


class SpyLoop:
    """``loop`` inside a followed loop."""

    depth = 1
    depth0 = 0

    def __init__(self, recorder: "Recorder", view: MessageView, undefined: Any) -> None:
        self._recorder, self._view, self._undefined = recorder, view, undefined

    @property
    def index0(self) -> TracedInt:
        offset = variable(ITEM).plus(self._view.first, -1)
        return self._recorder.number(offset.times(self._view.step))

    @property
    def index(self) -> TracedInt:
        following: TracedInt = self.index0 + 1
        return following

    @property
    def length(self) -> TracedInt:
        return self._view.length

    def __len__(self) -> int:
        return int(self.length)

    @property
    def revindex0(self) -> TracedInt:
        left: TracedInt = self.length - self.index
        return left

    @property
    def revindex(self) -> TracedInt:
        left: TracedInt = self.length - self.index0
        return left

    @property
    def first(self) -> bool:
        return bool(self.index0 == 0)

    @property
    def last(self) -> bool:
        return bool(self.revindex0 == 0)

    @property
    def previtem(self) -> Any:
        if self.first:
            return self._undefined("there is no previous item")
        return self._recorder.message(variable(ITEM).plus(constant(self._view.step), -1))

    @property
    def nextitem(self) -> Any:
        if self.last:
            return self._undefined("there is no next item")
        return self._recorder.message(variable(ITEM).plus(constant(self._view.step)))

    def cycle(self, *args: Any) -> Any:
        """One of the arguments by turns."""
        if not args:
            raise TypeError("no items for cycling given")
        return args[int(self.index0 % len(args))]

    def changed(self, *values: Any) -> bool:
        """Not followed: it remembers the iteration before."""
        raise UntraceableError("loop.changed")


class SpyNamespace(Namespace):
    """``namespace(…)`` whose attributes live in the recording."""

    # No named parameter, so that `namespace(self=...)` works.
    def __init__(*args: Any, **kwargs: Any) -> None:
        self, recorder = args[:2]
        attributes = dict(*args[2:], **kwargs)
        object.__setattr__(self, "_spy", (recorder, recorder.new_namespace()))
        for name, value in attributes.items():
            self[name] = value

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "_spy"):
            return object.__getattribute__(self, name)
        recorder, number = object.__getattribute__(self, "_spy")
        return recorder.read(f"{number}.{name}")

    def __setitem__(self, name: str, value: Any) -> None:
        refuse_underscore(name)
        recorder, number = object.__getattribute__(self, "_spy")
        recorder.write(f"{number}.{name}", value)
