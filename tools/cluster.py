"""A Dask cluster on this machine, a worker per core, to try COURSE_CLUSTER; Ctrl-C ends it."""

import argparse
import os
import signal
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec

# Dask's workers give memory back to the system after every large array, and ask for it again with
# the next one: a training step's arrays should be kept.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**29, "MALLOC_MMAP_THRESHOLD_": 2**29}  # bytes


@contextmanager
def local_cluster(num_workers: int, dashboard: str = ":0"):
    """Give a cluster of so many workers on this machine; it ends with the block."""
    import dask  # here: an extra, which few need
    from distributed import LocalCluster  # here, for the same reason

    keep = {f"distributed.nanny.pre-spawn-environ.{key}": n for key, n in KEEP_MEMORY.items()}
    # a worker makes one run at a time
    options = dict(n_workers=num_workers, threads_per_worker=1, worker_dashboard_address=None)
    with dask.config.set(keep), LocalCluster(dashboard_address=dashboard, **options) as cluster:
        yield cluster


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--dashboard", default=":8787", metavar=":PORT", help=":0 is any free one")
    options = parser.parse_args()
    if find_spec("distributed") is None:
        print('A cluster needs the package distributed: pip install -e ".[cluster]"')
        return 1
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with local_cluster(options.workers, options.dashboard) as cluster:
        print(f"export COURSE_CLUSTER={cluster.scheduler_address}")
        print(f"dashboard: {cluster.dashboard_link}", flush=True)
        while not stop.wait(timeout=1):  # on Windows an endless wait hears no Ctrl-C
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
