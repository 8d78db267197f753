"""Miscompiles: a trace whose guards hold for other data must say what Jinja prints for it."""

from collections.abc import Iterator

import pytest

from ifttool.errors import RowError
from ifttool.template.chat_template import ChatTemplate, TracedRender
from ifttool.template.layout import lay_out
from ifttool.template.plan import Plan, compile_plan
from jinja_oracle import NOW
from parity.conversations import CHATS, PLAIN, REASONING, Tool
from parity.corpus import all_names, compiled, fast_names
from parity.replay import ChatData, holds, perturbed, replayed

REFUSED = "(refused)"


def text_of(template: ChatTemplate, data: ChatData, *, prompt: bool = False) -> str:
    try:
        return template.render(data.messages, data.tools, add_generation_prompt=prompt)
    except RowError:
        return REFUSED


def plan_of(trace: TracedRender, data: ChatData) -> Plan:
    """The trace as the product compiles it, without turns."""
    roles = [str(message["role"]) for message in data.messages]
    analysis, more = lay_out(trace.pieces, [], roles, lost=trace.lost)
    return compile_plan(analysis.layout, [*trace.guards, *more])


def planned(plan: Plan, data: ChatData) -> str | None:
    """What a plan says of other data; None where it says that it doesn't hold."""
    texts = plan.replay(data.messages, data.tools, {})
    return None if texts is None else "".join(texts)


def miscompiles(name: str, seeds: range) -> list[tuple[str, int, str | None, str | None, str]]:
    """(conversation, seed, predicted, planned, printed) wherever a trace of a published template is wrong."""
    template = compiled(name)
    wrong = []
    for chat_name, chat in CHATS.items():
        original = ChatData(chat.messages, chat.tools)
        prompt = chat.messages[-1]["role"] != "assistant"
        try:
            trace = template.trace(chat.messages, chat.tools, add_generation_prompt=prompt)
        except RowError:
            continue
        if trace.lost:
            continue
        plan = plan_of(trace, original)
        for seed in seeds:
            other = perturbed(trace, original, seed)
            said, printed = (replayed(trace, other), planned(plan, other)), text_of(template, other, prompt=prompt)
            if said != (printed, printed):
                wrong.append((chat_name, seed, *said, printed))
    return wrong


@pytest.mark.parametrize("name", fast_names())
def test_a_trace_holds_for_other_contents(name: str) -> None:
    assert miscompiles(name, range(2)) == []


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_every_trace_holds_for_other_contents(name: str) -> None:
    assert miscompiles(name, range(10, 16)) == []


def test_other_contents_are_other() -> None:
    """The perturbation changes every text that a template merely prints."""
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", name="plain", clock=NOW)
    for chat in (PLAIN["two-rounds"], REASONING["inline-think"]):
        trace = template.trace(chat.messages)
        other = perturbed(trace, ChatData(chat.messages), seed=1)
        pairs = zip(chat.messages, other.messages, strict=True)
        assert [a["role"] for a in chat.messages] == [b["role"] for b in other.messages]
        assert all(a["content"] != b["content"] for a, b in pairs)


# -- every door through which text can leave without a guard -----------------------------------------------------

A, B = "messages[0].content", "messages[1].content"
F = "tools[0].function"
WORDS = f"{A}.split(' ')"
SIZE = f"({B}|length)"

