"""Packing: finished samples → rows of several whole samples each, as full as best fit makes them.

``planner`` decides from lengths alone, ``inputs`` reads shards, ``spill`` brings rows from input order into pack order
in bounded memory, ``schema`` and ``writer`` make the files, ``runner`` does one after the other.
"""
