"""Sun and viewing angles on the 5 km grid: every value is that of the product's XML, however the store came to be."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rioxarray  # noqa: F401 (registers the accessor)
import xarray as xr

import s2ice as package
from support import stores
from support.living import Living, changes, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.archive import Archive
    from support.bench import Bench
    from support.command import Command

GROUP = "conditions/geometry"
BANDS = ["b01", "b02", "b03", "b04", "b05", "b06", "b07", "b08", "b8a", "b09", "b10", "b11", "b12"]
ARRAYS = ["mean_sun_angles", "mean_viewing_incidence_angles", "sun_angles", "viewing_incidence_angles"]


def angles(granule: Path) -> dict[str, np.ndarray]:
    """The arrays as another parser makes them of an MTD_TL.xml."""
    root = ET.fromstring(granule.read_text())

    def grid(element: ET.Element) -> np.ndarray:
        names = ("Zenith", "Azimuth")
        rows = [[v.text.split() for v in element.findall(f"{name}/Values_List/VALUES")] for name in names]
        return np.array(rows, dtype=np.float64)

    def means(element: ET.Element) -> list[float]:
        return [float(element.findtext(name)) for name in ("ZENITH_ANGLE", "AZIMUTH_ANGLE")]

    tile = root.find(".//Tile_Angles")
    viewing = np.full((13, 12, 2, 23, 23), np.nan)
    for element in tile.findall("Viewing_Incidence_Angles_Grids"):
        viewing[int(element.get("bandId")), int(element.get("detectorId")) - 1] = grid(element)
    mean_viewing = np.full((13, 2), np.nan)
    for element in tile.iter("Mean_Viewing_Incidence_Angle"):
        mean_viewing[int(element.get("bandId"))] = means(element)
    found = [means(tile.find("Mean_Sun_Angle")), mean_viewing, grid(tile.find("Sun_Angles_Grid")), viewing]
    return {name: np.asarray(values, dtype=np.float32) for name, values in zip(ARRAYS, found, strict=True)}


def granule(root: Path, product: str) -> Path:
    (path,) = root.glob(f"{product}.SAFE/GRANULE/*/MTD_TL.xml")
    return path


def check(store: Path, root: Path) -> xr.Dataset:
    """Every value of every product of a store; gives the group."""
    session = stores.local(store)
    tree = xr.open_datatree(session.store, engine="zarr", consolidated=False)
    dataset: xr.Dataset = xr.open_zarr(session.store, group=GROUP, consolidated=False, chunks=None)
    assert set(dataset.data_vars) <= set(tree[GROUP].data_vars) | {"present"}
    for step, product in enumerate(tree.products.product_id.to_numpy()):
        for name, wanted in angles(granule(root, product)).items():
            assert dataset[name].dtype == np.float32
            np.testing.assert_array_equal(dataset[name][step].to_numpy(), wanted, err_msg=f"{product} {name}")
    np.testing.assert_array_equal(dataset.time.to_numpy(), tree.products.time.to_numpy())
    return dataset


def test_the_real_product(real_store: tuple[Path, dict[str, Any]], safe: Path) -> None:
    store, report = real_store
    dataset = check(store, safe)
    assert [(a["path"], a["shape"][1:], a["present"]) for a in report["angles"]] == [
        (f"/{GROUP}/mean_sun_angles", [2], 1),
        (f"/{GROUP}/mean_viewing_incidence_angles", [13, 2], 1),
        (f"/{GROUP}/sun_angles", [2, 23, 23], 1),
        (f"/{GROUP}/viewing_incidence_angles", [13, 12, 2, 23, 23], 1),
    ]
    assert report["gate"]["angles_compared"] == 4
    # 29UNU: the grid begins at the tile's corner, and covers it.
    assert (dataset.x[0], dataset.x[1], dataset.y[0], dataset.y[-1]) == (499980, 504980, 5900040, 5790040)
    assert dataset.angle.to_numpy().tolist() == ["zenith", "azimuth"]
    assert dataset.band.to_numpy().tolist() == BANDS
    assert dataset.detector.to_numpy().tolist() == list(range(1, 13))
    assert dataset.present.to_numpy().tolist() == [15]
    assert dataset.present.attrs["flag_meanings"].split() == ARRAYS
    # In October at noon the sun stands in the south, 58 degrees from the zenith; the instrument looks down.
    sun = dataset.sun_angles.isel(time=0)
    assert 56 < float(sun.sel(angle="zenith").mean()) < 59
    assert 170 < float(sun.sel(angle="azimuth").mean()) < 176
    np.testing.assert_allclose(sun.mean(("y", "x")), dataset.mean_sun_angles.isel(time=0), atol=0.1)
    view = dataset.viewing_incidence_angles.isel(time=0)
    assert float(view.sel(angle="zenith").max()) < 13
    assert view.notnull().any(("band", "angle", "y", "x")).to_numpy().nonzero()[0].tolist() == [8, 9, 10, 11]
    opened = package.open(store, GROUP)
    assert float(opened.sun_angles.sel(angle="zenith", x=504980, y=5900040)[0]) == pytest.approx(58.3737, abs=1e-5)
    assert opened.rio.crs.to_epsg() == 32629


def test_level_1c_has_them_too(s2ice: Command, make_samples: Any, tmp_path: Path) -> None:
    samples = make_samples("--dates", "1", "--level", "L1C")
    store = tmp_path / "store"
    s2ice(
        *("build", "--tile", "33TVN", "--level", "L1C", "--index", samples.index, "--source", samples.root),
        *("--store", store, "--memory", "none", "-q"),
    )
    check(store, samples.root)


def test_angles_go_with_their_products(living: Living, archive: Archive) -> None:
    """Appended, inserted, replaced and pruned: each time every value is where its product is."""
    names = [archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6, 11, 16))]
    root = archive.root
    living.run(names[1:3])
    first = check(living.store, root)
    assert not np.array_equal(first.sun_angles[0], first.sun_angles[1]), "the products differ"
    living.run(names[3:])
    check(living.store, root)
    report = living.run(names[:1])
    assert changes(report)["inserted"] == names[:1]
    check(living.store, root)
    living.is_as_built(names)
    later = archive.add("2024-06-06", base=3, generated="2025-01-01")
    report = living.run([later])
    assert changes(report)["replaced"] == [{"product": names[1], "by": later}]
    assert changes(report)["kept"] == 3
    check(living.store, root)
    left = [names[0], later, names[3]]
    assert changes(living.run(left, "--prune"))["removed"] == [names[2]]
    assert check(living.store, root).sizes["time"] == 3
    living.is_as_built(left)
    living.rests(left)
    # Nothing that is still in use is collected.
    living.s2ice("gc", living.store, "--older-than", "1d", "--keep-published", 1)
    check(living.store, root)


def test_a_changed_file_is_noticed(living: Living, archive: Archive) -> None:
    """Once a product is asked anew, its angles are compared by value."""
    names = [archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6))]
    living.run(names)
    path = granule(archive.root, names[1])
    path.write_text(path.read_text().replace("<VALUES>3", "<VALUES>2", 1))
    living.rests(names)
    # Another selection is another question.
    report = living.run(names, "--arrays", "/conditions/geometry/sun_angles", "--arrays", "**/b09")
    assert changes(report)["updated"] == names[1:]
    check(living.store, archive.root)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("<VALUES>", "<VALUES>x ", 1), 'a zenith is "x"'),
        (lambda text: re.sub(r"<VALUES>.*</VALUES>\n", "", text, count=1), "has 22 rows of zenith, not 23"),
        (lambda text: text.replace(">5000</COL_STEP>", ">10000</COL_STEP>", 1), 'COL_STEP is "10000"'),
        (lambda text: text[: text.index("</Tile_Angles>")], "the document ends too early"),
        (lambda text: re.sub(r"<Tile_Angles.*</Tile_Angles>", "", text, flags=re.S), "has no Sun_Angles_Grid"),
    ],
)
def test_damaged_angles_leave_the_product_in(living: Living, archive: Archive, change: Any, words: str) -> None:
    names = [archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6))]
    path = granule(archive.root, names[0])
    whole = path.read_text()
    path.write_text(change(whole))
    report = living.run(names)
    assert refused(report) == {(names[0], "MTD_TL angles", "metadata")}
    assert words in report["refused"][0]["reason"]
    dataset = package.open(living.store, GROUP)
    assert dataset.present_geometry.to_numpy().tolist() == [0, 15]
    assert dataset.sun_angles[0].isnull().all()
    assert all(flags == (True, True) for flags in living.view().present.values())
    # It is tried again, and found mended.
    path.write_text(whole)
    assert changes(living.run(names))["updated"] == names[:1]
    check(living.store, archive.root)
    living.is_as_built(names)


def test_a_store_without_angles_gets_them_for_old_products_too(living: Living, archive: Archive) -> None:
    names = [archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6, 11))]
    report = living.run(names[:2], "--no-angles")
    assert report["angles"] == []
    assert GROUP not in stores.documents(stores.local(living.store))
    bare = living.run(names[:2], "--no-angles", store=living.folder / "bare")
    assert bare["source_use"]["bytes"] < 500_000
    report = living.run(names)
    assert changes(report)["updated"] == names[:2]
    check(living.store, archive.root)
    living.is_as_built(names)
    # What is not asked for stays, unless the store is pruned.
    living.run(names, "--no-angles")
    check(living.store, archive.root)
    living.run(names, "--arrays", f"/{GROUP}/*sun*", "--arrays", "/measurements/**", "--prune")
    arrays = {path for path in stores.documents(stores.local(living.store)) if path.endswith("_angles")}
    assert arrays == {f"{GROUP}/mean_sun_angles", f"{GROUP}/sun_angles"}
    living.run(names, "--no-angles", "--prune")
    assert GROUP not in stores.documents(stores.local(living.store))
    living.is_as_built(names, "--no-angles")


def test_without_the_files_there_are_none(bench: Bench) -> None:
    report = bench.build("--headers", "assume")
    assert report["angles"] == []


def test_info_and_diff_know_them(bench: Bench, tmp_path: Path) -> None:
    bench.build()
    info = bench.s2ice("info", bench.store, "--json").json
    assert [(a["path"], a["present"]) for a in info["angles"]] == [(f"/{GROUP}/{name}", 2) for name in ARRAYS]
    assert f"/{GROUP}/sun_angles" in bench.s2ice("info", bench.store).stdout
    other = tmp_path / "other"
    bench.build("--no-angles", store=other)
    report = bench.s2ice("diff", bench.store, other, "--json", code=1).json
    assert {node["path"] for node in report["nodes"]} >= {f"/{GROUP}", f"/{GROUP}/sun_angles"}
