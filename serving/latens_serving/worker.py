"""One of several server processes that share an address: `python -m latens_serving.worker`.

`latens_serving.workers.supervisor` starts it.
"""

from __future__ import annotations

from latens_serving.cli import leave_process, run_worker
from latens_serving.workers.task import WorkerTask

if __name__ == "__main__":
    leave_process(run_worker(WorkerTask.from_environment()))
