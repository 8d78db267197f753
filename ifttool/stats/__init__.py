"""Figures of conversations and of finished shards, from counters that merge exactly."""

from ifttool.stats.conversations import conversation_stats
from ifttool.stats.counters import Distribution, LongSample, Stats
from ifttool.stats.finished_shards import is_shards, shard_stats

__all__ = ["Distribution", "LongSample", "Stats", "conversation_stats", "is_shards", "shard_stats"]
