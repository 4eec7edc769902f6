"""Open a store with xarray: print the tree and a time series, draw a true-colour picture of every date."""

import sys
import time

import matplotlib as mpl
import numpy as np
import xarray as xr

import s2ice

mpl.use("Agg")
import matplotlib.pyplot as plt

store, picture = sys.argv[1], sys.argv[2]
started = time.perf_counter()
tree: xr.DataTree = s2ice.open(store)
print(f"opened in {time.perf_counter() - started:.2f} s; {len(tree.leaves)} groups of arrays\n")
for leaf in sorted(tree.leaves, key=lambda leaf: leaf.path):
    arrays = ", ".join(sorted(str(name) for name in leaf.data_vars))
    sizes = " x ".join(f"{name} {size}" for name, size in leaf.sizes.items())
    print(f"  {leaf.path:48} {sizes:44} {arrays}")

r10m = s2ice.open(store, "measurements/reflectance/r10m")
scl = s2ice.open(store, "conditions/mask/l2a_classification/r20m").scl

print("\nNDVI of one square kilometre, clouds masked:")
place = {"x": slice(440_000, 441_000), "y": slice(5_250_000, 5_249_000)}
box = r10m[["b04", "b08"]].sel(place).load()
clear = ~scl.sel(place).isin([3, 8, 9, 10]).load()
clear = clear.reindex(x=box.x, y=box.y, method="nearest", tolerance=20)
ndvi = ((box.b08 - box.b04) / (box.b08 + box.b04)).where(clear)
for moment, value, seen in zip(
    ndvi.time.values, ndvi.mean(("x", "y")).values, ndvi.notnull().mean(("x", "y")).values, strict=True
):
    text = f"{value:.3f}" if np.isfinite(value) else "  -  "
    print(f"  {np.datetime_as_string(moment, unit='s')}  {text}  ({seen:4.0%} clear)")

started = time.perf_counter()
area = {"x": slice(430_000, 460_000, 4), "y": slice(5_260_000, 5_230_000, 4)}
bands = r10m[["b04", "b03", "b02"]].sel(area).to_array("band").load()
figure, axes = plt.subplots(1, bands.sizes["time"], figsize=(5 * bands.sizes["time"], 5.4), layout="constrained")
for axis, index in zip(np.atleast_1d(axes), range(bands.sizes["time"]), strict=True):
    image = bands.isel(time=index).transpose("y", "x", "band")
    extent = tuple(float(v) / 1000 for v in (image.x[0], image.x[-1], image.y[-1], image.y[0]))
    axis.imshow(np.clip(np.nan_to_num(image.values) * 3.5, 0, 1) ** (1 / 1.4), extent=extent)
    axis.set_title(f"{np.datetime_as_string(image.time.values, unit='m')}Z")
    axis.set_xlabel("easting, km")
name_of_crs = r10m.spatial_ref.attrs["crs_wkt"].split('"')[1]
place_of = f"{r10m.attrs['s2ice:tile']}, {name_of_crs}"
figure.suptitle(f"Sentinel-2 {r10m.attrs['s2ice:level']} {place_of}, true colour from {store}")
figure.savefig(picture, dpi=110)
print(f"\ndrew {picture} from {bands.sizes['time'] * 3} band images in {time.perf_counter() - started:.1f} s")
