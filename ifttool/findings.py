"""Stable codes for everything that can be said about a row. Codes are never reused."""

CODES: dict[str, str] = {
    # 1xx: bytes and JSON
    "IFT101": "invalid UTF-8",
    "IFT102": "invalid JSON",
    "IFT103": "duplicate key",
    "IFT104": "not a JSON object",
    "IFT105": "nested too deeply",
    "IFT106": "line too long",
    "IFT107": "lone surrogate",
    "IFT108": "more than one value on the line",
    "IFT109": "last line is cut off",
    "IFT110": "number that JSON can't carry",
    # 2xx: conversation
    "IFT201": "unknown row shape",
    "IFT202": "malformed conversation",
    "IFT203": "part that isn't text",
    "IFT204": "malformed tool call",
    "IFT205": "conflicting training flags",
    # 3xx: template
    "IFT301": "rejected by the template",
    "IFT302": "template failed",
    "IFT303": "empty render",
    "IFT304": "turn can't be located",
    "IFT305": "text that the template leaves out",
    # 4xx: tokens and masks
    "IFT401": "nothing to train on",
    "IFT402": "longer than the limit",
    "IFT403": "control token in content",
    "IFT404": "tokenizer failed",
    "IFT405": "row killed its worker",
    "IFT406": "duplicate of an earlier conversation",
    "IFT407": "left out by the weight of its input",
    # 5xx: verdicts of trained turns
    "IFT501": "turn is rendered differently as history",
    "IFT502": "generation prompt isn't what precedes the turn",
    "IFT503": "turn isn't in the render",
    "IFT504": "turn has no end-of-turn token",
    "IFT505": "token straddles the start of a completion",
    "IFT506": "sample truncated inside a turn",
}
"""Code → short title. 1xx-4xx reject a row; 5xx are findings about rows that are kept."""
