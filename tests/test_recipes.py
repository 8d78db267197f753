"""Recipe files do what the command line does, refuse what they don't know, and manifests repeat their runs."""

import inspect
import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifttool
from helpers import RunCli, chat, jsonl, read_manifest
from ifttool.api import STEPS, recipe_steps
from ifttool.cli import app
from ifttool.cli.pack import pack
from ifttool.errors import UsageError
from ifttool.running.depfile import escaped, write_depfile
from ifttool.running.keys import option_types
from ifttool.running.toml_text import toml_text

ROWS = [chat(f"Count to {n}.", " ".join(map(str, range(1, n + 1))), id=f"row-{n}") for n in range(1, 21)]
# Options of the program rather than of the work; inputs and output have keys of their own.
NOT_KEYS = {"inputs", "input", "output", "quiet", "json", "rejects"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "chats.jsonl").write_bytes(jsonl(*ROWS))
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shell"),
    [("mask", app.mask), ("tokenize", app.tokenize), ("unroll", app.unroll), ("pack", pack)],
)
def test_every_flag_has_its_key(name: str, shell: Any) -> None:
    flags = set(inspect.signature(shell).parameters) - NOT_KEYS
    assert flags == set(option_types(STEPS[name]))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('trian-on = "final-turn"', "recipe.toml: there is no key trian-on", "did you mean train-on?"),
        ('train_on = "final-turn"', "recipe.toml: there is no key train_on", "did you mean train-on?"),
        ("[pack]\nlenght = 9", "recipe.toml: there is no key pack.lenght", "did you mean pack.length?"),
        ("zzz = 1", "recipe.toml: there is no key zzz", "ifttool run --show prints all keys"),
        ('max-length = "9"', "recipe.toml: max-length must be a whole number, not a string", ""),
        ("unroll = true", "recipe.toml: unroll must be a string, not true or false", ""),
        ("train-reasoning = 1", "recipe.toml: train-reasoning must be true or false, not a whole number", ""),
        ("date = 2026-01-31", "recipe.toml: date must be a string, not that", 'write it as "2026-01-31"'),
        ('turn-tokens = "x"', "recipe.toml: turn-tokens: --turn-tokens can't be 'x'", "MIN:MAX"),
        ("template-kwargs = {messages = 1}", "recipe.toml: template-kwargs: --template-kwargs can't set messages", ""),
        ("template-kwargs = {day = 2026-01-31}", "recipe.toml: template-kwargs: dates are strings here", ""),
        ('command = "render"', "recipe.toml: command can't be 'render'", "choose one of mask, tokenize, unroll"),
        ('pack = "yes"', "recipe.toml: pack must be a table", ""),
        ("[pack]\nlength = 9", "recipe.toml: pack.output is missing", ""),
        ("inputs = []", "recipe.toml: inputs must be strings", ""),
        ("no-loss = true", "recipe.toml: there is no key no-loss", ""),
        ("a = ", "recipe.toml isn't TOML", ""),
    ],
)
def test_what_a_recipe_cant_say(folder: Path, text: str, message: str, hint: str) -> None:
    inputs = "" if "inputs" in text else 'inputs = "data/chats.jsonl"\n'
    path = write(folder, f'{inputs}output = "out"\n{text}')
    with pytest.raises(UsageError) as caught:
        recipe_steps(path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not (folder / "out").exists()


def test_recipes_that_arent_there_or_name_no_output(folder: Path, cli: RunCli) -> None:
    assert cli("run", folder / "nonesuch.toml").code == 2
    done = cli("run", write(folder, 'inputs = "data/chats.jsonl"'))
    assert done.code == 2
    assert "recipe.toml: output is missing" in done.err
    with pytest.raises(UsageError, match=r"recipe\.toml: inputs is missing"):
        recipe_steps(write(folder, 'output = "out"'))
    with pytest.raises(UsageError, match="has two outputs, of mask and of pack"):
        recipe_steps(write(folder, 'inputs = "-"\noutput = "a"\n[pack]\noutput = "b"\nlength = 9'), "c")


# --- runs -------------------------------------------------------------------------------------------


def test_a_recipe_is_its_command_line(folder: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        folder,
        """
        inputs = ["data/*.jsonl"]
        output = "by-recipe"
        template = "mine.jinja"
        train-on = "last-2-turns"
        train-end-of-turn = false
        turn-tokens = "1:30"
        max-length = 80
        overflow = "truncate"
        date = "2026-01-31"
        max-rejects = "5%"
        columns = ["input_ids", "loss_mask"]
        shuffle = 7
        validation = 0.2
        template-kwargs = { shout = true }
        """,
    )
    template = (Path(ifttool.__file__).parent.parent / "templates" / "chatml.jinja").read_text()
    (folder / "mine.jinja").write_text(template)
    monkeypatch.chdir(folder)
    assert cli("run", "recipe.toml", "--quiet").code == 0
    arguments = """--template mine.jinja --train-on last-2-turns --no-train-end-of-turn --turn-tokens 1:30
        --max-length 80 --overflow truncate --date 2026-01-31 --max-rejects 5% --columns input_ids,loss_mask
        --shuffle 7 --validation 0.2 --template-kwargs {"shout":true} --quiet""".split()
    assert cli("mask", "data/chats.jsonl", "-o", "by-flags", *arguments).code == 0
    assert files(folder / "by-recipe") == files(folder / "by-flags")


def test_paths_are_relative_to_the_file(folder: Path, cli: RunCli) -> None:
    path = write(folder, 'inputs = "data/chats.jsonl"\noutput = "out"\ndate = "2026-01-31"')
    done = cli("run", path)
    assert done.code == 0
    assert done.err.endswith(f"wrote {folder / 'out'}\n")
    assert list(read_manifest(folder / "out")["inputs"]) == [str(folder / "data" / "chats.jsonl")]
    assert cli("run", path).code == 2  # the output is there
    assert cli("run", path, "--force", "--workers", 1).code == 0
    assert cli("run", path, "-o", folder / "elsewhere").code == 0
    assert files(folder / "out") == files(folder / "elsewhere")


def test_folders_whose_names_look_like_globs(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(jsonl(ROWS[0]))
    summary = ifttool.run(write(folder, 'inputs = "*.jsonl"\noutput = "out"'))
    assert summary.shards.tally.samples == 1


def test_names_stay_names(folder: Path) -> None:
    text = 'inputs = "-"\noutput = "o"\ntokenizer = "default"\ntemplate = "{}"'
    for name in ("chatml", "some-org/model"):
        (step,) = recipe_steps(write(folder, text.format(name)))
        assert (step.inputs, step.options["tokenizer"], step.options["template"]) == (["-"], "default", name)
    (folder / "chatml").mkdir()
    (step,) = recipe_steps(write(folder, text.format("chatml")))
    assert step.options["template"] == str(folder / "chatml")
    (step,) = recipe_steps(write(folder, text.format("gone.jinja").replace('"default"', '"model"')))
    assert (step.options["template"], step.options["tokenizer"]) == (str(folder / "gone.jinja"), str(folder / "model"))


def test_other_commands_and_weights(folder: Path) -> None:
    summary = ifttool.run(
        write(folder, 'command = "tokenize"\ninputs = "data/chats.jsonl"\noutput = "plain"\nno-loss = true')
    )
    assert summary.shards.tally.trained_tokens == 0
    summary = ifttool.run(
        write(folder, 'command = "unroll"\noutput = "unrolled"\n[inputs]\n"data/chats.jsonl" = "7rows"')
    )
    assert summary.shards.tally.samples == 7


def test_the_whole_chain(folder: Path, cli: RunCli) -> None:
    path = write(
        folder,
        'inputs = "data/chats.jsonl"\noutput = "shards"\n[pack]\noutput = "packed"\nlength = 256\nlayout = "trl"\n',
    )
    done = cli("run", path, "--json")
    assert done.code == 0
    summary = json.loads(done.out)
    assert summary["samples"] == 20
    assert summary["packed"]["packing"]["sequences"] == 20
    assert read_manifest(folder / "packed")["options"]["length"] == 256
    assert f"wrote {folder / 'packed'}" in done.err
    assert cli("run", path, "--force", "--quiet").code == 0


def test_too_many_rejects_end_the_chain(folder: Path, cli: RunCli) -> None:
    (folder / "data" / "chats.jsonl").write_bytes(b"{]\n")
    path = write(folder, 'inputs = "data/chats.jsonl"\noutput = "a"\n[pack]\noutput = "b"\nlength = 9')
    done = cli("run", path)
    assert done.code == 1
    assert "1 row rejected, more than --max-rejects allows" in done.err
    assert not (folder / "b").exists()


# --- showing ------------------------------------------------------------------------------------------


def test_show_prints_a_recipe_that_does_the_same(folder: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write(
        folder,
        'inputs = "data/chats.jsonl"\noutput = "a"\nturn-tokens = ":40"\n[template-kwargs]\nx = "\\u007f\\"é"\n'
        '[pack]\noutput = "p"\nlength = 64',
    )
    shown = cli("run", "--show", "recipe.toml")
    assert shown.code == 0
    table = tomllib.loads(shown.out)
    assert (table["command"], table["template"], table["turn-tokens"]) == ("mask", "chatml", ":40")
    assert (table["train-on"], table["train-reasoning"], table["date"][:2]) == ("assistant-turns", True, "20")
    assert table["template-kwargs"] == {"x": '\x7f"é'}
    assert table["pack"]["layout"] == "default"
    assert "# max-length is not set" in shown.out.splitlines()
    unset = {line.split()[1] for line in shown.out.splitlines() if line.startswith("# ")}
    keys = {name.replace("_", "-") for name in option_types(STEPS["mask"])}
    assert keys <= unset | table.keys()
    # Paths in it are absolute: it runs from wherever it is put.
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "shown.toml").write_text(shown.out)
    assert cli("run", "--show", "recipe.toml", "-o", "b").code == 2
    assert not (folder / "a").exists()
    assert cli("run", folder / "recipe.toml", "--quiet").code == 0
    before = files(folder / "a") | files(folder / "p")
    assert cli("run", "elsewhere/shown.toml", "--quiet", "--force").code == 0
    assert files(folder / "a") | files(folder / "p") == before


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=6,
    )
)
def test_toml_text_reads_back(table: dict[str, Any]) -> None:
    read = tomllib.loads(toml_text(table))
    # An empty table is left out.
    assert read == {key: value for key, value in table.items() if value != {}}


