"""Which CPUs the broker and the generator get. Must not start anything. Neighbours: `schedule` asks, `brokers` pins."""

import os
from typing import NamedTuple, Tuple

# More polling threads than this find nothing to do against a broker on one core.
GENERATOR_THREADS_MAX_CORE = 4

# From so many CPUs on, halves are worth more than sharing.
CPUS_MIN_TO_HALVE = 4


class Placement(NamedTuple):
    """CPUs of both sides. When they share the CPUs, the generator is not pinned and blocks instead of polling."""

    broker: Tuple[int, ...]
    generator: Tuple[int, ...]
    is_shared: bool
    text: str


def siblings_of(cpu):
    """The hardware threads of the core that `cpu` is one of."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
            return cpus_of(file.read())
    except (OSError, ValueError):
        return (cpu,)


def cpus_of(text):
    """Reads a list such as 0,4-6."""
    cpus = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def list_of(cpus):
    return ",".join(str(cpu) for cpu in cpus)


def place(setting, allowed=None, siblings=siblings_of):
    """ValueError when there are too few CPUs."""
    allowed = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    return place_core(allowed, siblings) if setting == "core" else place_total(allowed, siblings)


def place_core(allowed, siblings):
    broker, others = allowed[0], allowed[1:]
    if not others:
        raise ValueError("--setting core needs two CPUs: one for the broker, one for the generator")
    # A generator on the broker's hyper-thread would take half of the broker's core.
    apart = [cpu for cpu in others if cpu not in siblings(broker)]
    generator = tuple((apart or others)[:GENERATOR_THREADS_MAX_CORE])
    text = f"broker on CPU {broker}, generator on CPU {list_of(generator)}"
    text += "" if apart else " (hyper-threads of one core)"
    return Placement((broker,), generator, False, text)


def place_total(allowed, siblings):
    if len(allowed) < CPUS_MIN_TO_HALVE:
        text = f"broker and generator share CPU {list_of(allowed)}, which lowers every figure"
        return Placement(tuple(allowed), tuple(allowed), True, text)
    # Sorted by core, so that no core has the broker on one of its hyper-threads and the generator on the other.
    by_core = sorted(allowed, key=lambda cpu: (min(siblings(cpu)), cpu))
    half = len(by_core) // 2
    broker, generator = tuple(sorted(by_core[:half])), tuple(sorted(by_core[half:]))
    return Placement(broker, generator, False, f"broker on CPU {list_of(broker)}, generator on CPU {list_of(generator)}")
