"""A fleet on one machine or many: any cluster of dask will do in the place of LocalCluster.

KubeCluster (dask-kubernetes), SLURMCluster (dask-jobqueue), FargateCluster (dask-cloudprovider) and coiled.Cluster are
used alike; what their workers need is `pip install 's2ice[fleet]'`, the same version, and the variables that the
configuration names. Most of a refresh is waiting, so several threads per core are right.
"""

import sys

import s2ice.fleet
from distributed import Client, LocalCluster


def main() -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=8) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=1, maximum=4)
        report = s2ice.fleet.refresh(
            sys.argv[1],
            client,
            deadline="6h",
            progress=lambda n, of, line: print(n, of, line),
        )
    print(report["outcomes"])


if __name__ == "__main__":
    main()
