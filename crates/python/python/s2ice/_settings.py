"""Keywords of `s2ice.build`: made of the settings' schema by `make schemas`, not by hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

type PathLike = str | os.PathLike[str]


class Settings(TypedDict, total=False):
    """What a build is asked for."""

    tile: Required[str]
    level: str
    source_kind: Literal["jp2", "cog"]
    index: PathLike | Sequence[PathLike]
    index_options: Mapping[str, Any]
    index_missing: bool
    index_missing_limit: int
    write_index: PathLike
    stac: PathLike
    stac_options: Mapping[str, Any]
    collection: str
    datetime: str
    max_cloud_cover: float
    arrays: str | Sequence[str]
    angles: bool
    resolutions: Literal["best", "all"]
    overviews: str | Sequence[int]
    on_mismatch: Literal["auto", "era", "refuse"]
    headers: Literal["read", "index", "sample", "assume"]
    memory: PathLike | Literal[False]
    memory_options: Mapping[str, Any]
    source: Required[PathLike]
    source_options: Mapping[str, Any]
    store: PathLike
    store_options: Mapping[str, Any]
    checksum: Literal["etag", "modified", "none"]
    spec: int
    container: str
    prune: bool
    prune_limit: int
    accept_incomplete: bool
    recheck: bool | Sequence[str]
    full: bool
    overlap: str
    lock_wait: str
    dry_run: bool


PARAMETERS = """\
tile
    MGRS tile, such as 29UNU.
level
    Processing level: L2A or L1C. By default "L2A".
source_kind
    What the source has: jp2 for SAFE products and a TLM index, cog for GeoTIFFs that the items of `stac` name.
    One of "jp2", "cog". By default "jp2".
index
    TLM index, Parquet: files or URLs.
index_options
    How to reach the index; without this, as the source where both lie in one bucket.
index_missing
    Index products of the catalogue that the index lacks: one request per raster where it carries TLM (baseline
    05.12 and later), about one per JPEG 2000 tile where not. No `index` is needed then.
index_missing_limit
    Most products that `index_missing` indexes in one run, the oldest first. Walking old ones costs some
    thousand requests each. By default 20.
write_index
    Add the rows that `index_missing` makes to this index file, which is read as an index too.
stac
    STAC items that choose the products: an API's address, an ItemCollection, item or ndjson file, a folder, or
    a stac-geoparquet file. Without it every product of the index is taken.
stac_options
    How to treat the catalogue: headers, rate and limits.
collection
    Collection of the items of `stac`; without one, an API's usual one for the level, and any in files.
datetime
    Interval of time: A/B with dates or times, `..` for an open end.
max_cloud_cover
    Leave out products cloudier than this, percent.
arrays
    Only arrays whose path matches, such as '/measurements/**' or '**/scl'.
angles
    Take the sun and viewing angles (/conditions/geometry), for which the whole MTD_TL.xml of every product is
    read, some 0.5 MB each, instead of its first kilobytes.
resolutions
    Which copies of a raster to take. One of "best", "all". By default "best".
overviews
    Write overviews of the rasters, factors such as 2 and 4, for readers that are not s2ice's: arrays of coarser
    pixels in groups like `r10m_x2`, of the files' own resolutions. Classes have none. A store keeps those that
    it has unless others are asked for; `none` takes them away.
on_mismatch
    What becomes of products with another radiometric offset, and of rasters with another main header, than the
    store's. One of "auto", "era", "refuse". By default "auto".
headers
    Where main headers come from. One of "read", "index", "sample", "assume". By default "read".
memory
    Where what is learned of the source is remembered between runs: a file or an object; 'store' for beside the
    store, 'none' for nowhere. By default "store".
memory_options
    How to reach the memory; without this, as the store.
source
    Prefix of the product files: a folder, file://, s3://bucket/prefix, gs://, az:// or https://, or the name of
    a mirror: cdse, gcs, aws-l2a or aws-l1c.
source_options
    How to reach the product files.
store
    Address of the store: a folder, s3://bucket/prefix, gs:// or az://.
store_options
    How to reach the store.
checksum
    What readers check a reference's file against. One of "etag", "modified", "none". By default "etag".
spec
    Icechunk format of a new store: 1 is read by every version, 2 needs Icechunk 2. By default 2.
container
    Name of the virtual chunk container, by which readers re-point the store to a mirror; by default the
    bucket's.
prune
    Take away products and rasters that the inputs no longer have; otherwise they stay.
prune_limit
    Refuse to prune more than this part of the store's products, percent. By default 50.
accept_incomplete
    Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
recheck
    Ask the files of every product (`all`), or of these, again, whatever was known of them.
full
    Ask the STAC API for every item, not only for what changed since the last run.
overlap
    How far before the last change seen the STAC API is asked again: catalogues make items visible some time
    after they date them. By default "1d".
lock_wait
    How long to wait for another s2ice that writes the same local store. By default "1m".
dry_run
    Work everything out, write nothing.
"""
"""Their documentation."""
