"""Every report that a test sees keeps to its schema: whoever runs s2ice for a test hands what it wrote over."""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
KINDS = {
    "s2ice.build": "build-report",
    "s2ice.diff": "diff-report",
    "s2ice.export": "export-report",
    "s2ice.gc": "gc-report",
    "s2ice.gc.fleet": "gc-fleet-report",
    "s2ice.index": "index-report",
    "s2ice.info": "info-report",
    "s2ice.last_run": "last-run",
    "s2ice.plan": "plan-report",
    "s2ice.preview": "preview-report",
    "s2ice.published": "published-report",
    "s2ice.repair": "repair-report",
    "s2ice.rollback": "rollback-report",
    "s2ice.rollback.fleet": "rollback-fleet-report",
    "s2ice.publish": "publish-report",
    "s2ice.run": "run-report",
    "s2ice.run.check": "run-check-report",
    "s2ice.run.ended": "run-line",
    "s2ice.run.started": "run-line",
    "s2ice.run.tile": "run-line",
    "s2ice.status": "status-report",
}
"""The schema of each kind of report. A new kind has to be named here before a test may see one."""


@functools.cache
def _validator(schema: str) -> Any:
    """One per schema and session: making it takes longer than most reports."""
    document = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    kind = jsonschema.validators.validator_for(document)
    kind.check_schema(document)
    return kind(document, format_checker=kind.FORMAT_CHECKER)


def conforms(document: Any, schema: str | None = None) -> Any:
    """Give the document back, which keeps to this schema or else to that of its kind."""
    _validator(schema or KINDS[document["kind"]]).validate(document)
    return document


@contextmanager
def checked(package: ModuleType) -> Iterator[None]:
    """What `build` and `info` of the Python package return conforms."""
    kept = {name: getattr(package, name) for name in ("build", "info")}
    for name, of in kept.items():
        setattr(package, name, _conforming(of))
    try:
        yield
    finally:
        for name, of in kept.items():
            setattr(package, name, of)


def _conforming(of: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(of)(lambda *arguments, **options: conforms(of(*arguments, **options)))


def lines_conform(text: str) -> None:
    """Each whole line of a report of runs does; a killed run leaves a torn one."""
    for line in text.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        conforms(document)


def files_conform(folder: Path) -> None:
    """Whatever runs left below a folder does: their reports, and what is remembered beside a store."""
    for path in folder.rglob("*.jsonl"):
        if path.is_file():
            lines_conform(path.read_text())
    for path in folder.rglob("s2ice/last-run.json"):
        conforms(json.loads(path.read_text()))