DOORS: dict[str, list[str]] = {
    "parts of a split": [
        f"{WORDS}|last", f"{WORDS}|first", f"{WORDS}|reverse|join('+')", f"{WORDS}|length", f"{WORDS}[-1]",
        f"{WORDS}[:1]|join", f"({WORDS} + ['x'])|join(',')", f"(['x'] + {WORDS})|join(',')",
        f"{WORDS} == ['one', 'two']", f"['one', 'two'] == {WORDS}", f"({WORDS} * 2)|join",
        f"{WORDS}.copy()|join", f"{WORDS}.count('one')", f"{WORDS}|tojson", WORDS, f"{A}.split(' ', 1)|last",
        f"{A}.rsplit(' ', 1)|last", f"{A}.split()|last", f"{A}.splitlines()|last", f"{A}.splitlines()|length",
        f"{A}.split('o')|map('trim')|join", f"{WORDS}|batch(1)|list", f"{WORDS}|sort|join",
        f"{WORDS}|unique|join", f"{A}.partition(' ')|last", f"{A}.rpartition('o')[0]",
        f"({A} ~ '|' ~ {B}).split('|')[-1]", f"{WORDS} < ['p']", f"'one' in {WORDS}", f"{WORDS}|list|last",
        f"{WORDS}|select('in', 'one two')|list|length",
    ],
    "iterators": [
        "', '.join(messages|map(attribute='content'))", "messages|map(attribute='content')|join(', ')",
        f"', '.join({F}.values()|select('string'))", "', '.join(messages[0].values())", "messages[0].values()",
        "messages[0].items()", f"{F}.values()", f"{F}.items()|list", f"','.join({F}.keys())",
        f"', '.join({F}.n)", "messages[0].values()|list", "messages[0]|dictsort",
        "messages|map(attribute='content')|list", "messages|map(attribute='content')|unique|join",
        "messages|map(attribute='content')|max", "messages|groupby('content')|map('first')|join",
        "messages|sort(attribute='content')|map(attribute='role')|join",
        "messages|selectattr('content', 'equalto', 'three')|list|length",
        "messages|sum(attribute='content', start='')",
        "messages|selectattr('content', 'in', 'three!')|list|length",
        "messages|map(attribute='content')|map('upper')|join",
    ],
    "containers as text": [
        f"{F}.n|upper", f"{F}|upper", f"{F}.n|lower", f"{F}.n|title", f"{F}.n|capitalize", f"{F}.n|trim",
        f"{F}.n|string", f"{F}.n ~ ''", f"'%s' % {F}.n", f"'%s' % ({F}.n,)", f"'%s'|format({F}.n)",
        f"{F}.n|replace('x', 'w')", f"[{A}]|upper", f"{{'a': {A}}}|lower", f"({A},)|upper", f"[{A}]|string",
        "messages[0]|upper", "tools|tojson(indent=2)", "messages|tojson", "messages|tojson(indent=2)", "tools",
        "messages", f"[{A}, tools]|tojson", f"{F}|items|list", f"{F}|tojson|upper", f"({F}|tojson)[1:-1]",
        f"{F}|tojson|length > 20", f"{F}|pprint", f"{F}|xmlattr", f"{F}.n|map('upper')|list|upper",
        "tools[0]|tojson(sort_keys=true)", f"{F} == {{'a': 1}}", f"{F}.n == ['x', 'y']", f"['x', 'y'] == {F}.n",
        f"{F}.n + ['q']", f"(['q'] + {F}.n)|join", f"'x' in {F}.n", f"{F}.n|last", f"{F}.n|sort|join",
    ],
    "str.format": [
        f"'{{a}}'.format(a={A})", f"'{{a}}'.format(a={F})", f"'{{}}'.format({F})", f"'{{a}}'.format(a=[{A}])",
        f"'{{}}'.format([{A}])", f"'{{0.n}}'.format({F})", f"'{{}}'.format({A})", f"{A}.format('x')",
        f"'{{}}'.format({SIZE})", f"'{{:>9}}'.format({A})", f"'%(x)s' % {{'x': {A}}}", f"'%s' % {A}",
        f"{A} % ()", f"'%d' % {SIZE}", f"'%s' % {SIZE}", f"'%d'|format({SIZE})",
        f"'%%%s|%s' % ({A}, {F}.n)", f"'{{0}}{{{{}}}}{{0}}'.format({A})", f"'%s'|format({A}|safe)",
    ],
    "lengths": [
        f"{SIZE}|tojson", f"[{SIZE}]|tojson", f"[{SIZE}]", f"range({SIZE})|list", f"{SIZE}|round", f"+{SIZE}",
        f"-{SIZE}", f"{SIZE}|int", f"{SIZE}|float", f"{SIZE}|abs", f"{SIZE}|string", SIZE, f"{SIZE} ~ ''",
        f"'abcdefghijk'[:{SIZE}]", f"{A}[:{SIZE}]", f"{A}[{SIZE}:]", f"'abcdefghijk'[{SIZE}]",
        f"['a', 'b', 'c', 'd', 'e', 'f'][{SIZE}]", f"'-' * {SIZE}", f"[1] * {SIZE}", f"{SIZE} is odd",
        f"{SIZE} is divisibleby 5", f"[{SIZE}, 4]|max", f"[{SIZE}, 4]|sum", f"{SIZE} ** 2", f"{SIZE} // 3",
        f"100 - {SIZE}", f"{{5: 'five'}}.get({SIZE}, 'no')", f"{SIZE} in [5, 6]", f"{SIZE} == 5", f"5 == {SIZE}",
        f"4 < {SIZE} <= 9", f"{SIZE} > ({A}|length)", f"'x'.ljust({SIZE}, '.')", f"{SIZE} is number",
        f"{SIZE} is integer", f"not {SIZE}", f"{SIZE} - 1",
        "messages|map(attribute='content')|map('length')|max", f"{SIZE} % 3", f"7 % ({SIZE} + 1)",
        f"{SIZE} is string", f"{SIZE}|default(3, true)",
    ],
    "markup": [
        f"('<'|safe) + {A}", f"({A}|safe) + '<'", f"({A}|safe) + {B}", f"{A} + ({B}|safe)", f"('x'|e) + {A}",
        f"'x'|escape ~ {A}", f"({A}|e) + {B}", f"({A}|tojson|safe) + {B}", f"({A}|safe).replace('o', '<')",
        f"[{A}|safe, '<']|join", f"['<', {A}|e]|join({B})", f"({A}|safe).join(['<', {B}])",
        f"({A}|safe).split(' ')[0] + {B}", f"'%s' % ({A}|safe)", f"('%s'|safe) % {A}", f"({A}|safe|trim) + {B}",
        f"({A}|safe) ~ {B}", f"({A}|safe)|length", f"{A} in ({B}|safe)", f"({A}|safe)[1:] + {B}",
        f"({A}|safe|upper) + {B}", f"({A}|safe) * 2 + '<'", f"({A}|forceescape) + {B}",
        f"'a'.replace('a', {A}|safe) + '<'", f"({A}|safe|string) + {B}",
    ],
    "functions": [
        f"strftime_now({A})", f"dict(a={A})", f"dict(a={A}).a", f"dict.fromkeys([{A}], 1)", f"dict({F}).n[0]",
        f"dict(**{F}).n[0]", f"namespace(a={A}).a", f"joiner({A})()", f"cycler({A}, 'b').next()",
    ],
    "names of our own": [
        f"{F}.path", f"{F}.plain", f"{F}['plain']", "tools[0].role", "1 if tools[0].role == 'r' else 2",
        f"{A}.nodes", f"{A}.pieces is defined", "tools[0].path is defined", f"{F}.role",
    ],
    "comparisons": [
        f"{A} in ['one two']", f"{A} in 'xx one two'", f"'one' in {A}", f"'one' in {A} in 'q one two'",
        f"{A} in {{'one two': 1}}", f"{{'one two': 1}}[{A}]", f"{A} < {B}", f"{A} >= 'one'", f"'one' < {A}",
        f"{A} != 'one'", f"{A} == ('one two'|trim)", f"{A} == 'one' ~ ' two'", f"('one two'|trim) == {A}",
        f"{A} is sameas {A}", f"{A} is in ['one two']", f"['one two']|select('in', {A})|list",
        f"{A} in 'one two' == true", f"{A} is lower", f"{A}.isalpha()", f"{A} == {B}",
    ],
    "text from text": [
        f"{A}|reverse", f"{A}[::-1]", f"{A}|list|join('-')", f"{A}|join('-')", f"{A}|wordcount",
        f"{A}|truncate(4)", f"{A}|indent", f"{A}|urlencode", f"{A}|center(20)", f"{A}|int(3)", f"{A}|pprint",
        f"{A}|striptags", f"{A}|e", f"{{'a': {A}}}|xmlattr", f"{A}|default('x', true)", f"({A} or 'x')|upper",
        f"{A}|attr('upper')()", f"{A}.encode()", f"'q'.join({A})", f"'abc'.replace('b', {A})",
        f"'one two!'.startswith({A})", f"'one two!'.find({A})", f"'x one two y'.split({A})",
        f"'enow'.strip({A})", f"'a b'.translate({{97: {A}}})", f"({A} ~ {B}).replace('o', '<b>')",
        f"({A} ~ {B})|title", f"({A} ~ {B})[3:-2]", f"{A}.replace('', '-')", f"{A}|replace('o', {B})",
        f"{A}|replace({B}, 'zz')", f"{A} * 2", f"{A}|tojson|trim('\"')", f"{A}.rindex('o')",
        f"{A}.endswith(('two', 'x'))", f"{A}['upper']()", f"{A}|first", f"{A}|last",
    ],
}  # fmt: skip

