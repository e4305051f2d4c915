"""Run torchrun; after a failure, exit with the failed process's status and without a traceback.

Usage: launch.py [torchrun's flags] SCRIPT [the script's flags]
"""

from __future__ import annotations

import logging
import sys


def main() -> int:
    # torchrun's agents repeat the messages of the processes.
    logging.disable(logging.ERROR)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        # The first failure caused the other failures.
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except RendezvousError as error:
        remedy = "Fix: start all hosts with the same --nnodes, --master-addr and --master-port."
        print(f"launch.py: error: the hosts did not connect: {error}. {remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
