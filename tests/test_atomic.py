"""Output files are absent or whole, and --force removes nothing that isn't ours."""

import errno
import os
from pathlib import Path

import pytest

from ifttool.errors import RunError, UsageError
from ifttool.io.atomic import SUCCESSOR, atomic_writer, prepare_output_dir, replace_output, write_bytes_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    with atomic_writer(target) as file:
        file.write(b"abc")
        [temporary] = names(tmp_path)
        assert temporary.startswith(".")
        assert temporary.endswith(".tmp")
    assert names(tmp_path) == ["out.parquet"]
    assert target.read_bytes() == b"abc"
    write_bytes_atomic(target, b"def")
    assert target.read_bytes() == b"def"


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_exception_leaves_the_old_file(tmp_path: Path, exception: type[BaseException]) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(exception), atomic_writer(target) as file:
        file.write(b"new")
        raise exception
    assert names(tmp_path) == ["out"]
    assert target.read_bytes() == b"old"


def test_long_names_links_and_permissions(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / ("n" * 255), b"x")
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real / "file")
    write_bytes_atomic(link, b"x")
    assert link.is_symlink()
    assert (real / "file").read_bytes() == b"x"
    (tmp_path / "plain").write_bytes(b"")
    assert (real / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_refused_steps_are_run_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(*((Path, step) if step == "replace" else (os, step)), fail)
        with pytest.raises(RunError) as caught:
            write_bytes_atomic(target, b"x")
    assert caught.value.message == f"can't write {target}: {os.strerror(code)}"
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_full_disk_at_write_and_at_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    real_open = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, mode=0o777: real_open("/dev/full", os.O_WRONLY) if flags & os.O_EXCL
        else real_open(path, flags, mode)
    )  # fmt: skip
    with pytest.raises(RunError, match="No space left on device"), atomic_writer(tmp_path / "out") as file:
        file.write(b"x" * size)
    assert names(tmp_path) == []


def test_missing_folder_and_foreign_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        write_bytes_atomic(tmp_path / "no" / "out", b"x")
    with pytest.raises(FileNotFoundError), atomic_writer(tmp_path / "out"):
        (tmp_path / "other").read_bytes()
    assert names(tmp_path) == []


# --- the output folder -----------------------------------------------------------------------


def make(folder: Path, *entries: str) -> Path:
    for entry in entries:
        path = folder / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"tool": "ifttool"}' if path.name == "manifest.json" else "x")
    return folder


COMPLETE = (
    "manifest.json", "README.md", "rejects.jsonl", "data/train-0.parquet",
    "provenance/train-0.parquet", "tokenizer/tokenizer.json",
)  # fmt: skip


def test_new_and_empty_folders(tmp_path: Path) -> None:
    for force in (False, True):
        folder = tmp_path / f"a/{force}"
        assert prepare_output_dir(folder, force=force) == folder
        assert prepare_output_dir(folder, force=force) == folder
        assert names(folder) == []


def test_full_folder_needs_force(tmp_path: Path) -> None:
    folder = make(tmp_path / "out", *COMPLETE)
    with pytest.raises(UsageError, match="isn't empty") as caught:
        prepare_output_dir(folder, force=False)
    assert "--force" in caught.value.hint
    assert len(names(folder)) == 6
    # A second time, after the first run was killed: it starts anew.
    for _ in range(2):
        assert prepare_output_dir(folder, force=True) == folder / SUCCESSOR
        assert names(folder / SUCCESSOR) == []
        assert names(folder) == [SUCCESSOR, *sorted({entry.split("/")[0] for entry in COMPLETE})]
        make(folder / SUCCESSOR, "data/part")


def test_an_output_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = make(tmp_path / "out", *COMPLETE)
    new = make(prepare_output_dir(folder, force=True), "manifest.json", "data/new", ".ifttool-0123.tmp")
    make(folder, ".ifttool-old.tmp/data/x")  # a run was killed in the middle of this
    replace_output(folder)
    assert names(folder) == ["data", "manifest.json"]
    assert names(folder / "data") == ["new"]
    assert not new.exists()


@pytest.mark.parametrize("count", range(8))
def test_a_replacement_that_fails_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    folder = make(tmp_path / "out", *COMPLETE)
    before = {path for path in folder.rglob("*") if path.is_file()}
    make(prepare_output_dir(folder, force=True), "manifest.json", "data/new")
    rename, moved = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        moved.append(self)
        if len(moved) == count + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if len(moved) <= count and self.name == "manifest.json":
            assert len(moved) in (1, 8)  # the old one goes first, the new one comes last
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(RunError, match="can't replace the output"):
        replace_output(folder)
    assert len(moved) == 2 * count + 1
    left = {path for path in folder.rglob("*") if path.is_file() and SUCCESSOR not in path.parts}
    assert left == before


def test_interrupted_output_is_ours(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", "data/train-0.parquet", ".ifttool-0123.tmp")
    prepare_output_dir(folder, force=True)
    assert names(folder) == []
    folder = make(tmp_path / "b", "data/train-0.parquet", "provenance/train-0.parquet")
    prepare_output_dir(folder, force=True)
    assert names(folder) == []
    folder = make(tmp_path / "c", ".ifttool-0123.tmp")
    prepare_output_dir(folder, force=False)
    assert names(folder) == []


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((*COMPLETE, "notes.txt"), "didn't write: notes.txt"),
        ((*COMPLETE, ".git/config"), "didn't write: .git"),
        (("README.md", "data/train.parquet"), "doesn't look like an output"),
        (("data/train.parquet",), "doesn't look like an output"),
    ],
)
def test_force_spares_what_is_not_ours(tmp_path: Path, entries: tuple[str, ...], message: str) -> None:
    folder = make(tmp_path / "out", *entries)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match=message):
        prepare_output_dir(folder, force=True)
    assert sorted(folder.rglob("*")) == before


def test_other_manifest_is_not_ours(tmp_path: Path) -> None:
    folder = make(tmp_path / "out", "data/x")
    (folder / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(UsageError, match="doesn't look like an output"):
        prepare_output_dir(folder, force=True)
    assert names(folder) == ["data", "manifest.json"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", "keep.txt")
    folder = make(tmp_path / "out", "manifest.json")
    (folder / "data").symlink_to(elsewhere)
    make(prepare_output_dir(folder, force=True), "manifest.json")
    replace_output(folder)
    assert names(folder) == ["manifest.json"]
    assert names(elsewhere) == ["keep.txt"]


def test_file_in_the_way(tmp_path: Path) -> None:
    make(tmp_path, "out")
    with pytest.raises(UsageError, match="is a file"):
        prepare_output_dir(tmp_path / "out", force=True)
    with pytest.raises(RunError, match="can't prepare"):
        prepare_output_dir(tmp_path / "out" / "below", force=True)
