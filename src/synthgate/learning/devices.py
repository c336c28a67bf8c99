"""Work on several devices: a process for each, started once the work is prepared.

Lightning's own launcher would run the stage's whole command once more for each device, each waiting for the scratch
that the first one holds. On several machines the stage's command is run on each, in one shared folder: the machine with
`NODE_RANK` 0 prepares, judges and writes; the others read what it prepared and help (docs/generators.md).
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import torch

from synthgate import workers
from synthgate.errors import ParamsError
from synthgate.params import Compute


def count(compute: Compute) -> int:
    """Devices of this machine to work on."""
    if compute.devices != "auto":
        return compute.devices
    cuda = compute.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.cuda.device_count() if cuda else 1


def ranks(compute: Compute) -> int:
    """Devices of all machines together."""
    return count(compute) * compute.num_nodes


def node(compute: Compute) -> int:
    """This machine's number; raises ParamsError where there are several and the environment lacks how they meet."""
    if compute.num_nodes == 1:
        return 0
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ParamsError(
            f"compute.num_nodes is {compute.num_nodes}: expected this machine's number from 0 on in NODE_RANK, and "
            f"address and a free port of number 0 in MASTER_ADDR and MASTER_PORT; the environment lacks "
            f"{', '.join(missing)}"
        )
    return int(os.environ["NODE_RANK"])


def refuse_uneven(batch: int, compute: Compute) -> None:
    """Raise ParamsError where the devices' parts of a batch would not be equal: their mean would not be the batch's."""
    if batch % ranks(compute):
        raise ParamsError(
            f"fitting.batch: expected a multiple of the {ranks(compute)} devices (compute.devices {compute.devices}, "
            f"compute.num_nodes {compute.num_nodes}) that share a batch, got {batch}; change one in params.yaml"
        )


def on_each(work: Callable[..., Any], compute: Compute, *arguments: Any) -> Any:
    """Run `work(rank, *arguments)` for each device of this machine and return what the first of them does.

    One device works in this process. Several have a process each, with an equal share of the threads, so all that is
    given must be picklable; where one fails the others are ended and its error is raised.
    """
    here, first = count(compute), node(compute) * count(compute)
    if ranks(compute) == 1:
        return work(0, *arguments)
    port = os.environ.get("MASTER_PORT") if compute.num_nodes > 1 else str(_free_port())
    met = {"NODE_RANK": str(node(compute)), "MASTER_PORT": str(port)}
    if compute.num_nodes == 1:
        met["MASTER_ADDR"] = "127.0.0.1"
    reader, writer = torch.multiprocessing.get_context("spawn").Pipe(duplex=False)
    threads = max(1, torch.get_num_threads() // here)
    started = torch.multiprocessing.spawn(_one, (work, arguments, first, met, threads, writer), nprocs=here, join=False)
    returned: list[Any] = []
    try:
        while not started.join(timeout=0.5) or reader.poll():
            if reader.poll():
                returned.append(reader.recv())
    finally:
        for process in started.processes:  # none outlives the lock that the caller holds
            process.kill()
            process.join()
    if not returned:
        raise KeyboardInterrupt  # as its first process was, which ends quietly then
    return returned[0]


def _one(
    local: int, work: Callable[..., Any], arguments: Any, first: int, met: dict[str, str], threads: int, writer: Any
) -> None:
    """The process of one device; it ends with the one that started it, which holds the lock, however that ends."""
    threading.Thread(target=workers.end_with_parent, daemon=True).start()
    os.environ |= met | {"LOCAL_RANK": str(local)}
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    returned = work(first + local, *arguments)
    if local == 0:
        writer.send(returned)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