BLOCKS = [
    f"{{% for w in {WORDS}|reverse %}}{{{{ w }}}}{{% endfor %}}",
    f"{{% for w in {WORDS} %}}{{{{ w }}}}{{{{ loop.last }}}}{{% endfor %}}",
    f"{{% for i in range({SIZE}) %}}.{{% endfor %}}",
    f"{{% set a, b = {WORDS} %}}{{{{ b }}}}",
    f"{{% for c in {A} %}}{{{{ c }}}}.{{% endfor %}}",
    f"{{% macro m(x) %}}[{{{{ x }}}}]{{% endmacro %}}{{{{ m({A})|upper }}}}",
    f"{{% macro m() %}}{{{{ caller() }}}}{{% endmacro %}}{{% call m() %}}{{{{ {A} }}}}{{% endcall %}}",
    f"{{% set x %}}a{{{{ {A} }}}}b{{% endset %}}{{{{ x|trim }}}}{{{{ x|length > 3 }}}}",
    f"{{% filter title %}}a{{{{ {A} }}}}{{% endfilter %}}",
    f"{{% filter upper %}}a{{{{ {A} }}}}{{% endfilter %}}",
    "{% for x in messages|map(attribute='content') %}{{ loop.changed(x) }}{{ loop.previtem }}{% endfor %}",
    "{% for k, v in tools[0].function|dictsort(by='value') if v is string %}{{ k }}{% endfor %}",
    "{% set ns = namespace(a='') %}{% for m in messages %}{% set ns.a = ns.a + m.content %}{% endfor %}{{ ns.a|trim }}",
    f"{{% autoescape true %}}{{{{ {A} }}}}{{{{ '<' + {A} }}}}{{% endautoescape %}}",
    f"{{% if {SIZE} %}}{{{{ {B} }}}}{{% endif %}}",
]


