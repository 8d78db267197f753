"""How input files are cut into units of work."""

from pathlib import Path

import pytest

from ifttool.split import read_splits


@pytest.mark.parametrize(
    ("lines", "number"), [(500, 1), (501, 2), (1000, 2), (1001, 4), (2000, 4), (2001, 8), (4000, 8)]
)
def test_splits_are_alike_and_come_by_fours(tmp_path: Path, lines: int, number: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1\n" * lines)
    sizes = [split.size for split in read_splits([str(path)], split_bytes=1000)]
    assert len(sizes) == number
    assert sum(sizes) == 2 * lines
    # A split ends with the line that reaches its size.
    assert max(sizes) <= min(1000, 2 * lines / number + 2)
    assert min(sizes) >= 2 * lines / number - 2 * number
