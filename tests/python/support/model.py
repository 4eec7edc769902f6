"""What a store must hold after a run, and what the report must name: the rules of the decision in a hundred lines.

Nothing here knows of fingerprints, memories, windows or commits: a run is a function of what is held and what is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.living import B01, B09

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

SCL = "conditions/mask/l2a_classification/r60m/scl"
ARRAYS = {"B01_60m": B01, "B09_60m": B09, "SCL_60m": SCL}
"""The array of each raster. All of them count when a later processing is to take the place of an earlier one."""
KNOWN_OFFSETS = (-1000, 0)

Named = tuple[str, str | None, str]
"""A product, one of its rasters or none, and a kind of reason."""


@dataclass
class Product:
    """A product of the archive: what it is, what its files are, and what is said of it."""

    name: str
    acquisition: tuple[int, int]
    """Day and half of the datatake."""
    order: tuple[int, ...]
    """By which products stand on the axis of time."""
    baseline: str
    generated: str
    offset: int
    files: dict[str, int] = field(default_factory=dict)
    """The content of each raster's file."""
    rows: dict[str, int] = field(default_factory=dict)
    """The content that the index says each raster has."""
    damaged: set[str] = field(default_factory=set)
    """Rasters whose index rows are none."""
    listed: bool = True
    """In the index."""
    shown: bool = True
    """In the catalogue."""

    def is_cut(self, raster: str) -> bool:
        """Of damaged rows one kind is cut off; the other has two tiles under each other's number."""
        return (len(self.name + raster) + self.rows[raster]) % 2 == 1

    @property
    def precedence(self) -> tuple[bool, tuple[int, ...], str, str]:
        """Official baselines before unofficial ones, higher ones before lower ones, later generations, names."""
        numbers = tuple(int(number) for number in self.baseline.split("."))
        return numbers[0] not in (0, 99), numbers, self.generated, self.name


@dataclass(frozen=True)
class Held:
    """A product of the store."""

    offset: int
    rasters: dict[str, int]


@dataclass
class Outcome:
    """What a run makes."""

    held: dict[str, Held] = field(default_factory=dict)
    refused: set[Named] = field(default_factory=set)
    """What the report must name."""
    others: set[Named] = field(default_factory=set)
    """What it may name: it depends on what had to be asked for."""
    named: set[str] = field(default_factory=set)
    """Products of which it must name something."""
    incomplete: dict[str, tuple[set[str], str]] = field(default_factory=dict)
    """What a successor lacks, and who stays."""
    leaving: dict[tuple[str, str | None], str] = field(default_factory=dict)
    """What leaves, and the word by which the report tells why."""
    either: set[tuple[str, str]] = field(default_factory=set)
    """Rasters of damaged rows whose files are others by now: they leave where that is seen."""
    fails: str = ""
    """What the sentence says of a run that must not change anything."""


def tree(offset: int, offsets: Iterable[int]) -> str:
    """Where products of an offset stand: the first known one that is there is main's, each other one has an era."""
    main = min(offsets, key=lambda o: (KNOWN_OFFSETS.index(o) if o in KNOWN_OFFSETS else len(KNOWN_OFFSETS), o))
    return "" if offset == main else f"offset-{abs(offset)}"


