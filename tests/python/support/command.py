"""Running the command `s2ice` as people do, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import planted
import reports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT = 300
LOGGED = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR \[[^\]]*\] ")
"""How an error begins in the log."""


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def sentence(self) -> str:
        """The one line of a failure: how every failure of s2ice looks. A run of many tiles ends its log with it."""
        lines = [LOGGED.sub("s2ice: ", line) for line in self.stderr.splitlines()]
        assert len(lines) == 1, f"not one line on stderr:\n{self.stderr}"
        assert lines[0].startswith("s2ice: "), lines[0]
        for sign in ("panicked", "RUST_BACKTRACE", "Some(", "None", "Err(", "ErrorKind", "{", "\\n"):
            assert sign not in lines[0], f"{sign} in: {lines[0]}"
        return lines[0]


class Process(subprocess.Popen[str]):
    """One that was not waited for."""

    def communicate(self, *arguments: Any, **options: Any) -> tuple[str, str]:
        stdout, stderr = super().communicate(*arguments, **options)
        planted.said(stdout + stderr)
        if "--json" in self.args and stdout:  # type: ignore[operator]
            reports.conforms(json.loads(stdout))
        return stdout, stderr


class Command:
    """The binary, with an environment in which nothing of the user's is found. Reports that it prints conform."""

    def __init__(self, binary: Path, environment: Mapping[str, str]) -> None:
        self.binary = binary
        self.environment = dict(environment)

    def __call__(
        self, *arguments: object, code: int | tuple[int, ...] = 0, cwd: Path | None = None, **environment: str
    ) -> Outcome:
        """Run to the end; anything but the exit code expected is a failure of the test."""
        codes = (code,) if isinstance(code, int) else code
        process = subprocess.run(
            self.line(arguments),
            capture_output=True,
            text=True,
            cwd=cwd,
            env=self.environment | environment,
            timeout=TIMEOUT,
            check=False,
        )
        outcome = Outcome(process.returncode, process.stdout, process.stderr)
        planted.said(outcome.stdout + outcome.stderr)
        assert outcome.code in codes, f"exit code {outcome.code}, not {code}\n{outcome.stdout}\n{outcome.stderr}"
        if "--json" in arguments and outcome.stdout:
            reports.conforms(outcome.json)
        return outcome

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Run without waiting."""
        return Process(
            self.line(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
        )

    def line(self, arguments: tuple[object, ...]) -> list[str]:
        return [str(self.binary), *(os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in arguments)]
