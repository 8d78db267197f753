"""Real tokenizers beside the project (``../shared/data/tokenizers``); none of them is part of it."""

from pathlib import Path

TOKENIZERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers"


def folders() -> dict[str, Path]:
    """Tokenizer folders by name; empty where the shared data isn't there."""
    return {path.parent.name: path.parent for path in sorted(TOKENIZERS.glob("*/tokenizer.json"))}
