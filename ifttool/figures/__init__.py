"""Figures of conversations and of finished shards, from counters that merge exactly."""

from ifttool.figures.conversations import conversation_stats
from ifttool.figures.counters import Distribution, LongSample, Stats
from ifttool.figures.finished_shards import is_shards, shard_stats

__all__ = ["Distribution", "LongSample", "Stats", "conversation_stats", "is_shards", "shard_stats"]