# --- manifests ----------------------------------------------------------------------------------------


def test_a_manifest_repeats_its_run(folder: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "data" / "more.jsonl").write_bytes(b"{]\n" + jsonl(*ROWS[:9]))
    ifttool.mask(
        {"data/*.jsonl": "15rows"},
        "one",
        validation=0.25,
        shuffle=1,
        dedup="exact",
        max_rejects="50%",
        turn_tokens=(2, None),
        layout="trl",
    )
    done = cli("run", "one/manifest.json", "-o", "two")
    assert done.code == 0, done.err
    assert files(folder / "one") == files(folder / "two")
    shown = tomllib.loads(cli("run", "--show", "one/manifest.json").out)
    assert (shown["template"], shown["turn-tokens"], shown["layout"]) == ("chatml", "2:", "trl")
    assert shown["inputs"] == ["data/chats.jsonl", "data/more.jsonl"]


def test_what_a_manifest_cant_repeat(folder: Path, monkeypatch: pytest.MonkeyPatch, cli: RunCli) -> None:
    monkeypatch.chdir(folder)
    ifttool.mask("data/chats.jsonl", "out")
    manifest = folder / "out" / "manifest.json"
    done = cli("run", manifest)
    assert (done.code, "a manifest doesn't say where to write" in done.err) == (2, True)
    data = (folder / "data" / "chats.jsonl").read_bytes()
    (folder / "data" / "chats.jsonl").write_bytes(data + data)
    with pytest.raises(UsageError, match="has changed since the run"):
        ifttool.run(manifest, "again")
    (folder / "data" / "chats.jsonl").rename(folder / "chats.jsonl")
    with pytest.raises(UsageError, match=r"data/chats\.jsonl isn't there"):
        ifttool.run(manifest, "again")
    with (folder / "chats.jsonl").open("rb") as stdin:
        ifttool.mask("-", "streamed", stdin=stdin)
    with pytest.raises(UsageError, match="standard input was a stream"):
        ifttool.run(folder / "streamed" / "manifest.json", "again")
    assert not (folder / "again").exists()


