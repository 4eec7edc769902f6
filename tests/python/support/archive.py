"""An archive of many products, made from a few samples by renaming them: files are linked, texts are rewritten."""

from __future__ import annotations

import copy
import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from support import tables

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COMPACT = "%Y%m%dT%H%M%S"
ISO = "%Y-%m-%dT%H:%M:%S"
TEXTS = {".xml", ".safe"}


def instant(text: str) -> datetime:
    """The time that a date, or a date with a time, stands for; dates stand for the time of the overpass."""
    return datetime.fromisoformat(text if "T" in text else f"{text}T10:05:59")


@dataclass
class Product:
    """A product of the archive: its index rows and its STAC item."""

    name: str
    rows: list[dict[str, Any]]
    item: dict[str, Any]

    def files(self, root: Path) -> list[Path]:
        return [root / row["path"].lstrip("/") for row in self.rows]


@dataclass
class Archive:
    """Products below one folder."""

    root: Path
    samples: Path
    products: dict[str, Product] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.bases = sample_products(self.samples)

    def add(
        self,
        start: str,
        *,
        base: int = 0,
        baseline: str = "05.11",
        generated: str | None = None,
        datastrip: int = 86,
        sensing: int | None = None,
    ) -> str:
        """Make a product of a sample and give its name.

        `start` is the datatake's, `generated` the day of processing; datastrip and sensing times are seconds after the
        start. The platform is the sample's.
        """
        model = self.bases[base % len(self.bases)]
        begin = instant(start)
        made = datetime.fromisoformat(f"{generated}T03:04:05") if generated else begin + timedelta(hours=4, minutes=7)
        strip = begin + timedelta(seconds=datastrip)
        sensed = strip + timedelta(seconds=72 if sensing is None else sensing - datastrip)
        old = Times.of(model)
        swap = Swap(
            {
                **pair(old.start, begin),
                **pair(old.strip, strip),
                **pair(old.made, made),
                "N0511": f"N{baseline.replace('.', '')}",
                "05.11": baseline,
            }
        )
        name = swap(model.name)
        for file in sorted((self.samples / f"{model.name}.SAFE").rglob("*")):
            if not file.is_file():
                continue
            target = self.root / swap(file.relative_to(self.samples).as_posix())
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in TEXTS:
                text = swap(file.read_text())
                target.write_text(re.sub(r"(<SENSING_TIME[^>]*>)[^<.]*", rf"\g<1>{sensed.strftime(ISO)}", text))
            elif not target.exists():
                os.link(file, target)
        item = json.loads(swap(json.dumps(model.item)))
        product = Product(name, [row | {k: swap(row[k]) for k in ("product_id", "path")} for row in model.rows], item)
        self.products[name] = product
        self.stamp(name, made + timedelta(hours=2), created=made + timedelta(hours=1))
        return name

    def adopt(self, folder: Path) -> list[str]:
        """Take over the products of another folder of samples as they are."""
        for product in sample_products(folder):
            for file in sorted((folder / f"{product.name}.SAFE").rglob("*")):
                target = self.root / file.relative_to(folder)
                if file.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, target)
            self.products[product.name] = product
        return [product.name for product in sample_products(folder)]

    def stamp(self, name: str, updated: datetime, created: datetime | None = None) -> None:
        """Say in the item when it last changed, and when it was made."""
        properties = self.products[name].item["properties"]
        properties["updated"] = properties["published"] = updated.strftime(f"{ISO}.000000Z")
        if created:
            properties["created"] = created.strftime(f"{ISO}.000000Z")

    def rows(self, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        return [row for name in self.names(names) for row in self.products[name].rows]

    def items(self, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        return [copy.deepcopy(self.products[name].item) for name in self.names(names)]

    def names(self, names: Iterable[str] | None = None) -> list[str]:
        return list(self.products if names is None else names)

    def index(self, to: Path, names: Iterable[str] | None = None) -> Path:
        """Write the index of these products, or of all."""
        return tables.write(to, self.rows(names))

    def stac(self, to: Path, names: Iterable[str] | None = None) -> Path:
        """Write the items of these products, or of all."""
        to.write_text(json.dumps({"type": "FeatureCollection", "features": self.items(names)}))
        return to


def sample_products(folder: Path) -> list[Product]:
    rows = tables.rows(folder / "index.parquet")
    items = json.loads((folder / "stac/items.json").read_text())["features"]
    found = [Product(i["id"], [r for r in rows if r["product_id"] == i["id"]], i) for i in items]
    return sorted(found, key=lambda product: product.name.split("_")[2])


@dataclass(frozen=True)
class Times:
    """The times by which a product is named."""

    start: datetime
    strip: datetime
    made: datetime

    @classmethod
    def of(cls, product: Product) -> Times:
        words = product.name.split("_")
        strip = re.search(r"_S(\d{8}T\d{6})_", product.item["properties"]["eopf:datastrip_id"])
        assert strip is not None
        return cls(*(datetime.strptime(text, COMPACT) for text in (words[2], strip[1], words[6])))


def pair(old: datetime, new: datetime) -> dict[str, str]:
    return {old.strftime(form): new.strftime(form) for form in (COMPACT, ISO)}


class Swap:
    """Replaces several texts in one pass, so that no replacement is replaced again."""

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words
        self.pattern = re.compile("|".join(re.escape(word) for word in words))

    def __call__(self, text: str) -> str:
        return self.pattern.sub(lambda found: self.words[found[0]], text)
