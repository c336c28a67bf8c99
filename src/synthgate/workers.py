"""Independent pieces of work side by side: a process for each core, forked, so that nothing need be imported again.

Where there is a GPU, a single core, or no safe way to fork, the work is done one piece after the other, here.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from synthgate.errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
    """Yield `work(item)` of all items in their order; only the results need be picklable.

    What a piece raises is raised here when its turn comes, and the others are ended. Raises WorkerError where a process
    dies.
    """
    count = min(cores(), len(items))
    if count < 2:
        yield from map(work, items)
        return
    with tempfile.TemporaryDirectory(prefix="synthgate-") as home:
        # results go by file: a process that is ended while it sends something large would leave its reader waiting
        def kept(index: int) -> None:
            Path(home, str(index)).write_bytes(pickle.dumps(work(items[index])))

        with _processes(count, kept) as pool:
            for index, _ in enumerate(pool.map(_do, range(len(items)))):
                file = Path(home, str(index))
                result = pickle.loads(file.read_bytes())
                file.unlink()
                yield result


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do `work` while the block runs; what it raises is raised at the block's end."""
    if cores() < 2:
        yield
        work()
        return
    with _processes(1, lambda _: work()) as pool:
        done = pool.submit(_do, 0)
        yield
        done.result()


_work: Callable[[int], object]
"""What this process does, where it is a worker."""


def _do(index: int) -> None:
    _work(index)


@contextlib.contextmanager
def _processes(count: int, work: Callable[[int], object]) -> Iterator[ProcessPoolExecutor]:
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _begin, (work,))
    try:
        yield pool
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()  # nobody waits for what is half done
        if isinstance(error, BrokenProcessPool):
            raise WorkerError(
                "a worker process ended in the middle of its work; was the memory used up? Run the same command again: "
                "it goes on from where it was. A smaller OMP_NUM_THREADS (`make repro THREADS=1`) has fewer workers"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[int], object]) -> None:
    """A worker ends with the process that started it, which holds the locks, however that ends."""
    global _work
    _work = work
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its workers
    # a forked process lacks its parent's threads, and may wait forever for more than one of its own
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def end_with_parent() -> None:
    """Wait for the process that started this one, and end when it has."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def cores() -> int:
    """Pieces that are worked on at a time: by `OMP_NUM_THREADS`, else as many cores as this process may use.

    1 where it must do all itself.
    """
    torch = sys.modules.get("torch")
    if sys.platform != "linux" or multiprocessing.parent_process() or (torch and torch.cuda.is_available()):
        return 1
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return int(wished) if wished.isdecimal() else len(os.sched_getaffinity(0))
