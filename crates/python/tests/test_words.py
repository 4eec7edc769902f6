"""Words of others are understood, words of nobody refused with the one that was meant, and what is no store is told."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr

import s2ice
from s2ice import _words
from s2ice.errors import CredentialsError, RequestError, SourceError, StoreNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = {"access_key_id": "a", "secret_access_key": "b", "session_token": "c"}


@pytest.mark.parametrize(
    "given",
    [
        {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": "c"},
        {"key": "a", "secret": "b", "token": "c"},
        {"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"},
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"},
        KEYS,
    ],
)
def test_keys_in_the_words_of_others(given: dict[str, str]) -> None:
    assert _words.credentials(given) == _words.options(given) == KEYS
    assert _words.credentials({"eodata": given, "other": "env"}) == {"eodata": KEYS, "other": "env"}
    assert _words.source({"url": "s3://b/p", **given}, None) == ({"url": "s3://b/p"}, KEYS)
    assert _words.source({"eodata": {"url": "x", **given}}, None) == ({"eodata": {"url": "x"}}, {"eodata": KEYS})
    with pytest.raises(RequestError, match="given twice"):
        _words.source({"url": "s3://b/p", **given}, "env")


def test_credentials_of_boto3() -> None:
    session = SimpleNamespace(access_key="a", secret_key="b", token=None)
    assert _words.credentials(session) == {"access_key_id": "a", "secret_access_key": "b"}
    assert _words.credentials("env") == "env"
    assert _words.credentials(None) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"anon": True}, {"anonymous": True}),
        ({"token": "anon"}, {"anonymous": True}),
        ({"client_kwargs": {"endpoint_url": "u", "region_name": "r"}}, {"endpoint_url": "u", "region": "r"}),
        (
            {"endpoint": "u", "config_kwargs": {"s3": {"addressing_style": "path"}}},
            {"endpoint_url": "u", "force_path_style": True},
        ),
        ({"account_name": "n"}, {"account": "n"}),
        ({"use_ssl": False}, {"allow_http": True}),
        ({"region": "r", "region_name": "r"}, {"region": "r"}),
        ({"colour": 1}, {"colour": 1}),
    ],
)
def test_options_in_the_words_of_others(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert _words.options(given) == wanted


def test_a_profile_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (tmp_path / "config").write_text("[profile mine]\nregion = r\nendpoint_url = u\noutput = json\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    own = {"access_key_id": "a", "secret_access_key": "b"}
    assert _words.options({"profile": "mine"}) == {**own, "region": "r", "endpoint_url": "u"}
    assert _words.credentials({"profile_name": "mine"}) == own
    with pytest.raises(CredentialsError, match=r"the AWS profile 'other' has no keys in .*credentials or .*config"):
        _words.options({"profile": "other"})


REFUSED = [
    ({"bands": ["b04"]}, r"takes no bands: s2ice\.cube\(store, bands=\.\.\.\)"),
    ({"bounds": (0, 0, 1, 1)}, r"s2ice\.cube\(store, bounds=\.\.\.\)"),
    ({"chunk": {}}, "did you mean chunks"),
    ({"mask_and_scaled": False}, "did you mean mask_and_scale"),
    ({"anon": True}, "did you mean anonymous"),
    ({"aws_access_key_id": "a"}, "credentials={'aws_access_key_id': ...}, or for the store as storage_options"),
    ({"endpoint": "u"}, "storage_options={'endpoint': ...}"),
    ({"wholly_other": 1}, "open takes no wholly_other$"),
    ({"storage_options": {"region": "a", "region_name": "b"}}, "region and region_name both mean region"),
    ({"storage_options": {"key": "a", "anon": True}}, "keys and asks for anonymous"),
    ({"storage_options": "anon"}, "storage_options is a mapping"),
    ({"credentials": {"key": "a", "region": "r"}}, "credentials takes no region: it belongs to the place"),
    ({"credentials": {"key": "a", "secrets": "b"}}, "takes no secrets: did you mean secret"),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED, ids=[next(iter(given)) for given, _ in REFUSED])
def test_what_is_not_understood_is_refused_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        s2ice.open("s3://bucket/store", "products", **given)
    with pytest.raises(RequestError, match=sentence):
        xr.open_dataset("s3://bucket/store", engine="s2ice", group="products", **given)


def test_an_unknown_option_of_a_store_names_the_near_one() -> None:
    with pytest.raises(SourceError, match=r"unknown storage_options regionn: did you mean region\? known are"):
        s2ice.open("s3://bucket/store", storage_options={"regionn": "r"})


DOCUMENTS = {
    "html": (b"<!DOCTYPE html><html><body>Welcome</body></html>", r"a page for people \(HTML\)"),
    "xml": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "an XML document with the code AccessDenied",
    ),
    "item": (
        json.dumps({"type": "Feature", "stac_version": "1.0.0"}).encode(),
        "a STAC item, whose assets lead to stores",
    ),
    "references": (b'{"version": 1, "refs": {}}', "kerchunk references"),
    "zarr": (b'{"zarr_format": 3}', "a Zarr store without versions"),
    "json": (b"{}", "there is a JSON document"),
}


@contextmanager
def one_answer_for_all(body: bytes) -> Iterator[str]:
    """A server that gives one document for every address, as those of web applications do."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 (the name that the server asks for)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/store"
        server.shutdown()


@pytest.mark.parametrize("what", DOCUMENTS)
def test_what_lies_in_the_place_of_a_store_is_told(what: str, tmp_path: Path) -> None:
    body, sentence = DOCUMENTS[what]
    with (
        one_answer_for_all(body) as url,
        pytest.raises(StoreNotFoundError, match=f"no Icechunk store at {url}: .*{sentence}"),
    ):
        s2ice.open(url)
    (tmp_path / "document").write_bytes(body)
    with pytest.raises(StoreNotFoundError, match=sentence):
        s2ice.open(tmp_path / "document")


def test_folders_that_are_no_stores(tmp_path: Path) -> None:
    def told(sentence: str, path: Path = tmp_path) -> None:
        with pytest.raises(StoreNotFoundError, match=sentence):
            s2ice.open(path)

    told("the folder is empty")
    told("nothing is there", tmp_path / "none")
    told("is not there either", tmp_path / "none/none")
    (tmp_path / "S2A_MSIL2A_X.SAFE").mkdir()
    told("there are products: s2ice build")
    (tmp_path / "collection.json").write_text("{}")
    told(r"a STAC catalogue, collection\.json")
    (tmp_path / "zarr.json").write_text("{}")
    told("a Zarr store without versions")
    (tmp_path / "below/33TVN/refs").mkdir(parents=True)
    told("there are stores below it: 33TVN", tmp_path / "below")
