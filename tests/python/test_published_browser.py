"""Who follows the address of a publication: the page in a browser, and its lines in a fresh Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import s2ice
from conftest import ROOT
from support import s3
from support.publications import ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from support.publications import Public


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the package and what it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("newcomer") / "venv"
    python = folder / "bin/python"
    uv = [sys.executable, "-m", "uv", "-q"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
    wanted = ROOT / "tests/demo/requirements.txt"
    subprocess.run([*uv, "pip", "install", "--python", python, "-r", wanted], check=True)
    subprocess.run([python, ROOT / "crates/python/develop.py", "--no-build"], check=True, stdout=subprocess.DEVNULL)
    return python


@pytest.fixture(params=["folder", "bucket"])
def address(request: pytest.FixtureRequest, public: Public) -> Iterator[str]:
    """Where a web server, or a bucket that is open to read, has the publication."""
    if request.param == "folder":
        public.publish()
        yield public.url
        return
    with s3.serve() as service:
        service.bucket("public")
        may_read = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}
        policy = {"Version": "2012-10-17", "Statement": [may_read]}
        service.client.put_bucket_policy(Bucket="public", Policy=json.dumps(policy))
        url = f"{service.endpoint}/public/tiles/"
        line = ["publish", public.living.store, "--out", "s3://public/tiles", "--base-url", url]
        line += ["--out-option", f"endpoint={service.endpoint}", "--out-option", "region=us-east-1"]
        line += ["--source-url", f"{public.host.address}/archive", "--json"]
        assert public.s2ice(*line, **s3.ENVIRONMENT).json["hindrances"] == []
        yield url


def test_from_the_address_to_the_pixels(
    address: str, public: Public, newcomer: Path, visit: Callable[..., Page], tmp_path: Path
) -> None:
    page = visit(f"{address}index.html", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Find a tile").fill("33TVN")
    page.get_by_role("button", name="Show").click()
    page.locator(".leaflet-popup").get_by_role("link", name=ID).click()
    page.get_by_role("heading", name="33TVN").first.wait_for()
    assert page.url == f"{address}{ID}/index.html"
    # The calendar has both dates, in words and below the pointer.
    year = page.locator("details[data-year='2024']")
    year.locator("summary").click()
    dates = [text for text in year.locator("tbody th").all_text_contents() if text.startswith("2024-06")]
    assert dates == ["2024-06-01", "2024-06-06"]
    year.locator("summary").focus()
    page.keyboard.press("ArrowRight")
    assert (page.locator(".told").text_content() or "").startswith("2024-06-01: ")
    # What stands behind "Copy" runs as it stands.
    page.get_by_role("button", name="Copy: Python").click()
    page.get_by_text("Copied", exact=True).wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS", "S2ICE"))}
    done = subprocess.run(
        [newcomer, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    x, y = 399_960 + 54_900, 5_300_040 - 54_900
    box = {"x": slice(x - 3000, x + 3000), "y": slice(y + 3000, y - 3000)}
    mine = s2ice.open(str(public.living.store), "measurements/reflectance/r60m").b01.sel(time="2024-06-06", **box)
    assert float(done.stdout.strip("[]\n ")) == pytest.approx(float(mine.mean()), abs=1e-6)
