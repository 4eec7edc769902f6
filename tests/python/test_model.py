"""Random operations on one store, each compared with a model that says what the store must hold and the report name.

S2ICE_MODEL_STEPS is how many (90), S2ICE_MODEL_SEED runs the sequence of one seed only. A failure tells the seed and
what was done so far.
"""

from __future__ import annotations

import json
import os
import random
import re
import traceback
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import s2ice as package
from support import catalogue, model, stores, tables
from support.archive import Archive, sample_products
from support.living import Living, refused
from support.model import ARRAYS, Held, Outcome, Product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

STEPS = int(os.environ.get("S2ICE_MODEL_STEPS", "90"))
LENGTH = 30
"""Steps of a sequence."""
ONLY = os.environ.get("S2ICE_MODEL_SEED")
SEEDS = [int(ONLY)] if ONLY else range(-(-STEPS // LENGTH))
MOST = 6
"""Acquisitions in an archive: fewer than lose their files by an accident of a whole store, as the guard has it."""
ALL = 100
"""A limit of pruning that is none."""


@pytest.fixture(scope="module")
def models(make_samples: Callable[..., Samples]) -> Samples:
    """What the files of the archive can contain."""
    return make_samples("--dates", "3", "--assets", ",".join(ARRAYS), "--no-swath-edge", "--truth")


class World:
    """An archive that changes, what is said of it, and the store that is made of it."""

    def __init__(self, s2ice: Command, models: Samples, folder: Path, seed: int, items: catalogue.Catalogue) -> None:
        self.chance = random.Random(seed)
        self.models = models
        self.contents = sample_products(models.root)
        self.archive = Archive(folder / "archive", models.root)
        self.living = Living(s2ice, self.archive, folder / "stores")
        self.items = items if self.chance.random() < 0.5 else None
        self.more: list[str] = ["--no-angles"] if self.chance.random() < 0.7 else []
        self.memory = self.chance.choice(["none", None, None])
        self.now = datetime(2025, 1, 1)
        self.products: dict[str, Product] = {}
        self.held: dict[str, Held] = {}
        self.states: dict[str, dict[str, Held]] = {}
        """What the store held, by the tag under which that was published."""
        self.frozen: set[tuple[int, int]] = set()
        """Acquisitions of which something was withdrawn: whether an answer has it depends on what was asked."""
        self.out: set[tuple[str, str | None]] = set()
        """What the source does not give in the next run."""
        self.failed: set[str] = set()
        """Products that the source did not give once: another time is waited for."""
        self.recheck: set[str] = set()
        self.unreached: set[str] = set()
        self.log = [f"catalogue {self.items is not None}, memory {self.memory}, {self.more}"]

    # What happens to the archive. An operation that finds nothing to work on gives False.

    def add(self, day: int, half: int = 0, baseline: str = "05.11", lacks: str = "", offset: int | None = None) -> None:
        """Make a product, of any generation."""
        generated = self.day()
        strip = 86 + 60 * half + self.chance.choice((0, 1))
        base = day % 2
        start = f"2024-06-{day:02}"
        name = self.archive.add(start, base=base, baseline=baseline, generated=generated, datastrip=strip)
        assert name not in self.products
        product = Product(name, (day, half), (day, strip), baseline, generated, -1000)
        self.products[name] = product
        for raster in ARRAYS:
            if raster != lacks:
                self.put(product, raster, self.chance.randrange(3))
        self.offset(product, offset)
        self.tell(product)
        self.say(f"add {self.short(name)} {product.rows} offset {product.offset}")

    def day(self) -> str:
        """A day on which no product was made yet."""
        while True:
            day = (datetime(2024, 7, 1) + timedelta(days=self.chance.randrange(600))).date().isoformat()
            if all(product.generated != day for product in self.products.values()):
                return day

    def put(self, product: Product, raster: str, content: int) -> None:
        """Put a content into a file and into the index: by a link, since a further copy would be another file."""
        self.replace(product, raster, content)
        product.rows[raster] = content
        product.damaged.discard(raster)

    def replace(self, product: Product, raster: str, content: int) -> None:
        target = self.file(product, raster)
        target.unlink(missing_ok=True)
        os.link(self.file_of(content, raster), target)
        product.files[raster] = content

    def file(self, product: Product, raster: str) -> Path:
        """The file of a raster, which has the name that it has in the product's sample."""
        (row,) = (row for row in self.archive.products[product.name].rows if tables.asset(row) == raster)
        return self.archive.root / row["path"].lstrip("/")

    def file_of(self, content: int, raster: str) -> Path:
        return self.models.root / self.row_of(content, raster)["path"].lstrip("/")

    def row_of(self, content: int, raster: str) -> dict[str, Any]:
        (row,) = (row for row in self.contents[content].rows if tables.asset(row) == raster)
        return row

    def offset(self, product: Product, offset: int | None = None) -> None:
        """Write an offset into the product's XML."""
        product.offset = self.chance.choice((-1000, -1000, -1000, 0, -500)) if offset is None else offset
        xml = self.archive.root / f"{product.name}.SAFE/MTD_MSIL2A.xml"
        text = re.sub(r"(<BOA_ADD_OFFSET [^>]*>)[^<]*", rf"\g<1>{product.offset}", xml.read_text())
        xml.unlink()
        xml.write_text(text)

    def tell(self, product: Product) -> None:
        """The catalogue says that something of a product changed."""
        self.archive.stamp(product.name, self.now)
        if product.shown and self.items:
            self.items.put(self.archive.items([product.name]))

    def rows(self, names: list[str]) -> list[dict[str, Any]]:
        """What the index has of some products."""
        out = []
        for product in (self.products[name] for name in names):
            for row in self.archive.products[product.name].rows:
                raster = tables.asset(row)
                if raster in product.rows:
                    index = self.row_of(product.rows[raster], raster)["index"]
                    if raster in product.damaged:
                        index = damage(index, cut=product.is_cut(raster))
                    out.append(row | {"index": index})
        return out

    def pick(self, which: Callable[[Product], object] = lambda _: True) -> Product | None:
        """A product to work on. The very first one is left alone: an input of which nothing can be used is broken."""
        first = next(iter(self.products), None)
        free = [p for p in self.products.values() if p.name != first and p.acquisition not in self.frozen and which(p)]
        return self.chance.choice(free) if free else None

    def some_acquisition(self) -> tuple[int, int] | None:
        product = self.pick()
        return product.acquisition if product else None

    def free_days(self) -> list[int]:
        days = {product.acquisition[0] for product in self.products.values()}
        return [day for day in range(2, 29) if day not in days] if len(days) < MOST else []

    def comes(self) -> object:
        """A product of a day, often before others that are there; sometimes not whole."""
        days = self.free_days()
        if not days:
            return False
        lacks = self.chance.choice(("", "", "", *ARRAYS))
        return self.add(self.chance.choice(days), lacks=lacks)

    def two_halves_come(self) -> object:
        days = self.free_days()
        if not days:
            return False
        day = self.chance.choice(days)
        return [self.add(day, half) for half in self.chance.sample((0, 1), self.chance.choice((1, 2)))]

    def is_processed_again(self) -> object:
        """Higher and lower baselines, earlier and later generations, official and not; whole or not."""
        acquisition = self.some_acquisition()
        if not acquisition or sum(p.acquisition == acquisition for p in self.products.values()) > 4:
            return False
        baseline = self.chance.choice(("05.10", "05.11", "05.11", "05.12", "05.12", "99.99", "00.01"))
        return self.add(*acquisition, baseline=baseline, lacks=self.chance.choice(("", "", *ARRAYS)))

    def rows_come(self) -> object:
        """What a product lacked is indexed."""
        product = self.pick(lambda p: p.rows.keys() < ARRAYS.keys())
        if not product:
            return False
        raster = self.chance.choice(sorted(ARRAYS.keys() - product.rows.keys()))
        self.put(product, raster, self.chance.randrange(3))
        return self.say(f"{self.short(product.name)} gets {raster}: {product.rows[raster]}")

    def a_row_goes(self) -> object:
        product = self.pick(lambda p: len(p.rows) > 1)
        if not product:
            return False
        raster = self.chance.choice(sorted(product.rows))
        del product.rows[raster]
        product.damaged.discard(raster)
        return self.say(f"{self.short(product.name)} loses the row of {raster}")

    def is_made_anew_in_place(self) -> object:
        """Files, XML and index rows of a product change under its name."""
        product = self.pick(lambda p: p.rows)
        if not product:
            return False
        rasters = sorted(product.rows)
        other = self.chance.choice(rasters)
        for raster in rasters:
            old = product.rows[raster]
            self.put(product, raster, (old + 1) % 3 if raster == other else self.chance.randrange(3))
        if self.chance.random() < 0.5:
            self.offset(product)
        self.tell(product)
        return self.say(f"{self.short(product.name)} is made anew: {product.rows} offset {product.offset}")

    def a_row_is_damaged(self) -> object:
        product = self.pick(lambda p: p.rows)
        if not product:
            return False
        raster = self.chance.choice(sorted(product.rows))
        product.damaged.add(raster)
        return self.say(f"{self.short(product.name)}: the row of {raster} is damaged")

    def a_file_is_replaced(self) -> object:
        """Nothing but looking at it can tell: the operator orders that."""
        product = self.pick(lambda p: p.rows.keys() - p.damaged)
        if not product:
            return False
        raster = self.chance.choice(sorted(product.rows.keys() - product.damaged))
        self.replace(product, raster, (product.files[raster] + 1) % 3)
        self.recheck.add(product.name)
        return self.say(f"{self.short(product.name)}: the file of {raster} becomes {product.files[raster]}")

    def is_mended(self) -> object:
        """The index has what the files are."""
        product = self.pick(lambda p: p.damaged or any(p.files[r] != c for r, c in p.rows.items()))
        if not product:
            return False
        product.rows = {raster: product.files[raster] for raster in product.rows}
        product.damaged.clear()
        return self.say(f"{self.short(product.name)} is indexed again")

    def is_withdrawn(self) -> object:
        """From the index, or from the catalogue."""
        product = self.pick(lambda p: p.listed and p.shown and self.held.get(p.name) == Held(p.offset, p.files))
        if not product or product.damaged or product.rows != product.files:
            return False
        if self.items and self.chance.random() < 0.5:
            product.shown = False
            del self.items.items[product.name]
        else:
            product.listed = False
        self.frozen.add(product.acquisition)
        return self.say(f"{self.short(product.name)} is withdrawn: listed {product.listed}, shown {product.shown}")

    def is_out_of_reach(self) -> object:
        """For one run, and a product only once: what fails twice is waited for."""
        product = self.pick(lambda p: p.rows and p.name not in self.failed)
        if not product:
            return False
        self.failed.add(product.name)
        self.out.add((product.name, self.chance.choice((None, *sorted(product.rows)))))
        return self.say(f"out of reach: {[(self.short(p), r) for p, r in self.out]}")

    def memory_is_lost(self) -> object:
        place = self.living.store / "s2ice/memory.parquet"
        if not place.exists():
            return False
        place.unlink()
        return self.say("the memory is lost")

    # Runs.

    def runs(self, *, plain: bool = False, prune: int = 0) -> None:
        """One run of some kind, and what it must make."""
        kind = ""
        if not plain:
            prune = self.chance.choice((0, 0, 0, 0, ALL, 50))
            kind = self.chance.choice(("", "", "", "", "two", "pages", "accept", "all", "full"))
            if (kind == "accept" and self.frozen) or (kind == "two" and self.out):
                # What gives way to less comes back where an answer does not tell that it was withdrawn; what fails
                # in two runs is waited for.
                kind = ""
        recheck = ["--recheck"] if kind == "all" else [w for name in self.recheck for w in ("--recheck", name)]
        more = [*self.more, *recheck]
        more += ["--prune", "--prune-limit", str(prune)] if prune else []
        more += ["--accept-incomplete"] if kind == "accept" else ["--full"] if kind == "full" else []
        options: dict[str, Any] = {"memory": self.memory}
        if self.items:
            options["stac"] = self.items.endpoint
        listed = [name for name, product in self.products.items() if product.listed]
        self.chance.shuffle(listed)
        index = tables.write(self.living.folder.parent / "index.parquet", self.rows(listed))
        given = [name for name in listed if not self.items or self.products[name].shown]
        accept = kind == "accept"
        self.say(f"run {more} {kind}")
        with self.trouble():
            if kind == "pages" and self.items:
                self.incomplete_answer(index, given, more, options)
            elif kind == "two" and not prune and not self.items:
                self.two_writers(index, listed, more, options)
            else:
                end = model.run(self.products, self.held, given, out=self.out, prune=prune, accept=accept)
                if end.fails:
                    self.say(f"  fails: {end.fails}")
                    sentence = self.living.fails(None, *more, index=index, **options)
                    assert end.fails in sentence, sentence
                else:
                    report = self.living.run(None, *more, index=index, **options)
                    self.holds(report, self.expected(report, given, out=self.out, prune=prune, accept=accept))
                    if prune:
                        self.forget_withdrawn()
        # An order that could not be carried out is given again.
        self.unreached |= self.recheck & {name for name, _ in self.out}
        self.out.clear()
        self.recheck.clear()
        self.recheck |= self.unreached
        self.unreached.clear()

    def incomplete_answer(self, index: Path, given: list[str], more: list[str], options: dict[str, Any]) -> None:
        """Which of the new products come is the catalogue's to say; all else is as if it had said nothing of others."""
        assert self.items
        self.items.down = "pages"
        if not self.held:
            self.items.down = ""
        try:
            report = self.living.run(None, *more, stale=None, index=index, **options)
        finally:
            self.items.down = ""
        if not report["stac"]["incomplete"]:
            prune = int(more[more.index("--prune-limit") + 1]) if "--prune" in more else 0
            self.holds(report, self.expected(report, given, out=self.out, prune=prune))
            if prune:
                self.forget_withdrawn()
            return
        self.say(f"  incomplete: {report['stac']['incomplete']}")
        view = self.living.view()
        seen = {name for names in (view.products, *view.eras.values()) for name in names} | self.held.keys()
        seen |= {r["product"] for r in report["refused"]}
        # What the answer did not show could not be looked at.
        self.unreached = self.recheck - seen
        end = self.expected(report, [n for n in given if n in seen], out=self.out)
        assert "pruned" not in end.leaving.values()
        self.holds(report, end)

    def expected(self, report: dict[str, Any], given: list[str], **options: Any) -> Outcome:
        """What the model says; what was seen to be gone, where that may be seen or not, is the report's to say."""
        end = model.run(self.products, self.held, given, **options)
        left = {(one["product"], one.get("raster")) for one in report["leaving"]} - end.leaving.keys()
        # With it the whole product may have lost its place.
        gone = {(name, raster) for name, raster in end.either if left & {(name, raster), (name, None)}}
        return model.run(self.products, self.held, given, gone=gone, **options) if gone else end

    def two_writers(self, index: Path, listed: list[str], more: list[str], options: dict[str, Any]) -> None:
        """Two runs at once, of which one knows less."""
        less = tables.write(self.living.folder.parent / "less.parquet", self.rows(listed[1:]) or self.rows(listed))
        lines = [self.living.line(None, *more, "--json", index=i, **options) for i in (index, less)]
        processes = [self.living.s2ice.start(*line) for line in lines]
        reports = []
        for process in processes:
            text, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            reports.append(json.loads(text))
        end = model.run(self.products, self.held, listed, out=self.out)
        # The one that knows less may have published first, and less.
        self.published(max(report.get("published") or "" for report in reports), held=end.held)
        self.held = end.held
        self.stands()

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """The source lacks something for a while."""
        with ExitStack() as stack:
            for name, raster in sorted(self.out, key=str):
                path = self.archive.root / f"{name}.SAFE"
                if raster:
                    path = self.file(self.products[name], raster)
                away = path.rename(path.with_name(f"{path.name}.away"))
                stack.callback(away.rename, path)
            yield

    def forget_withdrawn(self) -> None:
        """After pruning nothing is left of what was withdrawn."""
        gone = [name for name, p in self.products.items() if not (p.listed and (p.shown or not self.items))]
        for name in gone:
            assert name not in self.held
            del self.products[name]
        self.frozen.clear()
        # States of before may have them.
        self.states = {tag: held for tag, held in self.states.items() if held.keys() <= self.products.keys()}

    def is_rolled_back(self) -> object:
        # Of what the catalogue has not any more it depends on the way of asking whether news of the index are taken.
        hidden = [name for name, product in self.products.items() if not product.shown]
        same = {tag: all(held.get(n) == self.held.get(n) for n in hidden) for tag, held in self.states.items()}
        tags = [tag for tag, held in self.states.items() if held != self.held and same[tag]]
        if not tags:
            return False
        tag = self.chance.choice(tags)
        self.living.s2ice("rollback", self.living.store, tag)
        self.held = self.states[tag]
        # That a file is another one is known of the store that was left.
        others = (n for n in self.held if any(self.products[n].files[r] != c for r, c in self.products[n].rows.items()))
        self.recheck.update(others)
        self.say(f"rolled back to {tag}")
        self.stands()
        return True

    def is_cleaned(self) -> object:
        """What is old and needed by nobody goes; readers see what they saw."""
        if not self.held:
            return False
        for file in self.living.store.rglob("*"):
            if self.chance.random() < 0.8:
                os.utime(file, times=(1.5e9, 1.5e9))
        self.living.s2ice("gc", self.living.store, "--older-than", "1d")
        self.say("gc")
        self.stands()
        return True

    # What must be so.

    def holds(self, report: dict[str, Any], end: Outcome) -> None:
        """The report names what it must and nothing else, and the store is what the model says."""
        self.published(report.get("published"), held=end.held)
        before, self.held = self.held, end.held
        self.stands()
        told = refused(report)
        # What the catalogue has no more is named where it had to be looked at.
        gone = [name for name, product in self.products.items() if not product.shown]
        end.others |= {(name, None, kind) for name in gone for kind in model.REASONS}
        if self.memory is None:
            # What is remembered as another file is not asked for either.
            named = {(name, raster) for name, raster, _ in told}
            unasked = {(name, raster, "source") for name, raster in self.out if (name, raster) in named}
            end.refused, end.others = end.refused - unasked, end.others | unasked
        assert end.refused <= told, f"not named: {end.refused - told}"
        assert told <= end.refused | end.others, f"named for nothing: {told - end.refused - end.others}"
        assert end.named <= {name for name, *_ in told}, f"not named: {end.named}, {told}"
        incomplete = {one["product"]: (set(one["lacks"]), one["stays"]) for one in report["incomplete"]}
        # What is remembered as incomplete is not asked for, so nobody sees that it is out of reach.
        unseen = {name for name, _ in self.out if self.memory is None}
        seen, wanted = ({k: v for k, v in of.items() if k not in unseen} for of in (incomplete, end.incomplete))
        assert seen == wanted
        leaving = {(one["product"], one.get("raster")): one["reason"] for one in report["leaving"]}
        for name in before.keys() - end.held.keys():
            # What has lost its place is not asked what else it has lost.
            if "its place" in leaving.get((name, None), "") and (name, None) not in end.leaving:
                rest = {key: why for key, why in end.leaving.items() if key[0] != name}
                end.leaving = rest | {(name, None): "its place"}
        assert leaving.keys() == end.leaving.keys()
        assert all(end.leaving[key] in reason for key, reason in leaving.items()), leaving
        seen = {era["era"]: era["changes"] for era in report["eras"]} | {"": report["changes"]}
        words = {era: said(changes) for era, changes in seen.items()}
        wanted = model.changes(self.products, before, end)
        assert {k: v for k, v in words.items() if v} == {k: v for k, v in wanted.items() if v}
        assert ("committed" in report) or before == end.held

    def published(self, tag: str | None, held: dict[str, Held]) -> None:
        if tag:
            self.states[tag] = held

    def stands(self, *, whole: bool = False) -> None:
        """The trees, their products in the order of time, which rasters are there, and some pixels."""
        if whole or self.chance.random() < 0.1:
            # That all its parts agree.
            self.living.view()
        trees = model.trees(self.products, self.held)
        root = zarr.open_group(stores.local(self.living.store).store, mode="r")
        eras = list(root["eras"].group_keys()) if "eras" in root else []
        places = {"": root} | {era: root[f"eras/{era}"] for era in eras}
        seen = {era: place["products/product_id"][:].tolist() for era, place in places.items()}
        assert seen == trees, f"stands {self.brief(seen)}, not {self.brief(trees)}"
        for era, names in trees.items():
            for raster, array in ARRAYS.items():
                wanted = [raster in self.held[name].rasters for name in names]
                assert present(places[era], array, len(names)) == wanted, f"{era} {raster} {self.brief(trees)}"
        name = self.chance.choice(sorted(self.held))
        (era,) = (era for era, names in trees.items() if name in names)
        self.pixels(era, trees[era].index(name), name)

    def pixels(self, era: str, step: int, name: str) -> None:
        """Those of one raster, by numbers and in reflectance."""
        raster = self.chance.choice(sorted(self.held[name].rasters))
        content = self.held[name].rasters[raster]
        if self.products[name].files[raster] != content or (name, None) in self.out or (name, raster) in self.out:
            # The store refers to a file that is not there: readers get an error.
            return
        group, _, array = ARRAYS[raster].rpartition("/")
        source = {"local": str(self.archive.root)}
        opened = package.open(str(self.living.store), group, eras=era or "main", source=source, mask_and_scale=False)
        leaf = opened[array]
        truth = self.models.truth(self.contents[content].name, raster)
        row, column = self.chance.randrange(1500), self.chance.randrange(1500)
        window = np.s_[row : row + 200, column : column + 200]
        np.testing.assert_array_equal(leaf[step][window].to_numpy(), truth[window], err_msg=f"{name} {raster}")
        if "add_offset" in leaf.attrs:
            assert leaf.attrs["add_offset"] == self.held[name].offset / 10_000

    def is_as_built(self) -> None:
        """The store is what one build of the last inputs makes, wherever the model says that."""
        listed = [name for name, p in self.products.items() if p.listed and (p.shown or not self.items)]
        fresh = model.run(self.products, {}, listed)
        if fresh.held != self.held:
            self.say("the store remembers what the inputs do not say")
            return
        index = tables.write(self.living.folder.parent / "index.parquet", self.rows(listed))
        self.living.is_as_built(None, *self.more, index=index, stac=self.items.endpoint if self.items else False)
        self.say("as built")

    def step(self) -> None:
        """One operation, or some and a run."""
        self.now += timedelta(days=self.chance.choice((0, 1, 3)))
        if self.chance.random() < 0.12 and self.chance.choice((self.is_rolled_back, self.is_cleaned))():
            return
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            operations = [operation for operation, weight in OPERATIONS.items() for _ in range(weight)]
            while self.chance.choice(operations)(self) is False:
                pass
        self.runs()

    def say(self, what: str) -> None:
        self.log.append(what)

    def brief(self, trees: dict[str, list[str]]) -> dict[str, list[str]]:
        return {tree: [self.short(name) for name in names] for tree, names in trees.items()}

    def short(self, name: str) -> str:
        """Start, baseline and day of processing tell a product."""
        words = name.split("_")
        return f"{words[2][4:8]}-{words[3]}-{words[6][:8]}"


OPERATIONS = {
    World.comes: 5,
    World.two_halves_come: 2,
    World.is_processed_again: 7,
    World.rows_come: 3,
    World.a_row_goes: 1,
    World.is_made_anew_in_place: 4,
    World.a_row_is_damaged: 2,
    World.a_file_is_replaced: 2,
    World.is_mended: 3,
    World.is_withdrawn: 2,
    World.is_out_of_reach: 3,
    World.memory_is_lost: 1,
}
"""What can happen to an archive, and how often it does."""


def damage(index: bytes, *, cut: bool) -> bytes:
    """A row that is none: cut off, or two tiles under each other's number."""
    if cut:
        return index[:30]
    out = bytearray(index)
    # The numbers of the first two tiles.
    numbers, width = index[25] >> 4 & 3, 4 if index[25] & 0x40 else 2
    first, second = 26, 26 + numbers + width
    out[first : first + numbers], out[second : second + numbers] = (
        index[second : second + numbers],
        index[first : first + numbers],
    )
    return bytes(out)


def present(place: zarr.Group, array: str, count: int) -> list[bool]:
    """At which steps an array has data."""
    if array not in place:
        return [False] * count
    flags: Any = place[f"{array.rpartition('/')[0]}/present"]
    masks = dict(zip(flags.attrs["flag_meanings"].split(), flags.attrs["flag_masks"], strict=True))
    return [bool(flag & masks[array.rpartition("/")[2]]) for flag in flags[:].tolist()]


def said(changes: dict[str, Any]) -> dict[str, set[str]]:
    """What a report says that changes, in the words of the model."""
    out = {
        "replaced": {one["product"] for one in changes["replaced"]},
        "removed": set(changes["removed"]),
        "moved": set(changes["moved"]),
        "added": {*changes["appended"], *changes["inserted"]},
        "updated": set(changes["updated"]),
    }
    return {word: them for word, them in out.items() if them}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_store_is_what_the_model_says(s2ice: Command, models: Samples, tmp_path: Path, seed: int) -> None:
    with catalogue.serve() as items:
        world = World(s2ice, models, tmp_path, seed, items)
        try:
            world.add(1, offset=-1000)
            world.runs()
            for number in range(LENGTH):
                world.say(f"step {number}")
                world.step()
            # The last answer may have been cut short.
            world.runs(plain=True)
            world.stands(whole=True)
            world.is_as_built()
        except Exception as error:
            done = "\n".join(world.log)
            where = "".join(traceback.format_tb(error.__traceback__)[-2:])
            pytest.fail(f"S2ICE_MODEL_SEED={seed}\n{done}\n{where}{type(error).__name__}: {error}", pytrace=False)


# What the sequences above found, each by itself.


ALWAYS = pytest.mark.parametrize("world", ["none", None], indirect=True, ids=["without memory", "with memory"])


@pytest.fixture
def world(request: pytest.FixtureRequest, s2ice: Command, models: Samples, tmp_path: Path) -> Iterator[World]:
    """A world in which nothing is left to chance but contents."""
    with catalogue.serve() as items:
        world = World(s2ice, models, tmp_path, 1, items)
        world.items, world.memory, world.more = None, request.param, ["--no-angles"]
        world.add(1, offset=-1000)
        yield world


def last(world: World) -> Product:
    return list(world.products.values())[-1]


@ALWAYS
@pytest.mark.parametrize("how", ["out of reach", "damaged"])
def test_what_was_out_of_reach_while_the_rest_changed_is_asked_again(world: World, how: str) -> None:
    """A product is made anew in place, and one of its files is not given, or its row is damaged."""
    world.add(5, offset=-1000)
    world.runs(plain=True)
    product = last(world)
    for raster in ARRAYS:
        world.put(product, raster, (product.rows[raster] + 1) % 3)
    if how == "damaged":
        product.damaged.add("B09_60m")
    else:
        world.out.add((product.name, "B09_60m"))
    world.runs(plain=True)
    world.runs(plain=True)


@ALWAYS
def test_what_stands_loses_a_raster_to_a_rival(world: World) -> None:
    """A later processing loses a raster for good, and the earlier one has it."""
    world.add(5, offset=-1000)
    world.add(5, baseline="05.12", offset=-1000)
    world.runs(plain=True)
    product = last(world)
    world.replace(product, "B01_60m", (product.files["B01_60m"] + 1) % 3)
    world.recheck.add(product.name)
    world.runs(plain=True)


@ALWAYS
def test_a_successor_is_whole_enough_once_what_stands_has_lost_what_it_lacks(world: World) -> None:
    world.add(5, offset=-1000)
    product = last(world)
    world.runs(plain=True)
    world.add(5, baseline="05.12", lacks="B01_60m", offset=-1000)
    world.runs(plain=True)
    world.replace(product, "B01_60m", (product.files["B01_60m"] + 1) % 3)
    world.recheck.add(product.name)
    world.runs(plain=True)


@ALWAYS
@pytest.mark.parametrize("again", [False, True])
def test_an_older_self_comes_back_in_the_run_that_prunes_its_later_one(world: World, again: bool) -> None:
    world.add(5, offset=-1000)
    world.add(5, baseline="05.12", offset=-1000)
    product = last(world)
    world.runs(plain=True)
    if again:
        world.runs(plain=True)
    product.listed = False
    world.runs(plain=True, prune=ALL)


@ALWAYS
def test_the_other_half_keeps_no_older_self_away(world: World) -> None:
    """What is remembered as superseded comes back when what superseded it is gone, whatever the other half is."""
    world.add(5, 0, offset=-1000)
    world.add(5, 0, baseline="05.12", offset=-1000)
    product = last(world)
    world.add(5, 1, baseline="05.12", offset=-1000)
    world.runs(plain=True)
    product.listed = False
    world.runs(plain=True, prune=ALL)
    world.runs(plain=True)


@ALWAYS
@pytest.mark.parametrize("how", ["gains", "loses"])
def test_what_a_successor_lacks_is_told_of_what_stands_now(world: World, how: str) -> None:
    """The one that stays gains a raster that the successor lacks too, or loses one of two."""
    world.add(5, lacks="B09_60m" if how == "gains" else "", offset=-1000)
    product = last(world)
    world.runs(plain=True)
    world.add(5, baseline="05.12", lacks="B01_60m", offset=-1000)
    successor = last(world)
    del successor.rows["B09_60m"]
    world.runs(plain=True)
    if how == "gains":
        world.put(product, "B09_60m", 1)
    else:
        world.replace(product, "B09_60m", (product.files["B09_60m"] + 1) % 3)
        world.recheck.add(product.name)
    world.runs(plain=True)
    world.runs(plain=True)


@ALWAYS
def test_what_was_lost_while_another_was_out_of_reach_is_not_forgotten(world: World) -> None:
    """Of one product a file is another one by now, and another file is not given: both are named and asked for."""
    world.add(5, offset=-1000)
    world.runs(plain=True)
    product = last(world)
    world.replace(product, "B01_60m", (product.files["B01_60m"] + 1) % 3)
    world.out.add((product.name, "B09_60m"))
    world.recheck.add(product.name)
    world.runs(plain=True)
    world.runs(plain=True)
