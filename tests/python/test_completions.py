"""Completions and manual pages: every command and option is in them, and shells and groff take them."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Command

SHELLS = ["bash", "zsh", "fish", "elvish", "powershell"]


def long_options(text: str) -> set[str]:
    return set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, flags=re.MULTILINE))


def commands(text: str) -> list[str]:
    """Those that a help names."""
    listed = re.search(r"Commands:\n((?:  .*\n)+)", text)
    names = re.findall(r"^  ([a-z]+) ", listed[1], flags=re.MULTILINE) if listed else []
    return [name for name in names if name != "help"]


@pytest.fixture(scope="module")
def options(s2ice: Command) -> dict[tuple[str, ...], set[str]]:
    """The long options of every command by its words, as its help has them; the empty one is the program."""
    found: dict[tuple[str, ...], set[str]] = {}
    left: list[tuple[str, ...]] = [()]
    for words in left:
        text = s2ice(*words, "--help").stdout
        found[words] = long_options(text)
        left += [(*words, name) for name in commands(text)]
    assert len(found) >= 16
    assert "store-endpoint" in found[("gc",)]
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_everything_is_completed(shell: str, s2ice: Command, options: dict[tuple[str, ...], set[str]]) -> None:
    text = s2ice("completions", shell).stdout
    for words, names in options.items():
        assert all(re.search(rf"\b{word}\b", text) for word in words)
        for name in names:
            assert re.search(rf"(?:--|-l ){name}\b", text), f"{words} --{name}"
    if shutil.which(shell):
        subprocess.run((shell, "-n"), input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("s2ice st", {"status"}),
        ("s2ice r", {"run", "rollback"}),
        ("s2ice gc --older", {"--older-than"}),
        ("s2ice build --on-mismatch ", {"auto", "era", "refuse"}),
        ("s2ice completions ", set(SHELLS)),
    ],
)
def test_bash_completes(line: str, wanted: set[str], s2ice: Command, tmp_path: Path) -> None:
    (tmp_path / "s2ice").write_text(s2ice("completions", "bash").stdout)
    script = """
    . "$1"
    read -ra COMP_WORDS <<< "$2"
    [[ $2 == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _s2ice s2ice "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ("bash", "-c", script, "bash", tmp_path / "s2ice", line), capture_output=True, text=True, check=True
    )
    assert wanted <= set(done.stdout.split())


def test_manual_pages(s2ice: Command, options: dict[tuple[str, ...], set[str]], tmp_path: Path) -> None:
    s2ice("man", tmp_path / "man1")
    pages = {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()}
    titles = {words: "-".join(("s2ice", *words)) for words in options}
    assert set(pages) == {f"{title}.1" for title in titles.values()}
    assert s2ice("man").stdout == pages["s2ice.1"]
    for words, names in options.items():
        text = pages[f"{titles[words]}.1"].replace("\\-", "-")
        for name in names:
            assert re.search(rf"--{name}\b", text), f"{words} --{name}"
        if words:
            above = pages[f"{titles[words[:-1]]}.1"].replace("\\-", "-")
            assert f"{titles[words]}(1)" in above
    if shutil.which("groff"):
        for path in (tmp_path / "man1").iterdir():
            line = ("groff", "-man", "-Tutf8", "-ww", "-z", path)
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            assert done.stderr == "", path.name


def test_pages_that_cannot_be_written(s2ice: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = s2ice("man", tmp_path / "file", code=1)
    assert f"cannot write manual pages to {tmp_path / 'file'}" in done.stderr
    assert "invalid value 'tcsh'" in s2ice("completions", "tcsh", code=2).stderr
