"""Folders that a run left without shards, told apart for those who look for shards in them."""

from pathlib import Path

from ifttool.errors import UsageError
from ifttool.io.atomic import REJECTS, is_interrupted
from ifttool.io.inputs import printable


def refuse_unfinished(folder: Path) -> None:
    """Say why there are no shards, if this is the output folder of a run that wasn't finished.

    Raises:
        UsageError: It is.
    """
    if not folder.is_dir():
        return
    shown = printable(str(folder)).rstrip("/")
    if is_interrupted(folder):
        raise UsageError(
            f"there are no finished shards in {shown}: the run that writes them was interrupted, or goes on",
            hint="the same command with --resume finishes a run that was interrupted",
        )
    if [entry.name for entry in folder.iterdir()] == [REJECTS]:
        raise UsageError(
            f"there are no finished shards in {shown}, just a list of rejected rows",
            hint=f"a run with more of them than --max-rejects allows writes no shards; {shown}/{REJECTS} says what "
            "is wrong with each",
        )