def test_other_versions_and_other_tokenizers(folder: Path, monkeypatch: pytest.MonkeyPatch, cli: RunCli) -> None:
    monkeypatch.chdir(folder)
    ifttool.mask("data/chats.jsonl", "out")
    path = folder / "out" / "manifest.json"
    manifest = read_manifest(folder / "out")
    manifest["versions"]["ifttool"] = "0.0.9"
    path.write_text(json.dumps(manifest))
    done = cli("run", path, "-o", "again")
    assert done.code == 0
    assert "note: versions changed since the run, so bytes may differ: ifttool 0.0.9 →" in done.err
    manifest["tokenizer"]["sha256"] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="the tokenizer default isn't the one of"):
        ifttool.run(path, "third")
    del manifest["options"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="can't be used"):
        ifttool.run(path, "third")


# --- dependency files -----------------------------------------------------------------------------------

NAMES = [
    "plain.jsonl",
    "two  words.jsonl",
    "a#b",
    "a$b$$c",
    "a:b",
    "star*[x]?",
    "back\\slash",
    "back\\ blank",
    "back\\\\#hash",
    "a&b",
    "a|b",
    "~x~"[1:],
    "ä,é(1)'{}@!",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_target", [True, False])
def test_make_reads_names_back(tmp_path: Path, name: str, as_target: bool) -> None:
    target, needed = (name, "in") if as_target else ("out", name)
    (tmp_path / needed).touch()
    write_depfile(tmp_path / "dep.mk", target=target, prerequisites=[needed, "-", needed])
    recipe = f"{escaped(target, is_target=True)}:\n\t@echo made\n"
    (tmp_path / "Makefile").write_text(f"{recipe}include dep.mk\n", encoding="utf-8")

    def make() -> str:
        return subprocess.run(["make", "-s"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert make() == "made\n"
    (tmp_path / target).touch()
    os.utime(tmp_path / needed, (1, 1))
    assert make() == ""
    os.utime(tmp_path / target, (0, 0))
    assert make() == "made\n"
    os.utime(tmp_path / target)
    (tmp_path / needed).unlink()
    assert make() == "made\n"  # an input that is gone: the tool says so, not make


@pytest.mark.parametrize("name", ["a\nb", "a=b", "a;b", "a\tb", "~me", "end ", "end\\"])
def test_names_that_no_makefile_holds(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't stand in a dependency file"):
        write_depfile(tmp_path / "dep.mk", target="out", prerequisites=[name])
    assert not (tmp_path / "dep.mk").exists()
    with pytest.raises(UsageError):
        escaped("%.o", is_target=True)


def test_depfiles_of_commands(folder: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "t.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    for command in ("mask", "tokenize", "unroll"):
        done = cli(command, "data/*.jsonl", "-o", f"out/{command}", "-t", "t.jinja", "--depfile", "d.mk", "-q")
        assert done.code == 0, done.err
        assert (folder / "d.mk").read_text() == (
            f"out/{command}/manifest.json: data/chats.jsonl t.jinja\ndata/chats.jsonl:\nt.jinja:\n"
        )
    write(folder, 'inputs = "data/chats.jsonl"\noutput = "out/run"\n[pack]\noutput = "out/packed"\nlength = 99')
    assert cli("run", "recipe.toml", "--depfile", "d.mk", "-q").code == 0
    assert (folder / "d.mk").read_text() == (
        "out/packed/manifest.json: recipe.toml data/chats.jsonl\nrecipe.toml:\ndata/chats.jsonl:\n"
    )
    assert cli("run", "out/mask/manifest.json", "-o", "out/again", "--depfile", "d.mk", "-q").code == 0
    assert (
        (folder / "d.mk").read_text().startswith("out/again/manifest.json: out/mask/manifest.json data/chats.jsonl\n")
    )
    (folder / "d.mk").unlink()
    (folder / "data" / "chats.jsonl").write_bytes(b"{]\n")
    assert cli("mask", "data/*.jsonl", "-o", "out/bad", "--depfile", "d.mk", "-q").code == 1
    assert not (folder / "d.mk").exists()
