"""``ifttool render``: what the model sees."""

from ifttool.cli import options as opt
from ifttool.cli.console import announce_stdin
from ifttool.cli.given import parsed_kwargs


def render(
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    generation_prompt: opt.GenerationPrompt = False,
    plain: opt.Plain = False,
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    output: opt.StreamOutput = "-",
    force: opt.Force = False,
    max_rejects: opt.MaxRejects = "0",
    rejects: opt.Rejects = None,
    quiet: opt.Quiet = False,
) -> int:
    """Conversations → the text the model sees, and where the trained turns are in it, as JSONL."""
    from ifttool import api
    from ifttool.cli.row_stream import write_rows

    announce_stdin(inputs, quiet=quiet)
    return write_rows(
        lambda on_reject: api.render(
            inputs or "-",
            template=template,
            tokenizer=tokenizer,
            generation_prompt=generation_prompt,
            template_name=template_name,
            template_kwargs=parsed_kwargs(template_kwargs),
            date=date,
            input_format=input_format,
            tool_arguments=tool_arguments,
            on_reject=on_reject,
        ),
        output,
        text_only=plain,
        force=force,
        max_rejects=max_rejects,
        rejects=rejects,
        quiet=quiet,
    )
