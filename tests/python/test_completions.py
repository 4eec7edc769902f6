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


@pytest.fixture(scope="module")
def options(s2ice: Command) -> dict[str, set[str]]:
    """The long options of every command, as its help has them; those of all commands under the empty name."""
    text = s2ice("--help").stdout
    commands = re.search(r"Commands:\n((?:  .*\n)+)", text)
    assert commands
    names = [name for name in re.findall(r"^  ([a-z]+) ", commands[1], flags=re.MULTILINE) if name != "help"]
    assert len(names) >= 11
    found = {name: long_options(s2ice(name, "--help").stdout) for name in names} | {"": long_options(text)}
    assert "store-endpoint" in found["gc"]
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_everything_is_completed(shell: str, s2ice: Command, options: dict[str, set[str]]) -> None:
    text = s2ice("completions", shell).stdout
    for command, names in options.items():
        assert re.search(rf"\b{command}\b", text)
        for name in names:
            assert re.search(rf"(?:--|-l ){name}\b", text), f"{command} --{name}"
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


def test_manual_pages(s2ice: Command, options: dict[str, set[str]], tmp_path: Path) -> None:
    s2ice("man", tmp_path / "man1")
    pages = {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()}
    assert set(pages) == {f"s2ice-{name}.1" if name else "s2ice.1" for name in options}
    assert s2ice("man").stdout == pages["s2ice.1"]
    for command, names in options.items():
        text = pages[f"s2ice-{command}.1" if command else "s2ice.1"].replace("\\-", "-")
        for name in names:
            assert re.search(rf"--{name}\b", text), f"{command} --{name}"
        assert command == "" or f"s2ice-{command}(1)" in pages["s2ice.1"].replace("\\-", "-")
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
