"""A Dask cluster on this machine, a worker per core, to try COURSE_CLUSTER; Ctrl-C ends it."""

import argparse
import os
import signal
import sys
import threading


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--dashboard", default=":8787", metavar=":PORT", help=":0 is any free one")
    options = parser.parse_args()
    try:
        from distributed import LocalCluster  # here: an extra, which few need
    except ImportError:
        print('A cluster needs the package distributed: pip install -e ".[cluster]"')
        return 1
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,  # a worker makes one run at a time
        dashboard_address=options.dashboard,
        worker_dashboard_address=None,
    ) as cluster:
        print(f"export COURSE_CLUSTER={cluster.scheduler_address}")
        print(f"dashboard: {cluster.dashboard_link}", flush=True)
        while not stop.wait(timeout=1):  # on Windows an endless wait hears no Ctrl-C
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
