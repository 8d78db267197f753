"""Options as a user gives them → a recipe. Reads the template; touches no data."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ifttool.errors import TemplateError
from ifttool.recipe import Recipe
from ifttool.template.sources import TemplateSource, load_template
from ifttool.tokenizer.load import check_tokenizer_file
from ifttool.tokenizer.locate import DEFAULT_TOKENIZER, locate_tokenizer

DEFAULT_TEMPLATE = "chatml"


def resolve_recipe(
    *,
    template: str | None = None,
    template_name: str | None = None,
    tokenizer: str = DEFAULT_TOKENIZER,
    date: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Recipe:
    """Build a recipe from options.

    Args:
        template: A built-in name, a file, a tokenizer folder or a hub id; None for the tokenizer's own template.
        template_name: Which of several named templates.
        tokenizer: A folder, a ``tokenizer.json``, or ``default``.
        date: What ``strftime_now`` reads; None for today, which the manifest then records.
        template_kwargs: Extra template variables.
        options: Further fields of :class:`ifttool.recipe.Recipe`.

    Raises:
        UsageError: An option can't be used.
        TemplateError: The template isn't found.
        TokenizerError: The template is the tokenizer's own, and there is no such tokenizer, or the file isn't one.
    """
    source = _template_source(template, template_name, tokenizer)
    return Recipe(
        template=source.text,
        template_name=source.name,
        tokenizer=tokenizer,
        date=date if date is not None else datetime.now(UTC).date().isoformat(),
        template_kwargs=dict(template_kwargs or {}),
        **options,
    )


def _template_source(template: str | None, name: str | None, tokenizer: str) -> TemplateSource:
    if template is not None:
        return load_template(template, name=name)
    if tokenizer == DEFAULT_TOKENIZER and not Path(tokenizer).exists():
        return load_template(DEFAULT_TEMPLATE)
    file = locate_tokenizer(tokenizer)
    try:
        return load_template(str(file.parent), name=name)
    except TemplateError as error:
        # That there is no template beside it says nothing to somebody whose file is no tokenizer at all.
        check_tokenizer_file(file)
        raise TemplateError(
            f"{error.message}", hint=error.hint or "name a chat template with --template, such as chatml"
        ) from error
