"""GeoTIFFs as GDAL writes them, and items that name them as Earth Search does (`sentinel-2-c1-l2a`)."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy
from rasterio.transform import from_origin

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TILE = "33TVN"
EPSG = 32633
CORNER = (399_960, 5_300_040)
EDGE = 109_800
HOST = "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com"
FOLDER = "sentinel-2-c1-l2a/33/T/VN/2024/5"

DEFLATE = {"compress": "DEFLATE", "predictor": 2}
KEYS = {"B01": "coastal", "B09": "nir09", "B11": "swir16", "SCL": "scl", "AOT": "aot", "WVP": "wvp", "TCI": "visual"}


def pixels(name: str, metres: int, seed: int = 0) -> NDArray[Any]:
    """A raster with slopes, edges and numbers at both ends of its type, so that differences wrap around."""
    edge = EDGE // metres
    random = np.random.default_rng([seed, metres, *name.encode()])
    rows, columns = (axis.astype("u4") for axis in np.ogrid[:edge, :edge])
    if name == "TCI":
        return np.stack([(rows * k + columns * (7 - k) + k * 31) % 256 for k in (1, 2, 3)]).astype("u1")
    if name in ("SCL", "CLD", "SNW"):
        top = 12 if name == "SCL" else 101
        return ((rows // 37 + columns // 53 + random.integers(0, 3, (edge, edge), dtype="u1")) % top).astype("u1")
    ground = 2000 + rows * 3 + columns * 5 + random.integers(0, 200, (edge, edge), dtype="u2")
    ground[::97] = 65_535
    ground[:, ::89] = 1
    ground[(rows + columns) % 211 == 0] = 0
    return (ground % 65_536).astype("u2")


def write(
    path: Path,
    data: NDArray[Any],
    metres: int,
    *,
    block: int = 512,
    driver: str = "GTiff",
    corner: tuple[float, float] = CORNER,
    epsg: int = EPSG,
    nodata: float | None = 0,
    **options: Any,
) -> None:
    """Write a GeoTIFF; ``driver="COG"`` with overviews and GDAL's own order of things."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = data if data.ndim == 3 else data[None]
    profile: dict[str, Any] = {
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": from_origin(*corner, metres, metres),
        "nodata": nodata,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if driver == "COG":
            with rasterio.MemoryFile() as memory:
                with memory.open(driver="GTiff", **profile) as made:
                    made.write(bands)
                copy(memory.name, str(path), driver="COG", blocksize=block, overview_resampling="nearest", **options)
            return
        layout = {"tiled": True, "blockxsize": block, "blockysize": block, "interleave": "pixel"}
        with rasterio.open(path, "w", driver="GTiff", **(profile | layout | options)) as made:
            made.write(bands)


def read(path: Path) -> NDArray[Any]:
    """What rasterio reads: (rows, columns), or (components, rows, columns)."""
    with rasterio.open(path) as file:
        data: NDArray[Any] = file.read()
    return data[0] if len(data) == 1 else data


@dataclass
class Product:
    """A product of the archive: its files and its item."""

    root: Path
    day: str = "20240501"
    generated: str = "20240501T140000"
    baseline: str = "0510"
    host: str = HOST
    files: dict[str, tuple[int, Path]] = field(default_factory=dict)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    updated: str = "2024-05-02T03:00:00.123Z"

    @property
    def name(self) -> str:
        return f"S2A_MSIL2A_{self.day}T100601_N{self.baseline}_R022_T{TILE}_{self.generated}"

    @property
    def id(self) -> str:
        return f"S2A_T{TILE}_{self.day}T100559_{self.generated}_L2A"

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.id}"

    def add(self, name: str, metres: int, data: NDArray[Any] | None = None, **options: Any) -> Path:
        """Write a raster and name it in the item."""
        stem = f"{name}_{metres}m" if name in ("CLD", "SNW") else name
        path = self.root / self.folder / f"{stem}.tif"
        write(path, pixels(name, metres) if data is None else data, metres, **options)
        self.files[f"{name}_{metres}m"] = (metres, path)
        bands: dict[str, Any] = {"nodata": 0, "spatial_resolution": metres}
        if name.startswith("B"):
            bands |= {"scale": 0.0001, "offset": -0.1}
        elif name in ("AOT", "WVP"):
            bands |= {"scale": 0.001, "offset": 0}
        asset: dict[str, Any] = {
            "href": f"{self.host}/{self.folder}/{stem}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "gsd": metres,
            "proj:shape": [EDGE // metres] * 2,
            "proj:transform": [metres, 0, CORNER[0], 0, -metres, CORNER[1]],
            "raster:bands": [bands] * (3 if name == "TCI" else 1),
            "file:size": path.stat().st_size,
        }
        if name.startswith("B"):
            asset["eo:bands"] = [{"name": name}]
        self.assets[KEYS.get(name, name.lower())] = asset
        return path

    @property
    def item(self) -> dict[str, Any]:
        day = f"{self.day[:4]}-{self.day[4:6]}-{self.day[6:]}"
        properties = {
            "datetime": f"{day}T10:10:31.024000Z",
            "created": "2024-05-02T03:00:00.123Z",
            "updated": self.updated,
            "platform": "sentinel-2a",
            "eo:cloud_cover": 12.5,
            "proj:epsg": EPSG,
            "mgrs:utm_zone": 33,
            "mgrs:latitude_band": "T",
            "mgrs:grid_square": "VN",
            "grid:code": f"MGRS-{TILE}",
            "s2:processing_baseline": f"{self.baseline[:2]}.{self.baseline[2:]}",
            "s2:product_uri": f"{self.name}.SAFE",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_{self.generated}_S{self.day}T100559_N05.10",
        }
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": self.id,
            "collection": "sentinel-2-c1-l2a",
            "properties": properties | self.properties,
            "geometry": None,
            "bbox": [13, 47, 15, 48],
            "links": [],
            "assets": self.assets,
        }


def collect(path: Path, *products: Product) -> Path:
    """Write the items as the answer of a search."""
    features = [product.item for product in products]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
