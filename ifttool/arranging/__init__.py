"""From the parts of a run to its shards: which conversations, in which split, in which order, in how many files."""
