"""Publish the store, and open it as a stranger does, by its address."""

import argparse
import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import s2ice

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import servers

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("out", type=Path)
arguments.add_argument("--bin", type=Path, required=True)
arguments.add_argument("--port", type=int, default=0, help="of the web server [default: any that is free]")
arguments.add_argument("--serve", action="store_true", help="go on serving until Ctrl-C")
options = arguments.parse_args()

with servers.folder(options.out, options.port) as url:
    line = [options.bin / "s2ice", "publish", options.out / "store/33TVN-L2A", "--out", options.out / "public"]
    line += ["--base-url", f"{url}/public", "--source-url", f"{url}/products", "--title", "The demo"]
    print("$", *line, flush=True)
    subprocess.run(line, check=True)

    store = f"{url}/public/33TVN-L2A/store"
    print(f"\n>>> ds = s2ice.open({store!r}, 'measurements/reflectance/r10m', allow={url!r})")
    ds = s2ice.open(store, "measurements/reflectance/r10m", allow=url)
    box = ds.b04.sel(x=slice(440_000, 441_000), y=slice(5_250_000, 5_249_000))
    print(f">>> ds.b04.sel(...).mean(('x', 'y'))  # one square kilometre, {box.sizes['time']} dates")
    print(box.mean(("x", "y")).values.round(4))
    if options.serve:
        print(f"\nThe catalogue: {url}/public/  The tile: {url}/public/33TVN-L2A/  (until Ctrl-C)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
