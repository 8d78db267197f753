"""What identifies a conversation, and chances that depend on nothing else. A leaf but for the record types."""

import hashlib
import json

from ifttool.records import Conversation

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode

CERTAIN = 1 << 64
"""Every chance is below it."""


def conversation_key(conversation: Conversation) -> bytes:
    """What a conversation says, as 16 bytes: its messages and tools, whatever the order of keys in their objects.

    Identifiers and training flags don't count: a conversation that comes twice under two names is in one split.
    """
    content = _encode([conversation.messages, conversation.tools])
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def example_key(conversation: Conversation, key: bytes) -> bytes:
    """What a conversation teaches, as 16 bytes: what it says (``key``), and what its rows say about training on it."""
    if all(flag is None for flag in conversation.train):
        return key
    return hashlib.blake2b(key + repr(conversation.train).encode(), digest_size=16).digest()


def chance(key: bytes, purpose: str, seed: int) -> int:
    """A number below :data:`CERTAIN`, uniform over keys and independent between purposes and seeds.

    Args:
        key: What the number belongs to.
        purpose: What is decided by it, up to 16 bytes.
        seed: Another seed gives another number.
    """
    digest = hashlib.blake2b(key, digest_size=8, key=str(seed).encode(), person=purpose.encode())
    return int.from_bytes(digest.digest(), "little")
