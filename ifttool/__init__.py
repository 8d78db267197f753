"""ifttool: chat conversations → training shards with loss masks that are right on every chat template."""

__version__ = "0.1.0"
