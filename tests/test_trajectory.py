"""Conversations put together from segments of the template's loop over messages."""

import operator
import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import ROOT
from ifttool.errors import RowError
from ifttool.records import Conversation
from ifttool.template.analyser import PLAN_AT_SIGHT, USES_A_PLAN, Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, located
from ifttool.template.sources import builtin_names
from ifttool.template.traced_environment import TracingEnvironment
from ifttool.template.tracing import Trace
from ifttool.template.trajectory.affine import Affine, IntGuard, Quotient, constant, variable
from ifttool.template.trajectory.assembly import Assembler
from ifttool.template.trajectory.memory import MOST_WAYS, PATIENCE, Assembled
from ifttool.template.trajectory.numbers import TracedInt
from ifttool.template.trajectory.pieced import Pieced, located_in, located_turns
from ifttool.template.trajectory.program import Program, UnfollowedError
from ifttool.template.trajectory.recording import RecordingEnvironment
from ifttool.template.trajectory.window import Window
from kinds import Kinds
from memories import Watched


def builtin(name: str) -> str:
    return (ROOT / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


CLOCK = datetime(2026, 1, 1)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Bench:
    """A template with what puts its conversations together, and the reference."""

    def __init__(self, text: str, **kwargs: Any) -> None:
        special = {"bos_token": "<s>", "eos_token": "</s>"}
        self.template = ChatTemplate(text, name="t", special_tokens=special, kwargs=kwargs, clock=CLOCK)
        self.assembler = Assembler(self.template)
        self._reference = Analyser(self.template, use_plans=False)
        self.kinds = Kinds()

    def assemble(self, conversation: Conversation) -> Assembled:
        """Put a conversation together, and compare it with the reference."""
        turns = [at for at, message in enumerate(conversation.messages) if message["role"] == "assistant"]
        kinds = self.kinds(conversation)
        found = self.assembler.assemble(conversation, kinds, turns)
        expected = located_turns(located(self._reference.analyse(conversation, turns)), turns)
        assert located_in(self.assembler, conversation, kinds, found) == expected
        return found


def chat(*said: str, system: str | None = None, **more: Any) -> Conversation:
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    return Conversation(messages, **more)


# --- numbers ----------------------------------------------------------------------------------------------

NUMBERS = st.integers(-5, 40)
FORMS = st.builds(
    lambda i, n, key, rest: Affine(tuple((name, f) for name, f in (("1.k", key), ("i", i), ("n", n)) if f), rest),
    *(st.integers(-2, 2),) * 3,
    NUMBERS,
)


@pytest.mark.parametrize("table", ["filters", "tests"])
def test_what_traces_and_what_records_can_run_the_same_code(table: str) -> None:
    # Compiled code passes an environment or a context where a filter wanted one when it was compiled.
    traced, recorded = (
        {name: getattr(function, "jinja_pass_arg", None) for name, function in getattr(environment, table).items()}
        for environment in (TracingEnvironment(clock=CLOCK), RecordingEnvironment(clock=CLOCK))
    )
    assert traced == recorded
    assert any(traced.values())


@pytest.mark.parametrize(
    "constant",
    ["'<'|safe", "'<'|e", "'a'|upper", "'a, b'|replace(', ', '-')", "['a']|tojson", "'%s!' % 'a'", "'a' in 'ab'"],
)
def test_constants_that_the_reference_folds_can_be_traced(constant: str) -> None:
    template = ChatTemplate(f"{{{{ ({constant}) ~ messages[0].content }}}}", name="t", clock=CLOCK)
    trace = template.trace([{"role": "user", "content": "x < y"}])
    assert trace.text.endswith("x < y") or trace.text.endswith("x &lt; y")
    assert not trace.lost


@given(FORMS, FORMS, st.integers(-3, 3), st.tuples(st.integers(0, 9), st.integers(1, 20)), NUMBERS)
def test_forms_are_the_numbers_they_stand_for(
    left: Affine, right: Affine, factor: int, place: tuple[int, int], key: int
) -> None:
    item, count = place

    def value(form: Affine) -> int:
        number = form.value(item=item, count=count, state={"1.k": key})
        assert eval(form.source(), {"i": item, "n": count, "state": {"1.k": key}}) == number
        return number

    assert value(left.plus(right, factor)) == value(left) + factor * value(right)
    assert value(variable(Quotient("%", left, 3))) == value(left) % 3
    assert value(variable(Quotient("//", left, 3))) == value(left) // 3


@given(FORMS, st.sampled_from(("==", "<", "<=")), st.booleans())
def test_what_is_said_to_be_certain_holds_everywhere(form: Affine, test: str, answer: bool) -> None:
    guard = IntGuard(form, test, answer)
    compare = {"==": operator.eq, "<": operator.lt, "<=": operator.le}[test]
    cells = [
        (item, count, compare(form.value(item=item, count=count, state={"1.k": key}), 0))
        for count in range(1, 60)
        for item in range(count)
        for key in (-3, 0, 7)
    ]
    if guard.is_certain:
        assert {found for _, _, found in cells} == {answer}
    if not guard.is_open and form.mentions("n"):
        assert {found for item, count, found in cells if item < count - 1} == {answer}


OPERATIONS = ("add", "sub", "mul", "mod", "floordiv", "lt", "le", "gt", "ge", "eq", "ne")


@given(st.sampled_from(OPERATIONS), st.integers(0, 9), st.integers(10, 20), NUMBERS, st.booleans())
def test_traced_numbers_answer_like_numbers(name: str, item: int, count: int, other: int, swapped: bool) -> None:
    trace = Trace()
    traced = TracedInt(trace, count - item, variable("n").plus(variable("i"), -1))
    operands = (other, traced) if swapped else (traced, other)
    plain = (other, count - item) if swapped else (count - item, other)
    try:
        expected = getattr(operator, name)(*plain)
    except ZeroDivisionError:
        expected = None
    try:
        found = getattr(operator, name)(*operands)
    except (TypeError, ZeroDivisionError):  # not followed: the trace is lost, never wrong
        return
    assert (found if isinstance(found, bool) else int(found)) == expected
    for guard in trace.guards:
        held = eval(f"{guard.form.source()} {guard.operator} 0", {"i": item, "n": count})
        assert held == guard.answer


# --- templates --------------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
SAID = ("Yes.", "", " \n padded\n", "<think>\nhm\n</think>\n\nso", "a</think>b", "塔")


def trajectories(seed: int, count: int) -> Iterator[Conversation]:
    chance = random.Random(seed)
    for number in range(count):
        messages: list[dict[str, Any]] = [{"role": "system", "content": "Help."}] if chance.random() < 0.5 else []
        for _ in range(chance.randint(1, 4)):
            messages.append({"role": "user", "content": chance.choice(SAID) or "?"})
            while number % 2 and chance.random() < 0.5:
                call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": {"x": "1"}}}
                messages.append({"role": "assistant", "content": chance.choice(SAID), "tool_calls": [call]})
                messages.append({"role": "tool", "tool_call_id": "c", "name": "find", "content": chance.choice(SAID)})
            messages.append({"role": "assistant", "content": chance.choice(SAID)})
            if chance.random() < 0.3:
                messages[-1]["reasoning_content"] = chance.choice(("Think.", ""))
        yield Conversation(messages, TOOLS if number % 3 == 1 else None)


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_templates(name: str) -> None:
    bench = Bench(builtin(name))
    assembled = 0
    for conversation in trajectories(3, 24):
        try:
            bench.assemble(conversation)
        except UnfollowedError as error:
            # Most have no markup for tools; nothing they do otherwise may be beyond what is followed.
            assert str(error) in ("the template refuses the conversation", "the template fails")
            continue
        assembled += 1
    assert assembled >= 7


def test_renders_come_without_the_template_once_it_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(CHATML)
    bench.assemble(chat("a", "b", "c", "d", system="e"))
    bench.assemble(chat("a", "b", "c", "d", "e", "f"))
    known = bench.assembler.generation
    conversation = chat("1", "2", "3", "4", "5", "6", "7", "8", system="9")
    kinds = bench.kinds(conversation)
    monkeypatch.delattr(ChatTemplate, "render")
    found = bench.assembler.assemble(conversation, kinds, [2, 4, 6, 8])
    assert bench.assembler.generation == known
    assert found.text.startswith("<|im_start|>system\n9<|im_end|>\n<|im_start|>user\n1")


def test_work_grows_with_the_turns_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(builtin("qwen3"))
    for conversation in trajectories(5, 30):
        bench.assemble(conversation)
    calls = {"find": 0, "match": 0}
    for name in calls:
        inner = getattr(Program, name)

        def counted(self: Program, *args: Any, name: str = name, inner: Any = inner) -> Any:
            calls[name] += 1
            return inner(self, *args)

        monkeypatch.setattr(Program, name, counted)

    def work(rounds: int) -> int:
        messages = [{"role": "user", "content": "go"}]
        for _ in range(rounds):
            call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": {"x": "1"}}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})  # type: ignore[dict-item]
            messages.append({"role": "tool", "tool_call_id": "c", "name": "find", "content": "Yes."})
        messages.append({"role": "assistant", "content": "Yes."})
        conversation = Conversation(messages, None)
        turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        bench.assembler.assemble(conversation, bench.kinds(conversation), turns)  # learns what it lacks
        calls.update(find=0, match=0)
        bench.assembler.assemble(conversation, bench.kinds(conversation), turns)
        return calls["find"] + calls["match"]

    few, many = work(25), work(100)
    assert few > 50
    assert many <= 4.2 * few


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(CHATML.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt is true %}"), id="flag"),
        pytest.param("{% for m in messages %}{{ 'T' if tools }}[{{ m.role }}]{{ m.content }}</s>{% endfor %}", id="tools"),
        pytest.param(
            "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = ns.s + m.content %}"
            "{% endif %}{% endfor %}{{ ns.s }}{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}"
            "</s>{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            id="words",
        ),
        pytest.param(
            "{% set ns = namespace(last=-1) %}{% for m in messages[::-1] %}{% if m.role == 'user' %}"
            "{% set ns.last = messages | length - 1 - loop.index0 %}{% break %}{% endif %}{% endfor %}"
            "{% for m in messages %}[{{ m.role }}{{ '!' if loop.index0 > ns.last }}]{{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[assistant!]{% endif %}",
            id="break",
        ),
        pytest.param(
            "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}"
            "{% endif %}[{{ loop.index }}{{ m.role }}]{{ m.content }}{{ '' if loop.last else ';' }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[{{ messages | length + 1 }}assistant]{% endif %}",
            id="numbers",
        ),
        pytest.param(
            "{% for m in messages %}[{{ m.role }}]{% if loop.nextitem is defined %}{{ loop.nextitem.role }}{% endif %}"
            "{{ messages[loop.index0 - 1].content if not loop.first }}:{{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            id="neighbours",
        ),
        pytest.param(
            "{% set ns = namespace(before='') %}{% for m in messages %}{{ 'new ' if ns.before != m.role }}"
            "{{ 'after system ' if ns.before == 'system' }}[{{ m.role }}]{{ m.content }}</s>{% set ns.before = m.role %}"
            "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            id="roles in a namespace",
        ),
        pytest.param(
            "{% set ns = namespace(a=0, b=0) %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{% set ns.b = ns.a %}"
            "{{ 'x' if ns.a != ns.b }}{{ 'y' if ns.b > 2 }}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            id="numbers that follow each other",
        ),
        pytest.param(
            "{% set ns = namespace(k=none) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.k = 5 %}{% endif %}"
            "{% if ns.k is none %}{% set ns.k = 'a' %}{% elif ns.k is number %}{% set ns.k = ns.k + 1 %}{% endif %}"
            "[{{ m.role }}]{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            id="a number or not",
        ),
        pytest.param(
            "{% set ns = namespace(end=messages | length - 1, seen=false) %}{% for m in messages %}{% if m.role == 'user' %}"
            "{% set ns.seen = true %}{% endif %}{% endfor %}{% for m in messages %}{{ 'end' if loop.index0 == ns.end }}"
            "{{ 'seen ' if ns.seen }}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            id="a number that a loop passes on",
        ),
        pytest.param(
            "{% set ns = namespace(end=messages | length, seen=false) %}{% for m in messages %}{% if m.role == 'user' %}"
            "{% set ns.seen = true %}{% endif %}{% endfor %}{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>"
            "{% endfor %}{{ 'more' if ns.end > 3 }}{% if add_generation_prompt %}[assistant]{% endif %}",
            id="a number that is read behind the loop",
        ),
        pytest.param(
            "{% set first = messages[0].role %}{% for m in messages %}{{ first if first == 'system' else '-' }}"
            "[{{ m.role }}]{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            id="a role in a variable",
        ),
    ],
)  # fmt: skip
def test_what_a_segment_reads_decides_where_it_fits(template: str) -> None:
    bench = Bench(template)
    for conversation in (
        chat("a", "b"),
        chat("a", "b", "c", "d", tools=TOOLS),
        chat("a", "b", system="s"),
        chat("x", "y", "c", "d", "e", "f"),
        chat("1", "2", "3", "4", system="t", tools=TOOLS),
        chat("1", "2", "3", "4", "5", "6", "7", "8"),
    ):
        try:
            bench.assemble(conversation)
        except UnfollowedError as error:
            # A template may refuse a system prompt here; it must not be for want of understanding.
            assert "refuses" in str(error)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{% for m in messages if m.role != 'x' %}{{ m.content }}{% endfor %}", id="a filter"),
        pytest.param("{% for m in messages + messages %}{{ m.content }}{% endfor %}", id="a sum"),
        pytest.param("{% set ns = namespace() %}{% for m in messages %}{{ ns.m.content }}{% set ns.m = m %}{% endfor %}", id="an object"),
        pytest.param("{% for m in messages %}{{ loop.changed(m.role) }}{% endfor %}", id="changed"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_left_to_the_slower_way(template: str) -> None:
    bench = Bench(template)
    with pytest.raises(UnfollowedError):
        bench.assemble(chat("a", "b", "c", "d"))


def test_a_namespace_that_holds_a_message_is_not_taken_for_one_that_holds_nothing() -> None:
    bench = Bench(
        "{% set ns = namespace() %}{% for m in messages %}{{ 'seen ' if ns.m is defined }}[{{ m.role }}]{{ m.content }}"
        "</s>{% if m.content == 'keep' %}{% set ns.m = m %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    bench.assemble(chat("a", "b", "c", "d"))
    bench.assemble(chat("a", "keep"))  # nothing reads it any more
    with pytest.raises(UnfollowedError):
        bench.assemble(chat("a", "keep", "c", "d"))


def test_numbers_without_a_loop_are_constants() -> None:
    trace = Trace()
    assert TracedInt(trace, 3, constant(3)) == 3
    assert not trace.guards


@pytest.mark.parametrize(("turns", "stays"), [([1, 3], False), ([1, 3, 5, 7, 9, 11], True)])
def test_a_template_whose_segments_hardly_come_back_is_given_up_where_learning_is_dearer(
    turns: list[int], stays: bool
) -> None:
    # Prints the names of arguments, so that every kind of call is a segment of its own.
    template = CHATML.replace("{{ m.content }}", "{{ m.content }}{% for k in m.extra or {} %}{{ k }}{% endfor %}")
    analyser = Analyser(Bench(template).template)
    found = 0
    for number in range(450):
        conversation = chat(*"abcdefghijklmnopqr")  # too long for plans
        conversation.messages[1]["extra"] = {f"k{number}": 1}
        found += analyser.assemble(conversation, turns) is not None
    assert found == 450 if stays else 390 <= found <= 410
    assert (analyser.assemble(chat("a", "b"), [1]) is not None) == stays


# --- plans made of segments ---------------------------------------------------------------------------------


def replies(conversation: Conversation) -> list[int]:
    return [at for at, message in enumerate(conversation.messages) if message["role"] == "assistant"]


@pytest.mark.parametrize(("name", "others"), [("chatml", {""}), ("qwen3", {"", *SAID[3:5]})])
def test_a_shape_that_comes_back_gets_a_plan(name: str, others: set[str]) -> None:
    bench = Bench(builtin(name))
    analyser, reference = Analyser(bench.template), Analyser(bench.template, use_plans=False)
    ways = []
    without = set()
    for number in range(PLAN_AT_SIGHT + 8):
        said = SAID[number % len(SAID)] if number > PLAN_AT_SIGHT else "Yes."
        conversation = chat(f"Q{number}", "Yes.", "And?", said, system="Help.")
        found = analyser.assemble(conversation, [2, 4])
        expected = located(reference.analyse(conversation, [2, 4]))
        if isinstance(found, Analysis):
            assert located(found) == expected
        else:
            assert found is not None
            assert located_in(bench.assembler, conversation, bench.kinds(conversation), found) == expected
        ways.append(analyser.way)
        if number > PLAN_AT_SIGHT and analyser.way != "plan":
            without.add(said)
    assert set(ways[:PLAN_AT_SIGHT]) == {"segments"}
    assert ways[PLAN_AT_SIGHT] == "plan"
    # Where nothing is said a turn is located in another way, and Qwen3 looks for reasoning in what is said.
    assert without == others


# In history, what was said is stripped.
STRIPPED = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.index0 > ns.last else m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# What the last message says shows in every message.
GO = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ '!' if messages[-1].content == 'go' }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_no_plan_is_made_where_texts_had_to_be_compared() -> None:
    bench = Bench(STRIPPED)
    short, long = chat("a", "b"), chat("a", "b", "c", "d")
    for conversation in (short, long):
        bench.assemble(conversation)
    assert bench.assembler.examine(short, bench.kinds(short), [1]) is not None
    # Before its last question the first reply is printed as it is, later stripped: "b" is the same either way.
    assert bench.assembler.examine(long, bench.kinds(long), [1, 3]) is None
    analyser, reference = Analyser(bench.template), Analyser(bench.template, use_plans=False)
    for said in ("b",) * (PLAN_AT_SIGHT + 1) + (" b ",):
        conversation = chat("a", said, "c", "d")
        found = analyser.assemble(conversation, [1, 3])
        assert isinstance(found, Assembled)
        assert located_in(bench.assembler, conversation, bench.kinds(conversation), found) == located(
            reference.analyse(conversation, [1, 3])
        )


def test_guards_of_every_beginning_are_guards_of_the_plan() -> None:
    # What the last message says shows in every message before it, and what is asked last in the prompt.
    bench = Bench(GO)
    source, other = chat("a", "b", "c", "d"), chat("a", "b", "go", "d")
    kinds = bench.kinds(source)
    for conversation in (source, other):
        bench.assemble(conversation)
    pieced = Pieced(bench.template, lambda *args: located(Analyser(bench.template, use_plans=False).analyse(*args)))
    assert pieced.assemble(source, kinds, [1, 3]) is not None
    plan = pieced.plan(source, kinds, [1, 3])
    assert plan is not None
    assert plan.replay(chat("A", "B", "C", "go!").messages, None, {}) is not None
    assert plan.replay(other.messages, None, {}) is None


def test_a_plan_needs_no_content_of_messages_it_reads_nothing_of() -> None:
    template = Bench(
        "{% for m in messages %}{% if m.role != 'tool' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    ).template
    analyser, reference = Analyser(template), Analyser(template, use_plans=False)
    for number in range(PLAN_AT_SIGHT + 2):
        messages = chat("a", f"b{number}", "c", f"{number}").messages
        conversation = Conversation([*messages[:2], {"role": "tool", "name": "clock"}, *messages[2:]])
        found = analyser.assemble(conversation, [1, 4])
        assert found is not None
        assert found.text == reference.analyse(conversation, [1, 4]).text
    assert analyser.way == "plan"


def test_a_plan_of_a_dropped_turn_is_not_for_a_turn_that_says_nothing() -> None:
    template = Bench(
        # A loop with a condition isn't followed, so the plan comes from a trace of the whole.
        "{% for m in messages if true %}[{{ m.role }}]{% if m.content | length > 3 %}{{ m.content }}{% endif %}</s>"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    ).template
    analyser, reference = Analyser(template), Analyser(template, use_plans=False)
    ways = []
    for said in ("abc", "abc", "xyz", "", "abc"):
        conversation = chat("A question.", said)
        assert located(analyser.analyse(conversation, [1])) == located(reference.analyse(conversation, [1]))
        ways.append(analyser.way.partition(":")[0])
    assert ways == ["trace", "trace", "plan", "trace", "plan"]


def test_a_template_without_text_of_its_own_may_print_nothing_of_a_later_row() -> None:
    template = Bench("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}").template
    analyser = Analyser(template)
    for question in ("One?", "Two?", "Three?"):
        assert analyser.analyse(chat(question, "An answer."), [1]).text == question
    with pytest.raises(RowError, match="renders nothing"):
        analyser.analyse(chat(" ", "An answer."), [1])


def test_plans_that_are_not_used_stop_plans() -> None:
    analyser = Analyser(Bench(CHATML).template)
    conversation = chat(*"abcdefghij")
    every = replies(conversation)
    # The turns are part of a shape.
    shapes = [turns for count in (1, 2, 3) for turns in combinations(every, count)][:20]

    def way(turns: Sequence[int]) -> str:
        assert analyser.assemble(conversation, turns) is not None
        return analyser.way

    for turns in shapes:
        assert {way(turns) for _ in range(PLAN_AT_SIGHT)} == {"segments"}
    ways = [way(turns) for turns in shapes]
    planned = ways.count("plan")
    assert ways == ["plan"] * planned + ["segments"] * (len(shapes) - planned)
    assert 16 <= planned <= 17
    for _ in range(USES_A_PLAN):
        assert way(shapes[0]) == "plan"
    # Now that they are used there is one more, and only one.
    assert [way(shapes[-1]), way(shapes[-1])] == ["segments", "plan"]
    assert [way(shapes[-2]), way(shapes[-2])] == ["segments", "segments"]


@pytest.mark.parametrize("behind", ["", "{{ messages[0].content.split('</think>')[-1] }}{{ m.content | length }}"])
def test_what_prints_nothing_where_a_plan_is_made_may_print_something_elsewhere(behind: str) -> None:
    bench = Bench(
        "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1] }}" + behind + "{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    reference = Analyser(bench.template, use_plans=False)
    pieced = Pieced(bench.template, lambda *args: located(reference.analyse(*args)))
    fitting = 0
    for said in ("b", "long ago</think>"):
        source = chat("a", said, "c", "d", system="Hm.</think>")
        assert pieced.assemble(source, bench.kinds(source), [2, 4]) is not None
        plan = pieced.plan(source, bench.kinds(source), [2, 4])
        for system, other in product(("Hm.</think>", "Help."), ("long since</think>", "b", "b</think>c")):
            conversation = chat("A", other, "C", "D", system=system)
            texts = plan and plan.replay(conversation.messages, None, {})
            if plan is not None and texts is not None:
                fitting += 1
                assert located(Analysis(plan.layout, texts)) == located(reference.analyse(conversation, [2, 4]))
    assert fitting


def test_a_reply_that_is_all_in_its_prompt_says_nothing_of_longer_ones() -> None:
    bench = Bench(CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}"))
    for said in ("<think>", "<think>hm</think>so", "<think>", "so"):
        bench.assemble(chat("a", said, "c", "d"))
    source = chat("a", "<think>", "c", "d")
    reference = Analyser(bench.template, use_plans=False)
    for lesson in (source, chat("a", "<think>hm", "c", "d")):
        pieced = Pieced(bench.template, lambda *args: located(reference.analyse(*args)))
        for conversation in (lesson, source):
            assert pieced.assemble(conversation, bench.kinds(source), [1, 3]) is not None
        assert pieced.plan(source, bench.kinds(source), [1, 3]) is None


def test_a_loop_that_reads_what_it_leaves_goes_item_by_item() -> None:
    """A quiet item may leave something once an earlier one has."""
    bench = Bench(
        "{% set ns = namespace(seen=false, x=0) %}{% for m in messages %}"
        "{% if ns.seen and m.role == 'assistant' %}{% set ns.x = ns.x + 1 %}{% endif %}"
        "{% if m.role == 'user' %}{% set ns.seen = true %}{% endif %}{% endfor %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}{{ '!' if loop.index0 == ns.x }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for said in (("a", "b"), ("a", "b", "c", "d"), ("a", "b", "c", "d", "e", "f"), ("c", "d", "e", "f", "g", "h")):
        bench.assemble(chat(*said))
        bench.assemble(chat(*said, system="s"))


def test_equal_fields_are_no_aliases_and_zeros_are_told_apart() -> None:
    template = Bench(
        "{% for m in messages %}[{{ m.role }}]{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.n }}{{ m.content }}"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    ).template
    analyser = Analyser(template)
    for thinking, number in (("", 0.0),) * 4 + (("B", 0.0), ("", -0.0)):
        reply = {"role": "assistant", "content": "b", "reasoning_content": "", "thinking": thinking, "n": number}
        conversation = Conversation([{"role": "user", "content": "a"}, reply])
        assert analyser.analyse(conversation, [1]).text == template.render(conversation.messages, None)


# --- conversations put together as the ones before ---------------------------------------------------------


# How many tools there are decides what a namespace holds, and that how messages are printed.
MANY = (
    "{% set ns = namespace(many=false) %}{% if tools %}{% for t in tools %}{{ t.name }}, {% endfor %}"
    "{% set ns.many = tools | length > 2 %}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{{ '*' if ns.many }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def offering(count: int) -> Conversation:
    return chat("a", "b", "c", "d", tools=[{"name": f"t{number}"} for number in range(count)])


@pytest.mark.parametrize(
    ("template", "conversations", "repeated"),
    [
        # Only the prompt before the second reply ends in "go": the whole conversation asks nothing of the kind.
        (GO, [chat("a", "b", "c", "d")] * 3 + [chat("a", "b", "go", "d"), chat("A", "B", "C", "D")], 2),
        (GO, [chat("a", "b", "c", "d")] * 3 + [chat("a", "b", "c", "go")], 1),
        # Other tools are another segment that leaves the same, or another value.
        (MANY, [offering(1), offering(1), offering(2), offering(2), offering(1)], 2),
        (MANY, [offering(2)] * 3 + [offering(3)] * 3, 2),
        # A turn without text is located in another way.
        (CHATML, [chat("a", "b", "c", "d")] * 3 + [chat("a", "", "c", "d")] * 3, 2),
        # Text that had to be compared is of this conversation.
        (STRIPPED, [chat("a", "b", "c", "d")] * 5 + [chat("a", " b ", "c", "d")], 0),
    ],
)
def test_what_was_put_together_before_is_asked_of_the_data_again(
    template: str, conversations: list[Conversation], repeated: int
) -> None:
    watched = Watched(Bench(template).assembler)
    for conversation in conversations:
        assert watched.agrees(conversation, replies(conversation))
    assert watched.repeated >= repeated


def test_little_is_remembered_of_a_shape_and_nothing_where_data_decides() -> None:
    watched = Watched(Bench(builtin("qwen3")).assembler)
    said = ["Yes.", "<think>\nhm\n</think>\n\nso", "a</think>b"]
    for number in range(3 * PATIENCE):
        conversation = chat("Q", *(("Yes.",) if number < 3 else (said[number % 3],)), "R", said[number // 3 % 3])
        assert watched.agrees(conversation, [1, 3])
    (memory,) = watched.memories.values()
    assert watched.repeated
    assert 0 <= memory.pieces <= MOST_WAYS * 4
    before = watched.repeated
    for number in range(3 * PATIENCE):
        conversation = chat("Q", "a</think>b", "R", SAID[number % len(SAID)] + "</think>")
        assert watched.agrees(conversation, [1, 3])
    assert watched.repeated == before
    assert memory.pieces == 0


def test_memories_are_bounded_with_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifttool.template.analyser.MAX_PIECES", 40)
    monkeypatch.setattr("ifttool.template.analyser.PLAN_AT_SIGHT", 99)
    analyser = Analyser(Bench(CHATML).template)
    for count in range(1, 12):
        conversation = chat(*"abcd" * count)
        for _ in range(3):
            assert analyser.assemble(conversation, replies(conversation)) is not None
    held = [shape.pieces for shape in analyser._shapes.values()]
    assert sum(held) == analyser._pieces <= 40 + max(held)
    assert len(held) < 11


# --- lessons ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "looked_at"),
    [
        (builtin("qwen3"), {4}),
        # What is said last shows in every message, so all of them are compared, too.
        (GO.replace("{% for m in messages %}", "{{ (tools or []) | length }}{% for m in messages %}", 1), {4, 60}),
    ],
)
def test_other_tools_are_learnt_from_few_messages(template: str, looked_at: set[int]) -> None:
    bench = Bench(template)
    reference = Analyser(bench.template, use_plans=False)
    sizes: list[int] = []

    def located_by_reference(conversation: Conversation, turns: Sequence[int]) -> tuple[Any, ...]:
        sizes.append(len(conversation.messages))
        return located(reference.analyse(conversation, turns))

    pieced = Pieced(bench.template, located_by_reference)
    for tools in (1, 2, 3, 2):
        sizes.clear()
        conversation = chat(*("a", "b", "go") * 20, tools=offering(tools).tools)
        turns = replies(conversation)
        found = pieced.assemble(conversation, bench.kinds(conversation), turns)
        assert found is not None
        assert pieced._assembler is not None
        assert located_in(pieced._assembler, conversation, bench.kinds(conversation), found) == located(
            reference.analyse(conversation, turns)
        )
        if tools == 3:
            assert set(sizes) == looked_at
    assert not sizes


@pytest.mark.parametrize("name", ["chatml", "hermes", "granite", "qwen2.5"])
def test_surroundings_are_compared_before_they_are_relied_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: set[Window] = set()
    agrees = Pieced._agrees

    def noted(self: Pieced, one: Any, kinds: Any, turns: Sequence[int], found: Assembled) -> bool:
        compared.update(placed.window for placed in found.arrangement.turns if placed.message in turns)
        return agrees(self, one, kinds, turns, found)

    monkeypatch.setattr(Pieced, "_agrees", noted)
    draw = random.Random(3)
    for seed in range(4):
        bench = Bench(builtin(name))
        reference = Analyser(bench.template, use_plans=False)
        pieced = Pieced(bench.template, lambda *given, by=reference: located(by.analyse(*given)))
        for conversation in trajectories(seed, 12):
            longer = conversation.messages + [one for one in conversation.messages if one["role"] != "system"]
            given = Conversation(longer[: len(longer) - draw.randint(0, 1)], offering(draw.randint(0, 3)).tools or None)
            try:
                found = pieced.assemble(given, bench.kinds(given), replies(given))
            except RowError:
                continue
            assert found is None or compared.issuperset(placed.window for placed in found.arrangement.turns)
    assert compared


@pytest.mark.parametrize("end", [1, 2])
@pytest.mark.parametrize("closing", ["<|im_end|>", "{{ '<|im_end|>' if not loop.last else '</s>' }}"])
def test_surroundings_that_are_new_late_are_compared_in_the_first_messages(closing: str, end: int) -> None:
    # The number of tools shows in the prompt only.
    body, prompt = CHATML.replace("<|im_end|>", closing).split("{% if")
    bench = Bench(body + "{% if" + prompt.replace("assistant\n", "assistant\n{{ tools | length if tools }}"))
    analyser, reference = Analyser(bench.template), Analyser(bench.template, use_plans=False)
    asked: list[tuple[int, list[int]]] = []
    by = analyser._pieced._reference

    def noted(conversation: Conversation, turns: Sequence[int]) -> tuple[Any, ...]:
        asked.append((len(conversation.messages), list(turns)))
        return by(conversation, turns)

    analyser._pieced._reference = noted
    conversation = chat(*"abcdefghijkl"[:-end], system="S", tools=offering(2).tools)
    turns = replies(conversation)
    found = analyser.assemble(conversation, turns)
    assert isinstance(found, Assembled)
    own = analyser._pieced._assembler
    assert own is not None
    expected = located(reference.analyse(conversation, turns))
    assert located_in(own, conversation, bench.kinds(conversation), found) == expected
    # Its second turn is the last one there, as the last one is of the whole.
    assert asked[0] == (5, [2, 4])


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("count", [1, 5])
def test_conversations_of_one_role_without_turns(role: str, count: int) -> None:
    bench = Bench(CHATML)
    conversation = Conversation([{"role": role, "content": str(number)} for number in range(count)])
    found = Analyser(bench.template).assemble(conversation, ())
    assert isinstance(found, Assembled)
    assert found.text == bench.template.render(conversation.messages)
