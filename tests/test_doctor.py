"""``ifttool templates``: each check on a template that has just that one property, and all published templates."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from helpers import ROOT, SAMPLES, RunCli, chat, jsonl
from ifttool.doctor.catalogue import builtin_entries
from ifttool.doctor.diagnosis import Diagnosis, diagnose
from ifttool.doctor.explain import explain
from ifttool.doctor.explanation import ADVICE
from ifttool.doctor.probes import SINGLE, VERDICT_PROBES
from ifttool.doctor.report import diagnosis_text
from ifttool.doctor.result import CheckResult, excerpt, quoted
from ifttool.doctor.subject import Subject, Unprinted, unprinted
from ifttool.errors import TemplateError
from ifttool.recipe import Recipe
from ifttool.records import Conversation
from ifttool.template.layout import Analysis
from ifttool.template.sources import builtin_names, load_template
from ifttool.template.turns import Verdict
from ifttool.tokenizer.load import load_tokenizer
from parity.corpus import all_names, template_text

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

# Nothing is wrong with this one.
CLEAN = """\
{{- bos_token }}
{%- if tools %}
    {{- '<|im_start|>tools\\n' + tools | tojson + '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation %}
            {%- if m.reasoning_content %}
                {{- '<think>\\n' + m.reasoning_content + '</think>\\n' }}
            {%- endif %}
            {{- m.content or '' }}
            {%- for call in m.tool_calls or [] %}
                {%- set arguments = call.function.arguments %}
                {{- '<call>' + call.function.name }}
                {{- arguments if arguments is string else arguments | tojson }}
                {{- '</call>' }}
            {%- endfor %}
            {{- '<|im_end|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- m.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def recipe_of(text: str, **options: Any) -> Recipe:
    fields = {"template_name": "test", "tokenizer": "default", "date": "2026-01-15", **options}
    return Recipe(template=text, **fields)


def examined(text: str, *, special_tokens: dict[str, str] = SPECIAL_TOKENS, **options: Any) -> Diagnosis:
    return diagnose(recipe_of(text, **options), special_tokens=special_tokens)


def findings(diagnosis: Diagnosis) -> dict[str, str]:
    """Status of every check that isn't ``ok``, by name."""
    return {result.name: result.status for result in diagnosis.results if result.status != "ok"}


def result_of(diagnosis: Diagnosis, name: str) -> CheckResult:
    (result,) = (result for result in (*diagnosis.results, *diagnosis.data_results) if result.name == name)
    return result


def altered(*edits: tuple[str, str]) -> str:
    """The clean template with some of its text replaced."""
    text = CLEAN
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_clean_template_has_no_findings() -> None:
    diagnosis = examined(CLEAN)
    assert findings(diagnosis) == {}
    assert not diagnosis.has_failed
    assert {result.name for result in diagnosis.results} == {
        "renders", "turns", "generation-prompt", "end-of-turn", "generation-tags", "system-prompt",
        "default-system-prompt", "reasoning", "reasoning-inline", "outer-space", "roles", "tools", "tool-calls",
        "tool-results", "tool-arguments", "null-content", "bos", "clock",
    }  # fmt: skip
    assert all(verdicts == ["exact"] * len(verdicts) for verdicts in diagnosis.turns.values() if verdicts)
    assert list(diagnosis.turns) == [probe.title for probe in VERDICT_PROBES]


ASSISTANT_START = "{%- if m.role == 'assistant' %}"
END = "{{- '<|im_end|>' }}"
SYSTEM = "{{- '<|im_start|>' + m.role + '\\n' }}"
OPENING = "{%- for m in messages %}"
THINK = "{{- '<think>\\n' + m.reasoning_content + '</think>\\n' }}"
PROMPT = "{{- '<|im_start|>assistant\\n' }}"
RAISE = "{{- raise_exception('no') }}"

# What is done to the clean template, and all that should be found then.
FAULTS: dict[str, tuple[list[tuple[str, str]], dict[str, str]]] = {
    "no tags": (
        [("{%- generation %}", ""), ("{%- endgeneration %}", "")],
        {"generation-tags": "info"},
    ),
    "tags around the header": (
        [("{%- generation %}", ""), (SYSTEM, ""),
         (ASSISTANT_START, ASSISTANT_START + "{%- generation %}" + SYSTEM),
         ("{%- else %}", "{%- else %}" + SYSTEM)],
        {"generation-tags": "warn"},
    ),
    "tags without the end": (
        [("{%- endgeneration %}", ""), (END, "{%- endgeneration %}" + END)],
        {"generation-tags": "warn"},
    ),
    "no generation prompt": ([(PROMPT, "")], {"generation-prompt": "warn", "generation-tags": "warn"}),
    "prompt opens reasoning": (
        [(PROMPT, "{{- '<|im_start|>assistant\\n<think>\\n' }}"), (THINK, ""), ("m.reasoning_content", "false")],
        {"prompt-opens-reasoning": "fail", "reasoning": "warn"},
    ),
    "prompt opens reasoning that turns may have": (
        [(PROMPT, "{{- '<|im_start|>assistant\\n<think>\\n' }}")],
        # With the reasoning that the prompt asks for, turns are exact; the tags then cover what the prompt gives.
        {"prompt-opens-reasoning": "fail"},
    ),
    "prompt closes reasoning": (
        [(PROMPT, "{{- '<|im_start|>assistant\\n<think>\\n</think>\\n' }}"),
         ("{{- m.content or '' }}", "{%- if not m.reasoning_content and '<think>' not in (m.content or '') %}"
          "{{- '<think>\\n</think>\\n' }}{%- endif %}{{- m.content or '' }}")],
        {"prompt-closes-reasoning": "warn", "generation-tags": "warn"},
    ),
    "prompt with other white space": (
        [(PROMPT, "{{- '<|im_start|>assistant\\n\\n' }}")],
        {"prompt-white-space": "fail"},
    ),
    "prompt with another header": (
        [(PROMPT, "{{- '<|im_start|>model\\n' }}")],
        {"prompt-header": "fail"},
    ),
    "prompt refused": (
        [(PROMPT, "{%- if messages[-1].role == 'tool' %}" + RAISE + "{%- endif %}" + PROMPT)],
        {"prompt-refused": "warn"},
    ),
    "system prompt moved by the turn": (
        [("{{- m.content + '<|im_end|>' }}",
          "{%- if loop.last and messages[0].role == 'system' and m.role == 'user' %}"
          "{{- messages[0].content }}{%- endif %}"
          "{%- if m.role != 'system' %}{{- m.content }}{%- endif %}{{- '<|im_end|>' }}")],
        {"system-prompt": "fail", "prompt-context": "fail"},
    ),
    "history loses reasoning": (
        [("{%- if m.reasoning_content %}", "{%- if m.reasoning_content and loop.last %}")],
        {"history-reasoning": "warn", "reasoning": "warn"},
    ),
    "history loses inline reasoning": (
        [("{{- m.content or '' }}",
          "{{- m.content or '' if loop.last else (m.content or '').split('</think>')[-1] }}")],
        {"history-reasoning": "warn", "reasoning-inline": "warn"},
    ),
    "history ends otherwise": (
        [(END, "{{- eos_token if loop.last else '<|im_end|>' }}")],
        {"history-ending": "warn", "end-of-turn": "warn"},
    ),
    "turn is rewritten": (
        [("{{- m.content or '' }}", "{%- if not loop.last %}{{- '(' }}{%- endif %}{{- m.content or '' }}")],
        {"history-turn": "warn"},
    ),
    "tools move": (
        [("{%- if tools %}", "{%- if tools and messages | length < 4 %}")],
        {"history-context": "warn", "prompt-context": "warn"},
    ),
    "no end of turn": (
        [(END, "")],
        {"end-of-turn": "warn"},
    ),
    "only parts": (
        [("{{- m.content or '' }}",
          "{%- for part in m.content or [] if m.content is not string %}{{- part.text }}{%- endfor %}")],
        {"dropped-parts": "fail"},
    ),
    "system prompt dropped": (
        [("{{- m.content + '<|im_end|>' }}", "{{- (m.content if m.role != 'system' else '') + '<|im_end|>' }}")],
        {"system-prompt": "fail"},
    ),
    "system prompt refused": (
        [(OPENING, OPENING + "{%- if m.role == 'system' %}" + RAISE + "{%- endif %}")],
        {"system-prompt": "warn", "roles": "info"},
    ),
    "default system prompt": (
        [(OPENING, "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\n"
          "You are a careful and helpful assistant.<|im_end|>\\n' }}{%- endif %}" + OPENING)],
        {"default-system-prompt": "info"},
    ),
    "standing text": (
        [(OPENING, "{{- 'The following is a conversation with a machine.\\n' }}" + OPENING)],
        {"default-system-prompt": "info"},
    ),
    "no reasoning": ([("m.reasoning_content", "false"), (THINK.replace("m.reasoning_content", "false"), "")],
                     {"reasoning": "warn"}),
    "no inline reasoning": (
        [("{{- m.content or '' }}", "{{- (m.content or '').split('</think>')[-1] }}")],
        {"reasoning-inline": "warn"},
    ),
    "no tools": ([("{%- if tools %}", "{%- if false %}")], {"tools": "warn"}),
    "tools refused": (
        [("{%- if tools %}", "{%- if tools %}" + RAISE)],
        {"tools": "warn", "tool-calls": "warn"},
    ),
    "no tool calls": (
        [("m.tool_calls or []", "[]")],
        {"tool-calls": "warn", "dropped-tool-calls": "warn"},
    ),
    "no tool results": (
        [("{{- m.content + '<|im_end|>' }}", "{{- (m.content if m.role != 'tool' else '') + '<|im_end|>' }}")],
        {"tool-results": "warn"},
    ),
    "arguments as strings only": (
        [("arguments if arguments is string else arguments | tojson", "'' + arguments")],
        {"tool-arguments": "warn", "tool-calls": "warn"},
    ),
    "arguments escaped": (
        [("arguments if arguments is string else arguments | tojson", "arguments | tojson")],
        {"tool-arguments": "info"},
    ),
    "arguments as Python": (
        [("arguments if arguments is string else arguments | tojson", "arguments | string")],
        {"tool-arguments": "warn"},
    ),
    "null content printed": (
        [("{{- m.content or '' }}", "{{- m.content }}")],
        {"null-content": "info"},
    ),
    "absent content refused": (
        [("{{- m.content or '' }}", "{{- '' + m.content }}")],
        {"null-content": "warn"},
    ),
    "white space trimmed": (
        [("{{- m.content or '' }}", "{{- (m.content or '') | trim }}")],
        {"outer-space": "info"},
    ),
    "developer dropped": (
        [("{{- m.content + '<|im_end|>' }}",
          "{{- (m.content if m.role != 'developer' else '') + '<|im_end|>' }}")],
        {"roles": "warn"},
    ),
    "roles must alternate": (
        [(OPENING, OPENING + "{%- if loop.previtem is defined and m.role == loop.previtem.role %}"
          + RAISE + "{%- endif %}")],
        {"roles": "info"},
    ),
    "the day": (
        [(OPENING, "{{- strftime_now('%Y') }}" + OPENING)],
        {"clock": "warn"},
    ),
    "the day under a condition": (
        [(OPENING, "{%- if dated is defined %}{{- strftime_now('%Y') }}{%- endif %}" + OPENING)],
        {"clock": "info"},
    ),
    "double bos": ([("{{- bos_token }}", "{{- bos_token + bos_token }}")], {"bos": "fail"}),
    "no bos": ([("{{- bos_token }}", "")], {"bos": "info"}),
    "bos every round": (
        [("{{- bos_token }}", ""),
         (OPENING, OPENING + "{%- if m.role != 'assistant' %}{{- bos_token }}{%- endif %}")],
        {"bos": "info"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_nothing_else(fault: str) -> None:
    edits, expected = FAULTS[fault]
    assert findings(examined(altered(*edits))) == expected


# -- what is said --------------------------------------------------------------------------------------------


def fault(name: str) -> Diagnosis:
    return examined(altered(*FAULTS[name][0]))


@pytest.mark.parametrize(
    ("name", "result", "finding"),
    [
        (
            "prompt opens reasoning", "prompt-opens-reasoning",
            "the generation prompt ends in '<think>\\n', and the recorded turn doesn't have that: the model "
            "would be trained to answer without the opening it is given at inference",
        ),
        (
            "prompt with other white space", "prompt-white-space",
            "but for white space the generation prompt would be what precedes the turn: it ends in "
            "'<|im_end|>\\n<|im_start|>assistant\\n\\n', the turn opens with "
            "'<|im_end|>\\n<|im_start|>assistant\\n'",
        ),
        (
            "prompt with another header", "prompt-header",
            "the generation prompt ends in '<|im_end|>\\n<|im_start|>model\\n', but the recorded turn is opened "
            "with '<|im_end|>\\n<|im_start|>assistant\\n'",
        ),
        (
            "system prompt moved by the turn", "prompt-context",
            "adding the turn rewrites what stands before it: the system prompt is no longer written",
        ),
        (
            "system prompt moved by the turn", "system-prompt",
            "the system prompt is left out without a word unless a user message comes last: "
            "servers send it, training never sees it",
        ),
        ("history loses reasoning", "history-reasoning", "the turn loses its reasoning once more messages follow"),
        (
            "history loses inline reasoning", "history-reasoning",
            "the turn loses its reasoning block once more messages follow",
        ),
        (
            "history ends otherwise", "history-ending",
            "as the last message the turn ends in '</s>'; with messages after it, it goes on with "
            "'<|im_end|>\\n<|im_start|>'",
        ),
        ("history ends otherwise", "end-of-turn",
         "the last turn ends in '</s>', earlier turns in nothing that is trained"),
        (
            "tools move", "history-context",
            "what stands before the turn changes once more messages follow: "
            "the list of tools is no longer written",
        ),
        (
            "only parts", "dropped-parts",
            "the template writes contents that are lists of parts only, and skips plain strings",
        ),
        (
            "no generation prompt", "generation-prompt",
            "the template ignores add_generation_prompt, so that '<|im_start|>assistant\\n' "
            "is trained in every turn",
        ),
        (
            "tags around the header", "generation-tags",
            "{% generation %} tags begin inside the generation prompt: "
            "'<|im_start|>assistant\\n' would be trained",
        ),
        ("tags without the end", "generation-tags", "{% generation %} tags end early: '<|im_end|>' isn't in them"),
        ("null content printed", "null-content",
         "a null content is written as None; ifttool leaves null keys out, so its texts are right"),
        ("white space trimmed", "outer-space", "outer white space is trimmed from assistant messages"),
        ("developer dropped", "roles", "text is left out without a word: a developer message"),
        ("double bos", "bos", "the beginning of sequence is written twice: '<s><s>'"),
        ("bos every round", "bos", "<s> is written 3 times in a chat of three rounds"),
        ("history loses reasoning", "reasoning", "reasoning_content is written in the last turn only"),
        ("no reasoning", "reasoning", "reasoning_content is left out, even of the last turn"),
    ],
)  # fmt: skip
def test_findings_are_said_in_plain_words(name: str, result: str, finding: str) -> None:
    assert result_of(fault(name), result).finding == finding


def test_a_prompt_verdict_shows_both_texts_and_where() -> None:
    result = result_of(fault("prompt opens reasoning"), "prompt-opens-reasoning")
    assert dict(result.evidence) == {
        "at inference": "…er?<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "in training": "…er?<|im_end|>\n<|im_start|>assistant\nA number with exactly two divisors.<…",
        "turns": "one round 1; three rounds 1, 2, 3; system prompt 1, 2, 3; tools on offer 1; tool call 1, 2, 3; "
        "reasoning_content 1, 2, 3",
    }
    assert result.advice == ADVICE["prompt-opens-reasoning"]


def test_a_refused_prompt_quotes_the_template() -> None:
    result = result_of(fault("prompt refused"), "prompt-refused")
    assert result.evidence[0] == ("it says", "no")


def test_the_templates_own_switch_is_advised_where_it_helps() -> None:
    thinking = "{%- if enable_thinking is not defined or enable_thinking %}{{- '<think>\\n' }}{%- endif %}"
    text = altered((PROMPT, PROMPT + thinking))
    result = result_of(examined(text), "prompt-opens-reasoning")
    assert result.advice.startswith("--template-kwargs '{\"enable_thinking\": false}' makes these turns exact")
    switched = examined(text, template_kwargs={"enable_thinking": False})
    assert "prompt-opens-reasoning" not in findings(switched)


def test_a_template_that_refuses_every_chat_fails_and_nothing_else_is_guessed() -> None:
    diagnosis = examined("{{ raise_exception('only for translation') }}")
    assert findings(diagnosis) == {"renders": "fail"}
    assert result_of(diagnosis, "renders").evidence == (("it says", "only for translation"),)
    assert set(diagnosis.turns.values()) == {None}


def test_a_template_that_prints_nothing_fails() -> None:
    assert findings(examined("{# nothing #}")) == {"renders": "fail"}


def test_a_turn_that_is_first_has_no_prompt() -> None:
    subject = Subject(recipe_of(CLEAN), SPECIAL_TOKENS)
    conversation = Conversation([{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi."}])
    assert explain(subject.template, conversation, 0, Verdict.PROMPT).cause == "prompt-first-turn"


def test_an_empty_turn_that_leaves_no_trace_is_explained() -> None:
    template = Subject(recipe_of("{%- for m in messages %}{{- m.content }}{%- endfor %}"), {}).template
    conversation = Conversation([{"role": "user", "content": "Hi."}, {"role": "assistant", "content": ""}])
    assert explain(template, conversation, 1, Verdict.DROPPED).cause == "dropped-empty"


def test_a_turn_written_only_while_it_is_last_is_explained() -> None:
    diagnosis = examined("{{- messages[-1].content + '</s>' }}")
    causes = {name for name in findings(diagnosis) if name.startswith(("dropped", "prompt", "history"))}
    assert "dropped-last-only" in causes


def test_an_exact_turn_has_nothing_to_explain() -> None:
    template = Subject(recipe_of(CLEAN), SPECIAL_TOKENS).template
    with pytest.raises(ValueError, match="needs no explanation"):
        explain(template, SINGLE.conversation, 1, Verdict.EXACT)


def test_unprinted_parts_are_told_by_provenance_not_by_text() -> None:
    """The reply's text stands in the render, but it is the user's."""
    subject = Subject(recipe_of("{%- for m in messages if m.role == 'user' %}{{- m.content }}{%- endfor %}"), {})
    conversation = Conversation(
        [
            {"role": "user", "content": "yes"},
            {"role": "assistant", "content": "yes", "reasoning_content": "Hm.", "tool_calls": [{"function": {}}]},
            {"role": "tool", "content": " "},
        ],
        tools=[{"type": "function"}],
    )
    analysis = subject.try_analyse(conversation)
    assert isinstance(analysis, Analysis)
    assert unprinted(conversation, analysis) == [
        Unprinted(-1, "tools"),
        Unprinted(1, "content"),
        Unprinted(1, "reasoning"),
        Unprinted(1, "tool calls"),
    ]


def test_excerpts_are_short_and_marked_where_cut() -> None:
    text = "a" * 50 + "|" + "b" * 50
    assert excerpt(text, 50) == "…" + "a" * 36 + "|" + "b" * 35 + "…"
    assert excerpt("short", 2) == "short"
    assert quoted("x\n" * 100) == repr("x\n" * 36 + "…")


# -- with a tokenizer ----------------------------------------------------------------------------------------


def write_tokenizer(folder: Path, *, tokens: list[str], adds_bos: bool) -> Path:
    """A tokenizer folder that knows the given tokens, and perhaps puts <s> in front of every text."""
    folder.mkdir()
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<s>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens([AddedToken(token, special=True) for token in ["<s>", *tokens]])
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    (folder / "chat_template.jinja").write_text(CLEAN)
    return folder


MARKERS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]


def doctor_json(cli: RunCli, *arguments: object, code: int) -> dict[str, Any]:
    result = cli("templates", "doctor", "--json", *arguments)
    assert result.code == code, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def statuses(report: dict[str, Any], prefix: str) -> dict[str, str]:
    return {check["name"]: check["status"] for check in report["checks"] if check["name"].startswith(prefix)}


@pytest.mark.parametrize(
    ("tokens", "adds_bos", "expected"),
    [
        (MARKERS, False, {"tokenizer-bos": "ok", "tokenizer-markers": "ok"}),
        (MARKERS, True, {"tokenizer-bos": "info", "tokenizer-markers": "ok"}),
        (MARKERS[:2], False, {"tokenizer-bos": "ok", "tokenizer-markers": "warn"}),
        (["<|im_start|>", "<think>", "</think>"], False, {"tokenizer-bos": "ok", "tokenizer-markers": "fail"}),
    ],
)
def test_a_template_is_checked_with_its_tokenizer(
    tmp_path: Path, tokens: list[str], adds_bos: bool, expected: dict[str, str]
) -> None:
    tokenizer = load_tokenizer(str(write_tokenizer(tmp_path / "model", tokens=tokens, adds_bos=adds_bos)))
    diagnosis = diagnose(recipe_of(CLEAN), special_tokens=tokenizer.special_tokens, tokenizer=tokenizer)
    found = {result.name: result.status for result in diagnosis.results if result.name.startswith("tokenizer")}
    assert found == expected
    assert diagnosis.has_failed == ("fail" in expected.values())


def test_a_tokenizer_folder_brings_its_own_template_and_tokenizer(tmp_path: Path, cli: RunCli) -> None:
    folder = write_tokenizer(tmp_path / "model", tokens=MARKERS, adds_bos=False)
    report = doctor_json(cli, folder, code=0)
    assert report["template"] == "tokenizer:model"
    assert statuses(report, "tokenizer") == {"tokenizer-bos": "ok", "tokenizer-markers": "ok"}


def test_a_folder_without_tokenizer_json_still_names_its_special_tokens(tmp_path: Path, cli: RunCli) -> None:
    folder = write_tokenizer(tmp_path / "model", tokens=[], adds_bos=False)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<first>"}')
    report = doctor_json(cli, folder, code=0)
    assert statuses(report, "tokenizer") == {}
    bos = next(check for check in report["checks"] if check["name"] == "bos")
    assert bos["finding"] == "the template begins with <first>, once"


def test_a_tokenizer_that_adds_what_the_template_lacks_is_a_warning(tmp_path: Path, cli: RunCli) -> None:
    folder = write_tokenizer(tmp_path / "model", tokens=MARKERS, adds_bos=True)
    report = doctor_json(cli, "chatml", "--tokenizer", folder, code=0)
    assert statuses(report, "tokenizer") == {"tokenizer-bos": "warn", "tokenizer-markers": "ok"}


def test_without_a_tokenizer_nothing_is_said_about_one(cli: RunCli) -> None:
    assert statuses(doctor_json(cli, "chatml", code=0), "tokenizer") == {}


# -- on the user's rows --------------------------------------------------------------------------------------


def test_rows_are_counted_by_verdict_cause_and_refusal(tmp_path: Path, cli: RunCli) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(
        jsonl(
            chat("a", "b"),
            chat("a", "b", "c", "d"),
            chat("e", "f", "g", "h"),
            {"messages": [{"role": "robot", "content": "x"}, {"role": "assistant", "content": "y"}]},
            {"nothing": 1},
        )
    )
    report = doctor_json(cli, "qwen3", data, code=0)
    assert {name: count for name, count in report["data"].items() if name != "checks"} == {
        "rows": 4,
        "refused": 1,
        "turns": 5,
        "verdicts": {"exact": 3, "history": 2},
        "causes": {"history-reasoning": 2},
    }
    history, refused = sorted(report["data"]["checks"], key=lambda check: check["name"])
    assert history["name"] == "data-history-reasoning"
    assert history["status"] == "warn"
    assert history["evidence"][0] == {"label": "first", "text": f"{data}:2"}
    assert refused["name"] == "data-refused"
    assert refused["status"] == "warn"
    assert refused["finding"] == "1 row would be rejected with IFT301"
    assert refused["evidence"] == [
        {"label": "first", "text": f"{data}:4"},
        {"label": "reason", "text": "qwen3 has no markup for the role robot"},
    ]


def test_text_that_a_template_leaves_out_of_rows_fails(tmp_path: Path, cli: RunCli) -> None:
    data = tmp_path / "rows.jsonl"
    template = tmp_path / "t.jinja"
    template.write_text(altered(*FAULTS["system prompt dropped"][0]))
    data.write_bytes(
        jsonl(chat("a", "b"), {"messages": [{"role": "system", "content": "s"}, *chat("a", "b")["messages"]]})
    )
    report = doctor_json(cli, template, data, code=1)
    (check,) = report["data"]["checks"]
    assert check["name"] == "data-unprinted"
    assert check["status"] == "fail"
    assert check["finding"] == "1 row has text that isn't written: content of system messages"
    assert check["evidence"] == [{"label": "first", "text": f"{data}:2"}]


def test_the_limit_is_kept_and_training_flags_decide_what_a_turn_is(tmp_path: Path, cli: RunCli) -> None:
    data = tmp_path / "rows.jsonl"
    flagged = chat("a", "b")
    flagged["messages"][1]["train"] = False
    data.write_bytes(jsonl(flagged, chat("a", "b"), chat("a", "b")))
    report = doctor_json(cli, "chatml", data, "--limit", 2, code=0)
    assert (report["data"]["rows"], report["data"]["turns"]) == (2, 1)


def test_all_rows_refused_is_a_failure(tmp_path: Path, cli: RunCli) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(jsonl({"messages": [{"role": "system", "content": "s"}, *chat("a", "b")["messages"]]}))
    report = doctor_json(cli, "gemma", data, code=1)
    assert [check["name"] for check in report["data"]["checks"]] == ["data-refused"]


def test_samples_are_read_and_unreadable_rows_named(cli: RunCli) -> None:
    result = cli("templates", "doctor", "chatml", SAMPLES / "bad.jsonl", SAMPLES / "chat.jsonl")
    assert "IFT102" in result.err
    assert result.err.endswith("unreadable rows left out\n")
    assert "your data: " in result.out


# -- the commands --------------------------------------------------------------------------------------------


def test_doctor_prints_plain_lines_and_gates_on_failures(cli: RunCli) -> None:
    result = cli("templates", "doctor", "deepseek-r1-distill")
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0].startswith("template deepseek-r1-distill  sha256 ")
    assert "three rounds        prompt   prompt  prompt" in lines
    assert "fail  prompt-opens-reasoning: the generation prompt ends in '<think>\\n', and the recorded turn" in lines
    assert "        at inference  …What is a prime number?<｜Assistant｜><think>\\n" in lines
    assert lines[-1].startswith("1 fail, ")
    assert cli("templates", "doctor", "chatml").code == 0


@pytest.mark.parametrize("arguments", [("no-such-template",), ("chatml", "--template-kwargs", "["), ("chatml", "none")])
def test_what_cannot_be_used_is_a_usage_error(cli: RunCli, arguments: tuple[str, ...]) -> None:
    assert cli("templates", "doctor", *arguments).code == 2


def test_control_characters_of_data_never_reach_the_terminal(tmp_path: Path) -> None:
    text = altered((PROMPT, "{{- '\\x1b[31m<|im_start|>\\x07\\n' }}"))
    report = diagnosis_text(examined(text))
    assert "\\x1b[31m" in report
    assert all(char.isprintable() or char == "\n" for char in report)


def test_list_names_every_builtin_with_what_it_writes(cli: RunCli) -> None:
    entries = {entry.name: entry for entry in builtin_entries()}
    assert list(entries) == builtin_names()
    assert entries["qwen3"].tags == ("system", "tools", "tool-calls", "reasoning")
    assert entries["gemma"].tags == ()
    assert entries["zephyr"].used_by == "zephyr-7b-alpha and -beta, StableLM Zephyr, TinyLlama Chat, OmniLMM."
    assert all(entry.used_by for entry in entries.values())
    lines = cli("templates", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == builtin_names()
    listed = json.loads(cli("templates", "list", "--json").out)["templates"]
    assert listed == [entry.as_json() for entry in entries.values()]


def test_show_prints_a_template_to_the_letter(tmp_path: Path, cli: RunCli) -> None:
    assert cli("templates", "show", "chatml").out == load_template("chatml").text
    folder = write_tokenizer(tmp_path / "model", tokens=MARKERS, adds_bos=False)
    assert cli("templates", "show", folder).out == CLEAN
    assert cli("templates", "show", "none").code == 2


# -- every published template --------------------------------------------------------------------------------


def check_published(name: str) -> None:
    """The examination ends, and every turn that isn't exact is counted under one explained cause."""
    try:
        diagnosis = examined(template_text(name))
    except TemplateError:
        return
    odd = [v for turns in diagnosis.turns.values() for v in turns or [] if v != "exact"]
    explained = []
    for result in diagnosis.results:
        assert result.finding
        verdict = result.name.partition("-")[0]
        if verdict in {v.value for v in Verdict}:
            assert result.advice
            places = dict(result.evidence)["turns"]
            explained += [verdict] * sum(len(place.split(", ")) for place in places.split("; "))
    assert sorted(explained) == sorted(odd)
    assert "\x00" not in diagnosis_text(diagnosis)


@pytest.mark.parametrize("name", all_names()[::25])
def test_published_templates_are_explained(name: str) -> None:
    check_published(name)


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_all_published_templates_are_explained(name: str) -> None:
    check_published(name)


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_templates_are_examined(name: str) -> None:
    """None of ours drops text or can't be rendered; one is known for its prompt."""
    failed = {result.name for result in examined(load_template(name).text).results if result.status == "fail"}
    assert failed == ({"prompt-opens-reasoning"} if name == "deepseek-r1-distill" else set())


def test_every_cause_is_in_the_docs() -> None:
    docs = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    assert [cause for cause in ADVICE if f"`{cause}`" not in docs] == []
