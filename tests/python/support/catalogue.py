"""A STAC API in this process: searched by filters and in pages, changed by the test, counted, and sometimes down."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

import planted
import servers
from support.s3 import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
]
PAGE = 5


@dataclass
class Catalogue:
    """The items that can be found now."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: str = ""
    """`all`: nothing is answered; `pages`: only the first page of a search is; `repeats`: access is refused with a page
    that repeats the request; `sends`: it sends elsewhere with that."""
    address: str = ""
    endpoint: str = ""
    """The address with a password, which s2ice tells nobody."""
    served: int = 0
    """Items given out so far, those of mere looks whether there is any left out."""
    searches: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    """The header of that name, of each request."""
    twist: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda page: page)
    """What becomes of each page that items are asked for by, before it is answered."""

    def put(self, items: Iterable[dict[str, Any]]) -> None:
        self.items |= {item["id"]: item for item in items}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer (WSGI)."""
        request = Request(environ)
        self.authorizations.append(request.headers.get("Authorization"))
        told = f"{request.headers.get('Authorization')} {request.url} {request.args.to_dict()}"
        if self.down == "repeats":
            answer = Response(f"<p>{'-' * 150} {told}</p>", 403)
        elif self.down == "sends":
            answer = Response("", 302, {"Location": f"http://127.0.0.2/{told}"})
        elif request.path == "/" and self.down != "all":
            search = {"rel": "search", "type": "application/geo+json", "href": f"{self.address}/search"}
            links = [search | {"method": "GET"}, search | {"method": "POST"}]
            answer = reply({"type": "Catalog", "id": "synthetic", "conformsTo": CONFORMS, "links": links})
        elif request.path == "/search" and request.method == "POST":
            answer = self.search(request.get_json())
        else:
            answer = out_of_order()
        return answer(environ, start_response)

    def search(self, body: dict[str, Any]) -> Response:
        first = int(body.get("token", 0))
        if self.down == "all" or (self.down == "pages" and first > 0):
            return out_of_order()
        self.searches.append(body)
        found = [item for item in self.items.values() if item["collection"] in body["collections"]]
        found = [item for item in found if "filter" not in body or holds(item, body["filter"])]
        # The newest first, as catalogues have it.
        found.sort(key=lambda item: (item["properties"]["datetime"], item["id"]), reverse=True)
        limit = min(body["limit"], PAGE)
        page = found[first : first + limit]
        if body["limit"] > 1:
            self.served += len(page)
        links = []
        if first + limit < len(found):
            link = {"rel": "next", "method": "POST", "href": f"{self.address}/search", "merge": True}
            links.append(link | {"body": {"token": str(first + limit)}})
        answer = {"type": "FeatureCollection", "features": page, "links": links}
        return reply(self.twist(answer) if body["limit"] > 1 else answer)


def reply(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document), mimetype="application/geo+json")


def out_of_order() -> Response:
    return Response("down for maintenance", 503, {"Retry-After": "0"})


def holds(item: dict[str, Any], condition: dict[str, Any]) -> bool:
    """Whether an item fulfils a condition in CQL2-JSON; times are compared as text, as pgstac does."""
    operator, arguments = condition["op"], condition["args"]
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(item, argument) for argument in arguments)
    value, wanted = item["properties"].get(arguments[0]["property"]), arguments[1]
    if value is None:
        return False
    match operator:
        case "=":
            return bool(value == wanted)
        case "<=":
            return bool(value <= wanted)
        case ">=":
            return bool(value >= wanted)
    raise AssertionError(f"asked for {condition}")


@contextmanager
def serve() -> Iterator[Catalogue]:
    catalogue = Catalogue()
    server = make_server("127.0.0.1", 0, catalogue, threaded=True, request_handler=Quiet)
    with servers.running(server) as catalogue.address:
        catalogue.endpoint = catalogue.address.replace("://", f"://reader:{planted.word('catalogue')}@")
        yield catalogue
