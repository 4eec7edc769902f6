"""Products rearranged as the mirrors have them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples


def day(product: str) -> tuple[str, str, str]:
    """Year, month and day of the datatake."""
    date = product.split("_")[2]
    return date[:4], date[4:6], date[6:8]


def in_cdse(product: str, inside: str) -> str:
    return f"Sentinel-2/MSI/L2A/{'/'.join(day(product))}/{product}.SAFE/{inside}"


def in_gcs(product: str, inside: str) -> str:
    return f"L2/tiles/33/T/VN/{product}.SAFE/{inside}"


def in_aws(product: str, inside: str, number: int = 0) -> str | None:
    """Amazon's layout has no masks by the name they have in the product, and the number is not in any name."""
    date = "/".join(str(int(part)) for part in day(product))
    tile = f"tiles/33/T/VN/{date}/{number}"
    name = inside.rsplit("/", 1)[-1]
    if name == "MTD_TL.xml":
        return f"{tile}/metadata.xml"
    if name.startswith("MTD_MSIL"):
        return f"products/{date}/{product}/metadata.xml"
    if "/IMG_DATA/R" in inside:
        *_, band, metres = name.removesuffix(".jp2").split("_")
        return f"{tile}/R{metres}/{band}.jp2"
    if "/IMG_DATA/" in inside:
        return f"{tile}/{name.rpartition('_')[2]}"
    return None


LAYOUTS: dict[str, Callable[[str, str], str | None]] = {"cdse": in_cdse, "gcs": in_gcs, "aws": in_aws}


def files(samples: Samples) -> Iterator[tuple[Path, str, str]]:
    """Every file of every product: where it is, the product, and its path in the product's folder."""
    for file in sorted(samples.root.glob("*.SAFE/**/*")):
        if file.is_file():
            product, _, inside = file.relative_to(samples.root).as_posix().partition(".SAFE/")
            yield file, product, inside


def arrange(samples: Samples, layout: Callable[[str, str], str | None], folder: Path) -> Path:
    """The products as the mirror has them."""
    for file, product, inside in files(samples):
        if place := layout(product, inside):
            to = folder / place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    return folder
