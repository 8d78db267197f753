"""Options that several commands share: one name and one meaning everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="JSONL or Parquet files, globs, or - for standard input (the default). .gz, .zst and .xz are unpacked.",
        show_default=False,
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        metavar="NAME|FILE|DIR",
        help="Chat template: a built-in name, a .jinja file, a tokenizer folder or a hub id. "
        "[default: the tokenizer's own]",
        show_default=False,
    ),
]
TemplateName = Annotated[
    str | None,
    typer.Option("--template-name", metavar="NAME", help="Which of several named templates, such as tool_use."),
]
TokenizerOption = Annotated[
    str, typer.Option("--tokenizer", metavar="DIR", help="Folder with tokenizer.json, or the file itself.")
]
TemplateKwargs = Annotated[
    str | None,
    typer.Option("--template-kwargs", metavar="JSON", help="Template variables: '{\"enable_thinking\": false}'."),
]
Date = Annotated[
    str | None,
    typer.Option("--date", metavar="DATE", help="What the template's clock shows. [default: today, recorded]"),
]
UnrollOutput = Annotated[
    str,
    typer.Option("--output", "-o", metavar="OUT", help="- or a .jsonl file for conversations; else as for mask."),
]
GenerationPrompt = Annotated[
    bool, typer.Option("--generation-prompt", help="End each render with the generation prompt.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Print the text itself instead of JSONL.")]
NoLoss = Annotated[bool, typer.Option("--no-loss", help="Write input_ids and attention_mask only.")]
InputFormat = Annotated[
    str,
    typer.Option("--input-format", metavar="NAME", help="auto, messages, sharegpt, alpaca, prompt-completion or text."),
]
ToolArguments = Annotated[
    str,
    typer.Option(
        "--tool-arguments", metavar="KIND", help="Tool-call arguments as the template gets them: object, string, keep."
    ),
]
UnrollToolArguments = Annotated[
    str | None,
    typer.Option(
        "--tool-arguments",
        metavar="KIND",
        help="Tool-call arguments: object, string, keep. [default: object in shards, keep in JSONL]",
        show_default=False,
    ),
]
TrainOn = Annotated[
    str,
    typer.Option(
        "--train-on",
        metavar="WHAT",
        help="assistant-turns, final-turn, last-N-turns, all-tokens, or roles such as user,assistant.",
    ),
]
UnrollTrainOn = Annotated[
    str,
    typer.Option(
        "--train-on",
        metavar="WHAT",
        help="final-turn, or assistant-turns: earlier turns are trained in each sample too.",
    ),
]
Spans = Annotated[
    str,
    typer.Option(
        "--spans",
        metavar="SOURCE",
        help="Where the span of a model's turn comes from: the template's generation tags or the turn's completion. "
        "auto takes the tags if the template has any.",
    ),
]
TrainReasoning = Annotated[
    bool,
    typer.Option("--train-reasoning/--no-train-reasoning", help="Whether reasoning in trained turns bears loss."),
]
TrainToolCalls = Annotated[
    bool,
    typer.Option("--train-tool-calls/--no-train-tool-calls", help="Whether tool calls in trained turns bear loss."),
]
TrainEndOfTurn = Annotated[
    bool,
    typer.Option("--train-end-of-turn/--no-train-end-of-turn", help="Whether the end-of-turn token bears loss."),
]
TurnTokens = Annotated[
    str | None,
    typer.Option("--turn-tokens", metavar="MIN:MAX", help="Mask turns whose completion is shorter or longer."),
]
AppendEos = Annotated[
    bool, typer.Option("--append-eos", help="Add the EOS token where a sample's last turn ends in nothing.")
]
OnMismatch = Annotated[
    str,
    typer.Option(
        "--on-mismatch",
        metavar="WHAT",
        help="Turns that inference wouldn't see just so (see the verdicts): warn, unroll, mask, drop or error.",
    ),
]
Unroll = Annotated[
    str,
    typer.Option(
        "--unroll",
        metavar="WHEN",
        help="One sample for each trained turn: never, always, or auto where the template rewrites history.",
    ),
]
ContentSpecials = Annotated[
    str,
    typer.Option(
        "--content-specials",
        metavar="WHAT",
        help="Control tokens typed into the data: text (stay plain text), allow, error or drop.",
    ),
]
Boundary = Annotated[
    str,
    typer.Option(
        "--boundary",
        metavar="HOW",
        help="A token that straddles the start of a turn: whole keeps it, split encodes the turn on its own.",
    ),
]
Backend = Annotated[
    str, typer.Option("--backend", metavar="NAME", help="auto, tokenizers or fastokens; the ids are the same.")
]
Verify = Annotated[
    str,
    typer.Option(
        "--verify",
        metavar="ROWS",
        help="Rows done again the slow way and compared: none, sample (few, more at the start) or all.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Processes; the bytes are the same. [default: all cores]"),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="Longest sample, in tokens. [default: no limit]")
]
Overflow = Annotated[
    str,
    typer.Option(
        "--overflow",
        metavar="WHAT",
        help="Samples over --max-length: drop (and count), error, or truncate: behind the last turn that fits, else "
        "inside a turn.",
    ),
]
AllowTextMarkers = Annotated[
    bool,
    typer.Option("--allow-text-markers", help="Accept an end-of-turn marker that isn't one token of the tokenizer."),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="OUT", help="A folder of shards, or one .parquet or .arrow file.", show_default=False
    ),
]
StreamOutput = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="JSONL file, or - for standard output.")
]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="parquet or arrow.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="Columns with commas between them. [default: input_ids,loss_mask,labels,attention_mask]",
        show_default=False,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout", metavar="TRAINER", help="The columns that one trainer wants: trl, transformers, axolotl or unsloth."
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier output of ifttool.")]
MaxRejects = Annotated[
    str,
    typer.Option(
        "--max-rejects", metavar="N|P%", help="How many rows may be rejected before the run counts as failed."
    ),
]
Rejects = Annotated[
    Path | None,
    typer.Option("--rejects", metavar="FILE", help="Write rejected rows here, with reason and original bytes."),
]
WeightedInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="PATH:WEIGHT",
        help="An input with a weight: chat.jsonl:0.5 takes half of its conversations, :2 each of them twice, "
        ":1000rows so many. May be repeated.",
        show_default=False,
    ),
]
Validation = Annotated[
    float | None,
    typer.Option(
        "--validation", metavar="SHARE", help="Share of the conversations that become a validation split, such as 0.01."
    ),
]
Shuffle = Annotated[
    int | None, typer.Option("--shuffle", metavar="SEED", help="Put samples in a random order. [default: input order]")
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", metavar="N", help="So many shards, equal in samples: a multiple of your ranks."),
]
ShardTokens = Annotated[
    int | None, typer.Option("--shard-tokens", metavar="N", help="Shards of about so many tokens each.")
]
Dedup = Annotated[
    str,
    typer.Option("--dedup", metavar="HOW", help="Conversations that came before: none (keep them) or exact (drop)."),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Another seed holds out, and weighs in, other conversations.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on standard output.")]
Depfile = Annotated[
    Path | None,
    typer.Option("--depfile", metavar="FILE", help="Write what the output depends on, as a Makefile rule."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Finish a run that was interrupted, with the same bytes; keep parts on errors."),
]