def _doors() -> Iterator[tuple[str, str]]:
    for room, expressions in DOORS.items():
        for expression in expressions:
            yield f"{room}: {expression}", f"{{{{ {expression} }}}}"
    for block in BLOCKS:
        yield f"blocks: {block}", block


def _tool(name: str, items: list[str], role: str) -> Tool:
    function = {"name": name, "n": items, "path": f"p{name}", "plain": f"q{name}", "role": role}
    return {"type": "function", "role": role, "function": function}


_TEXTS = [
    ("one two", "three"), ("", ""), ("x", "one"), ("one two three", "seven"), ("<&'\"> o", "<b>\"x\""),
    ("one TWO", "Three"), ("a\nb", "eight ch"), ("q q q", "aaaaa"), ("y", "two"), ("%s {}", "o"), ("12", "0b"),
]  # fmt: skip
_TOOLS = [_tool("f", ["x", "y"], "r"), _tool("gé", ["'x", "zz"], "R")]
SITUATIONS = [
    ChatData([{"role": "user", "content": a}, {"role": "assistant", "content": b}], [_TOOLS[index % 2]])
    for index, (a, b) in enumerate(_TEXTS)
]
SITUATIONS += [ChatData(data.messages, [_TOOLS[1]]) for data in SITUATIONS[:2]]


@pytest.mark.parametrize("template", [pytest.param(text, id=name) for name, text in _doors()])
def test_nothing_leaves_without_a_guard(template: str) -> None:
    chat_template = ChatTemplate(template, name="door", clock=NOW)
    printed = [text_of(chat_template, data) for data in SITUATIONS]
    wrong = []
    for here, text in zip(SITUATIONS, printed, strict=True):
        if text == REFUSED:
            continue
        trace = chat_template.trace(here.messages, here.tools)
        if trace.lost:
            continue
        plan = plan_of(trace, here)
        for there, expected in zip(SITUATIONS, printed, strict=True):
            passes = all(holds(guard, there) for guard in trace.guards)
            said = (predicted_or_error(trace, there) if passes else None, planned(plan, there))
            if said != ((expected, expected) if passes else (None, None)):
                wrong.append((here.messages, there.messages, *said, expected))
    assert wrong == []


def predicted_or_error(trace: TracedRender, data: ChatData) -> str:
    try:
        return replayed(trace, data)
    except (IndexError, KeyError) as error:
        return f"({error})"
