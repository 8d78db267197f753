"""Encoders that give ids only: the fast one is loaded when it pays, and is never less than exact."""

import hashlib
import json
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from ifttool.errors import TokenizerError
from ifttool.tokenizer import fast_load, flat, load
from ifttool.tokenizer.fast_load import FastLoad
from ifttool.tokenizer.flat import flat_encoder
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.tokenizer.locate import locate_tokenizer

pytest.importorskip("fastokens")

TEXTS = ["Hello <|im_end|>\n", "", "cafe\u0301 中文 12345", "x" * 100]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The tokenizer in the package."""
    return load_tokenizer("default")


def test_little_text_never_loads_the_fast_encoder(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = fast_load.load_fast

    def watched(text: str) -> Any:
        loaded.append(text)
        return load(text)

    monkeypatch.setattr(fast_load, "load_fast", watched)
    monkeypatch.setattr(flat, "_SMALL_CHARS", 200)
    encoder, reference = flat_encoder(tokenizer, "auto"), flat_encoder(tokenizer, "tokenizers")
    expected = reference.encode(TEXTS)
    for times in (0, 1, 1):  # 128 characters, then 256
        got = encoder.encode(TEXTS)
        assert len(loaded) == times
        assert got[0].dtype == np.int32
        assert np.array_equal(got[0], expected[0])
        assert got[1].tolist() == expected[1].tolist()
    assert encoder.name == "fastokens"


def test_an_encoder_that_was_begun_early_is_used(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    early = FastLoad("default")
    early.result()
    for module in (fast_load, flat):
        monkeypatch.setattr(module, "load_fast", lambda _text: pytest.fail("it was loaded already"))
    encoder = flat_encoder(tokenizer, "fastokens", early)
    assert np.array_equal(encoder.encode(TEXTS)[0], flat_encoder(tokenizer, "tokenizers").encode(TEXTS)[0])


def test_an_early_encoder_that_lacks_added_tokens_is_loaded_again(tmp_path: Path) -> None:
    source = load_tokenizer("default").folder
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|new|>"}))
    tokenizer = load_tokenizer(str(tmp_path))
    encoder = flat_encoder(tokenizer, "fastokens", FastLoad(str(tmp_path)))
    ids, _ = encoder.encode(["a<|new|>"])
    assert ids[-1] == tokenizer.id_of("<|new|>") is not None


def test_an_early_load_that_fails_is_no_error_yet(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert flat_encoder(tokenizer, "fastokens", FastLoad(str(tmp_path))).name == "fastokens"


def test_an_encoder_is_loaded_once_however_often_it_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    may_end = Event()

    def slow(source: str) -> str:
        begun.append(source)
        assert may_end.wait(10)
        return "loaded"

    monkeypatch.setattr(fast_load, "_load_file", slow)
    load = FastLoad("default")
    assert not load.is_done  # it hasn't begun
    load.start()
    load.start()
    assert not load.is_done
    may_end.set()
    assert (load.result(), load.result(), load.is_done, begun) == ("loaded", "loaded", True, ["default"])


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"model": {"type": "BPE", "vocab": []}}'])
def test_a_broken_file_loads_as_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    load = FastLoad(str(tmp_path))
    assert load.result() is None
    assert load.is_done


def test_a_load_that_panics_is_no_error_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """Rust's aren't Exceptions."""

    def panics(_source: str) -> None:
        raise Panic

    monkeypatch.setattr(fast_load, "_load_file", panics)
    assert FastLoad("default").result() is None


def test_a_fast_encoder_that_disagrees_is_not_used(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_disagreement", lambda *_args: "other ids")
    assert flat_encoder(tokenizer, "auto").name == "tokenizers"
    with pytest.raises(TokenizerError, match="fastokens can't be used with tokenizer default: other ids"):
        flat_encoder(tokenizer, "fastokens")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('{"model": {"vocab": {"a": -1}}}', "token id -1"),
        ('{"model": {"vocab": {"a": 2147483648}}}', "token id 2147483648"),
        ('{"model": {"vocab": {"a": "1"}}}', "token id '1'"),
        ('{"model": {"vocab": {}}, "added_tokens": [{"id": true}]}', "token id True"),
        ('{"model": {"dropout": 0.1, "vocab": {}}}', "BPE dropout 0.1"),
        ('{"model": []}', "it has no model"),
        ("[]", "it has no model"),
        ('{"model": ', "can't be read"),
    ],
)
def test_tokenizers_that_corrupt_shards_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(spec)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b'{"model": {"vocab": {}, "merges": ["\xff"]}}')
    with pytest.raises(TokenizerError, match="can't be read"):
        load_tokenizer(str(tmp_path))


def test_white_space_between_values_is_left_out(tmp_path: Path) -> None:
    """In strings it counts. For the fast encoder, see test_fast_load.py."""
    spec = json.loads((locate_tokenizer("default")).read_text(encoding="utf-8"))
    spec["added_tokens"].append({**spec["added_tokens"][-1], "id": 60_000, "content": 'a  " \\\t: {'})
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(spec, indent=3), encoding="utf-8")
    text, digest = load._read(file)
    assert (json.loads(text), digest) == (spec, hashlib.sha256(file.read_bytes()).hexdigest())
