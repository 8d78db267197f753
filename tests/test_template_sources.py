"""Templates are found where transformers finds them, and what can't be used says why."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ifttool.errors import TemplateError, TokenizerError
from ifttool.template import sources
from ifttool.template.sources import (
    MAX_CONFIG_BYTES,
    MAX_TEMPLATE_BYTES,
    builtin_names,
    load_template,
)
from ifttool.tokenizer.special_tokens import special_tokens

ROOT = Path(__file__).resolve().parents[1]
TOKENIZERS = ROOT.parent / "shared" / "data" / "tokenizers"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    return path


def write_config(folder: Path, chat_template: Any) -> None:
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "chat_template": chat_template}), encoding="utf-8"
    )


def write_named(folder: Path, name: str, text: str) -> None:
    extra = folder / "additional_chat_templates"
    extra.mkdir(exist_ok=True)
    (extra / f"{name}.jinja").write_text(text, encoding="utf-8")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class TestBuiltin:
    def test_names_are_those_of_the_templates_folder(self) -> None:
        assert builtin_names() == sorted(path.stem for path in (ROOT / "templates").glob("*.jinja"))
        assert {"base", "chatml", "chatml-strict", "llama-2", "qwen3", "zephyr"} <= set(builtin_names())

    def test_loads_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        source = load_template("chatml")
        assert source.text == (ROOT / "templates" / "chatml.jinja").read_text(encoding="utf-8")
        assert (source.name, source.origin) == ("chatml", "builtin")
        assert source.sha256 == digest(source.text)

    def test_path_of_the_same_name_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "chatml").write_text("mine", encoding="utf-8")
        assert load_template("chatml").text == "mine"

    def test_wheel_layout_is_found_inside_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "site-packages" / "ifttool"
        (package / "templates").mkdir(parents=True)
        (package / "templates" / "only.jinja").write_text("wheel", encoding="utf-8")
        # Another package's folder, where a source checkout would have ours.
        (tmp_path / "site-packages" / "templates").mkdir()
        monkeypatch.setattr(sources, "__file__", str(package / "template" / "sources.py"))
        assert builtin_names() == ["only"]
        assert load_template("only").text == "wheel"

    @pytest.mark.parametrize(
        ("spec", "nearest"),
        [("chatlm", "chatml"), ("Qwen3", "qwen3"), ("llama3", "llama-3"), ("phi3", "phi-3")],
    )
    def test_unknown_name_suggests_the_nearest(self, spec: str, nearest: str) -> None:
        with pytest.raises(TemplateError, match="no built-in template") as caught:
            load_template(spec)
        assert caught.value.hint.startswith(f"did you mean {nearest}")

    def test_name_like_no_other_lists_them_all(self) -> None:
        with pytest.raises(TemplateError) as caught:
            load_template("xxxxxxxxxxxx")
        assert caught.value.hint == f"built-in: {', '.join(builtin_names())}"

    def test_template_name_makes_no_sense_for_one(self) -> None:
        with pytest.raises(TemplateError, match="chatml is one template"):
            load_template("chatml", name="tool_use")


class TestFile:
    @pytest.mark.parametrize("suffix", ["jinja", "j2", "txt"])
    def test_is_read_whatever_its_suffix(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"mine.{suffix}"
        path.write_text("{{ bos_token }}é\n", encoding="utf-8")
        source = load_template(str(path))
        assert source.text == "{{ bos_token }}é\n"
        assert (source.name, source.origin) == (str(path), "file")
        assert source.sha256 == digest("{{ bos_token }}é\n")

    def test_line_ends_are_read_as_transformers_reads_them(self, tmp_path: Path) -> None:
        path = tmp_path / "crlf.jinja"
        path.write_bytes(b"a\r\nb\rc\n\r\n")
        source = load_template(str(path))
        assert source.text == path.read_text(encoding="utf-8") == "a\nb\nc\n\n"
        assert source.sha256 == digest("a\nb\nc\n\n")

    def test_size_limit_is_inclusive(self, tmp_path: Path) -> None:
        path = tmp_path / "big.jinja"
        path.write_bytes(b"x" * MAX_TEMPLATE_BYTES)
        assert len(load_template(str(path)).text) == MAX_TEMPLATE_BYTES
        path.write_bytes(b"x" * (MAX_TEMPLATE_BYTES + 1))
        with pytest.raises(TemplateError, match="larger than 1048576 bytes"):
            load_template(str(path))

    def test_endless_device_is_refused(self) -> None:
        if not Path("/dev/zero").exists():
            pytest.skip("no /dev/zero")
        with pytest.raises(TemplateError, match="larger than"):
            load_template("/dev/zero")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"\xef\xbb\xbf{{ x }}", "byte order mark"),
            (b"ab\xff", r"isn't UTF-8 \(byte 2\)"),
            ("x".encode("utf-16"), "isn't UTF-8"),
        ],
    )
    def test_other_encodings_are_refused(self, tmp_path: Path, data: bytes, message: str) -> None:
        path = tmp_path / "bad.jinja"
        path.write_bytes(data)
        with pytest.raises(TemplateError, match=message):
            load_template(str(path))

    @pytest.mark.parametrize(
        "spec", ["./none.jinja", "dir/none.j2", "/none", "a/b/c", "~nobody-here/x", "x\0y/z", "y/" * 5000]
    )
    def test_missing_path_is_named(self, spec: str) -> None:
        with pytest.raises(TemplateError, match="no such file or folder"):
            load_template(spec)

    def test_template_text_in_place_of_a_path_is_recognised(self) -> None:
        with pytest.raises(TemplateError, match="the template itself was given"):
            load_template("{% for m in messages %}{{ m.content }}{% endfor %}" * 500)


class TestTokenizerFolder:
    def test_template_in_the_config(self, folder: Path) -> None:
        write_config(folder, "from config")
        source = load_template(str(folder))
        assert (source.text, source.name, source.origin) == ("from config", "tokenizer:my-model", "tokenizer")

    def test_config_file_can_be_given_itself(self, folder: Path) -> None:
        write_config(folder, "from config")
        source = load_template(str(folder / "tokenizer_config.json"))
        assert (source.text, source.name, source.origin) == ("from config", "tokenizer:my-model", "tokenizer")

    def test_name_doesnt_depend_on_how_the_folder_is_given(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_config(folder, "from config")
        monkeypatch.chdir(folder)
        assert load_template(".").name == "tokenizer:my-model"

    def test_file_wins_over_the_config(self, folder: Path) -> None:
        write_config(folder, "from config")
        (folder / "chat_template.jinja").write_text("from file", encoding="utf-8")
        assert load_template(str(folder)).text == "from file"

    def test_list_in_the_config(self, folder: Path) -> None:
        templates = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
        write_config(folder, templates)
        assert load_template(str(folder)).text == "D"
        named = load_template(str(folder), name="tool_use")
        assert (named.text, named.name) == ("T", "tokenizer:my-model#tool_use")
        assert load_template(str(folder), name="default").name == "tokenizer:my-model"

    def test_mapping_in_the_config(self, folder: Path) -> None:
        write_config(folder, {"default": "D", "rag": "R"})
        assert load_template(str(folder), name="rag").text == "R"

    def test_several_without_a_default_are_listed(self, folder: Path) -> None:
        write_config(folder, [{"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}])
        with pytest.raises(TemplateError, match="no default") as caught:
            load_template(str(folder))
        assert caught.value.hint == "name one of: rag, tool_use"

    def test_unknown_template_name_lists_the_known(self, folder: Path) -> None:
        write_config(folder, "D")
        with pytest.raises(TemplateError, match="has no template 'rag'") as caught:
            load_template(str(folder), name="rag")
        assert caught.value.hint == "it has: default"

    def test_named_files_stand_beside_the_default_file(self, folder: Path) -> None:
        (folder / "chat_template.jinja").write_text("D", encoding="utf-8")
        write_named(folder, "tool_use", "T")
        assert load_template(str(folder)).text == "D"
        assert load_template(str(folder), name="tool_use").text == "T"

    def test_named_files_alone_hide_the_config(self, folder: Path) -> None:
        write_config(folder, "from config")
        write_named(folder, "tool_use", "T")
        with pytest.raises(TemplateError, match="no default"):
            load_template(str(folder))
        assert load_template(str(folder), name="tool_use").text == "T"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("chats.jsonl", '{"messages": [{"role": "user", "content": "{{ 7 }}"}]}\n' * 2),
            ("large.jsonl", '{"text": "a"}\n' * 200_000),
            ("long", '\n {"text": "' + "a" * 200_000 + '"}'),
            ("pretty.txt", '[\n  {\n    "messages": []\n  }\n]\n'),
            ("chats.json", '{"messages": []}\n{"messages": []}\n'),
            ("list.json", '[{"messages": []}]'),
        ],
    )
    def test_conversations_are_no_template(self, folder: Path, name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")
        with pytest.raises(
            TemplateError, match=r"holds JSON, not a chat|isn't valid JSON|isn't a JSON object"
        ) as caught:
            load_template(str(folder / name))
        assert "`ifttool templates doctor TEMPLATE DATA` tries one" in caught.value.hint

    @pytest.mark.parametrize(
        "text", ['{"turns": [{% for m in messages %}1{% endfor %}]}', '{"a": "{{ x }}"\n}', "{}x", "["]
    )
    def test_templates_that_write_json(self, folder: Path, text: str) -> None:
        (folder / "json.jinja").write_text(text, encoding="utf-8")
        assert load_template(str(folder / "json.jinja")).text == text

    def test_folder_without_tokenizer_files(self, folder: Path) -> None:
        with pytest.raises(TemplateError, match=r"has no chat_template\.jinja and no tokenizer_config\.json"):
            load_template(str(folder))

    @pytest.mark.parametrize("value", [None, 3, ["x"], [{"name": "default"}], {"default": 1}])
    def test_config_without_a_usable_template(self, folder: Path, value: Any) -> None:
        write_config(folder, value)
        expected = "has no chat_template" if value is None else "neither text nor a list"
        with pytest.raises(TemplateError, match=expected):
            load_template(str(folder))

    @pytest.mark.parametrize("data", ["{", "[1]", "[" * 100_000, '{"a": "\\ud800"'])
    def test_config_that_isnt_a_json_object(self, folder: Path, data: str) -> None:
        (folder / "tokenizer_config.json").write_text(data, encoding="utf-8")
        with pytest.raises(TemplateError, match=r"isn't (valid JSON|a JSON object)"):
            load_template(str(folder))

    def test_limits_hold_for_templates_in_the_config(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_config(folder, "x" * (MAX_TEMPLATE_BYTES + 1))
        with pytest.raises(TemplateError, match="larger than 1048576 bytes"):
            load_template(str(folder))
        assert MAX_CONFIG_BYTES > MAX_TEMPLATE_BYTES
        monkeypatch.setattr(sources, "MAX_CONFIG_BYTES", 100)
        with pytest.raises(TemplateError, match="larger than 100 bytes"):
            load_template(str(folder))

    def test_lone_surrogate_in_the_config(self, folder: Path) -> None:
        write_config(folder, "\ud800")
        with pytest.raises(TemplateError, match="lone surrogate"):
            load_template(str(folder))

    def test_real_tokenizer(self) -> None:
        if not TOKENIZERS.is_dir():
            pytest.skip("the shared data isn't beside the project")
        config = json.loads((TOKENIZERS / "qwen3" / "tokenizer_config.json").read_text(encoding="utf-8"))
        source = load_template(str(TOKENIZERS / "qwen3"))
        assert (source.text, source.name) == (config["chat_template"], "tokenizer:qwen3")


class TestHub:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
        module = ModuleType("huggingface_hub")
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        yield module

    def test_only_template_files_are_downloaded(self, hub: ModuleType, folder: Path) -> None:
        write_config(folder, "hub")
        calls: list[tuple[str, list[str]]] = []

        def snapshot_download(repo: str, *, allow_patterns: list[str]) -> str:
            calls.append((repo, allow_patterns))
            return str(folder)

        hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
        source = load_template("org/some-model")
        assert (source.text, source.name, source.origin) == ("hub", "org/some-model", "hub")
        assert calls == [
            (
                "org/some-model",
                ["chat_template.jinja", "additional_chat_templates/*.jinja", "tokenizer_config.json"],
            )
        ]

    @pytest.mark.parametrize("error", [OSError("no network\nmore"), ValueError("bad id"), RuntimeError("?")])
    def test_failed_download_is_a_template_error(self, hub: ModuleType, error: Exception) -> None:
        def snapshot_download(repo: str, *, allow_patterns: list[str]) -> str:
            raise error

        hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
        reason = str(error).split("\n")[0]
        with pytest.raises(TemplateError) as caught:
            load_template("org/some-model")
        assert caught.value.message == f"org/some-model can't be fetched from the Hub: {reason}"

    def test_without_the_extra_the_error_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(TemplateError, match="org/name: no such file") as caught:
            load_template("org/name")
        assert "pip install 'ifttool[hub]'" in caught.value.hint


class TestSpecialTokens:
    def write(self, folder: Path, name: str, value: Any) -> None:
        (folder / name).write_text(json.dumps(value), encoding="utf-8")

    def test_standard_names_come_first_and_null_is_left_out(self, folder: Path) -> None:
        self.write(
            folder,
            "tokenizer_config.json",
            {
                "image_token": "<img>",
                "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False},
                "bos_token": "<s>",
                "pad_token": None,
                "add_bos_token": True,
                "additional_special_tokens": ["<a>"],
            },
        )
        tokens = special_tokens(folder)
        assert list(tokens.items()) == [("bos_token", "<s>"), ("eos_token", "</s>"), ("image_token", "<img>")]

    def test_map_wins_over_a_config_without_added_tokens(self, folder: Path) -> None:
        self.write(folder, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
        self.write(folder, "special_tokens_map.json", {"bos_token": {"content": "<B>"}, "pad_token": "<P>"})
        assert special_tokens(folder) == {"bos_token": "<B>", "eos_token": "</s>", "pad_token": "<P>"}

    def test_map_is_ignored_when_the_config_lists_added_tokens(self, folder: Path) -> None:
        self.write(folder, "tokenizer_config.json", {"bos_token": "<s>", "added_tokens_decoder": {}})
        self.write(folder, "special_tokens_map.json", {"bos_token": "<B>"})
        assert special_tokens(folder) == {"bos_token": "<s>"}

    def test_extra_special_tokens_count_when_they_have_names(self, folder: Path) -> None:
        self.write(folder, "tokenizer_config.json", {"extra_special_tokens": {"image_token": "<img>"}})
        assert special_tokens(folder) == {"image_token": "<img>"}
        self.write(folder, "tokenizer_config.json", {"extra_special_tokens": ["<img>"]})
        assert special_tokens(folder) == {}

    def test_folder_without_files_has_none(self, folder: Path) -> None:
        assert special_tokens(folder) == {}

    @pytest.mark.parametrize("value", [{"bos_token": 3}, {"bos_token": {"id": 3}}, ["bos_token"]])
    def test_malformed_files_are_refused(self, folder: Path, value: Any) -> None:
        self.write(folder, "tokenizer_config.json", value)
        with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
            special_tokens(folder)

    def test_invalid_json_is_refused(self, folder: Path) -> None:
        (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
        with pytest.raises(TokenizerError, match="isn't valid JSON"):
            special_tokens(folder)