def run(
    archive: dict[str, Product],
    before: dict[str, Held],
    given: Collection[str],
    *,
    out: Collection[tuple[str, str | None]] = (),
    prune: int = 0,
    accept: bool = False,
    gone: Collection[tuple[str, str]] = (),
) -> Outcome:
    """One run on a store that holds `before`, with inputs of the products `given`.

    `out` are products (their XML with all else) and rasters that the source does not give this time; `prune` is the
    limit in percent, 0 for a run that does not prune; `accept` takes incomplete products; `gone` are those of the
    rasters that may leave or stay (`either`) that left.
    """
    end = Outcome()
    there: dict[str, Held] = {}
    for name in before.keys() | set(given):
        held = before.get(name)
        rasters = dict(held.rasters) if held else {}
        read: set[str] = set()
        product = archive[name]
        if prune and name not in given:
            end.leaving[name, None] = "pruned"
            continue
        if prune:
            for raster in [r for r in rasters if r not in product.rows]:
                del rasters[raster]
                end.leaving[name, raster] = "pruned"
        if name not in given:
            pass
        elif (name, None) in out:
            # What the source does not give stays. It is asked for where the store has not all that is told.
            end.others |= {(name, raster, kind) for raster in (None, *ARRAYS) for kind in REASONS}
            if any(rasters.get(raster) != content for raster, content in product.rows.items()):
                end.named.add(name)
        else:
            for raster, content in product.rows.items():
                if (name, raster) in out:
                    news = raster not in product.damaged and rasters.get(raster) != content
                    (end.refused if news else end.others).add((name, raster, "source"))
                    end.others |= {(name, raster, kind) for kind in ("index", "ranges", "changed")}
                elif raster in product.damaged and (product.is_cut(raster) or product.files[raster] == content):
                    end.refused.add((name, raster, "index" if product.is_cut(raster) else "ranges"))
                    if rasters.get(raster, product.files[raster]) != product.files[raster]:
                        # Where the file was looked at, it is proven to be another one.
                        end.either.add((name, raster))
                        if (name, raster) in gone:
                            del rasters[raster]
                            end.leaving[name, raster] = "another one"
                elif product.files[raster] != content:
                    # Another file than was indexed: what is held of it cannot be read any more.
                    end.refused.add((name, raster, "changed"))
                    if rasters.pop(raster, None) is not None:
                        end.leaving[name, raster] = "another one"
                else:
                    rasters[raster] = content
                    read.add(raster)
            if held and read and product.offset != held.offset:
                # Made anew in its place: the rest would get the new offset.
                end.leaving |= {(name, raster): "another one" for raster in held.rasters if raster not in read}
                rasters = {raster: rasters[raster] for raster in read}
            # What its rasters say is enough.
            end.others.add((name, None, "empty"))
        if rasters:
            offset = product.offset if read or not held else held.offset
            there[name] = Held(offset, rasters)
    for acquisition in {archive[name].acquisition for name in there}:
        rivals = [name for name in there if archive[name].acquisition == acquisition]
        stands = max((name for name in rivals if name in before), key=lambda n: archive[n].precedence, default=None)
        # None takes the place of one that has more.
        can = [n for n in rivals if stands is None or there[n].rasters.keys() >= there[stands].rasters.keys() or accept]
        winner = max(can, key=lambda n: (0 if accept else len(there[n].rasters), archive[n].precedence))
        end.held[winner] = there[winner]
        for name in rivals:
            lower = archive[name].precedence < archive[winner].precedence
            if name == winner:
                continue
            # Whether more than that is said of it depends on whether it had to be asked.
            end.others |= {named for named in end.refused if named[0] == name}
            end.refused = {named for named in end.refused if named[0] != name}
            end.named.discard(name)
            end.refused.add((name, None, "superseded" if lower else "incomplete"))
            if name in before:
                end.leaving = {k: why for k, why in end.leaving.items() if k[0] != name} | {(name, None): "its place"}
            if not lower:
                end.incomplete[name] = (there[winner].rasters.keys() - there[name].rasters.keys(), winner)
    # Of what has nothing to stand with it is enough to say that another one does.
    places = {archive[name].acquisition for name in there}
    for name in [n for n in given if n not in there and archive[n].acquisition in places]:
        end.named |= {name for named in end.refused if named[0] == name}
        end.others |= {(name, raster, kind) for raster in (None, *ARRAYS) for kind in REASONS}
        end.refused = {named for named in end.refused if named[0] != name}
    guard(before, end, prune)
    return end


REASONS = ("source", "index", "ranges", "changed", "empty", "superseded", "incomplete")


def guard(before: dict[str, Held], end: Outcome, limit: int) -> None:
    """Pruning takes no more than its limit, of products and of rasters."""
    pruned = [key for key, why in end.leaving.items() if why == "pruned"]
    whole = [name for name, raster in pruned if raster is None]
    rasters = sum(len(before[name].rasters) if raster is None else 1 for name, raster in pruned)
    of = sum(len(held.rasters) for held in before.values())
    if len(whole) * 100 > len(before) * limit or rasters * 100 > of * limit:
        end.held, end.fails = before, "--prune-limit"


def trees(archive: dict[str, Product], held: dict[str, Held]) -> dict[str, list[str]]:
    """The products of each tree in the order of time."""
    offsets = {product.offset for product in held.values()}
    out: dict[str, list[str]] = {}
    for name in sorted(held, key=lambda name: (archive[name].order, name)):
        out.setdefault(tree(held[name].offset, offsets), []).append(name)
    return out


def changes(archive: dict[str, Product], before: dict[str, Held], end: Outcome) -> dict[str, dict[str, set[str]]]:
    """What changes in each tree, by the words of the report; what is new is `added`."""
    old, new = trees(archive, before), trees(archive, end.held)
    out = {}
    for name in old.keys() | new.keys():
        was, now = set(old.get(name, ())), set(new.get(name, ()))
        replaced = {p for p in was - now if p not in end.held and end.leaving.get((p, None)) == "its place"}
        places = {archive[p].acquisition for p in replaced}
        comers = {p for p in now - was if archive[p].acquisition not in places}
        out[name] = {
            "replaced": replaced,
            "removed": {p for p in was - now if p not in end.held} - replaced,
            "moved": {p for p in was - now if p in end.held} | {p for p in comers if p in before},
            "added": {p for p in comers if p not in before},
            "updated": {p for p in was & now if before[p] != end.held[p]},
        }
    return {name: {word: them for word, them in words.items() if them} for name, words in out.items()}
