"""ifttool beside Jinja, ``transformers`` and ``tokenizers``: the same texts, ids and masks."""
