"""Fixtures of both suites that look at everything that was written, whatever a test is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import planted
import reports
import s2ice

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def secrets_are_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that was written by any test tells a secret that was given to s2ice."""
    with planted.kept(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="session", autouse=True)
def reports_conform() -> Iterator[None]:
    """What `s2ice.build` and `s2ice.info` return keeps to the schemas."""
    with reports.checked(s2ice):
        yield
