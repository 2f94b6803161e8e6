"""When each run takes place, and how far we are. Must not judge results. Neighbours: `brokers`, `generator`, `results`."""

import sys
import time
from typing import List, NamedTuple

from . import cells, generator
from .brokers import FLOOR, Broker, Program
from .failure import CannotStart
from .placement import Placement

# What starting a broker, connecting and draining take beside the time of the scenario.
AROUND_SECS = 1.5


class Stage(NamedTuple):
    """One setting: where, who and what."""

    setting: str
    place: Placement
    programs: List[Program]
    cells: List[cells.Cell]


class Progress:
    """Says on stderr what runs, how many runs are left and how long they may take."""

    def __init__(self, run_count, secs_each):
        self.left = run_count
        self.secs_each = secs_each
        self.secs_of_runs = []

    def start(self, step):
        text = f"compare: {step.describe()}; {self.left} {'run' if self.left == 1 else 'runs'} left, about {clock(self.expected())}"
        print(text, file=sys.stderr, flush=True)
        self.began = time.monotonic()

    def expected(self):
        """Seconds, by the mean of the runs so far."""
        mean = sum(self.secs_of_runs) / len(self.secs_of_runs) if self.secs_of_runs else self.secs_each
        return mean * self.left

    def end(self, step, fault):
        secs = time.monotonic() - self.began
        self.secs_of_runs.append(secs)
        self.left -= 1
        if fault:
            print(f"compare: FAIL, {step.describe()}: {fault}", file=sys.stderr, flush=True)
        return secs


class Step(NamedTuple):
    """One run to come."""

    setting: str
    place: Placement
    cell: cells.Cell
    program: Program
    window: object
    repetition: int

    def describe(self):
        window = f", window {self.window}" if self.window else ""
        return f"{self.setting}, {cells.name_of(self.cell.title, self.cell.qos)}{window}, {self.program.label}, run {self.repetition}"


def clock(secs):
    minutes, rest = divmod(int(secs + 0.5), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def steps(stage, repetitions):
    """All runs of a stage. Repetitions are outermost, so that a slow minute of the machine hits one run of every cell and not all
    of one; the order of the brokers alternates, so that none is always first."""
    for repetition in range(1, repetitions + 1):
        for cell in stage.cells:
            for program in stage.programs if repetition % 2 else reversed(stage.programs):
                if not can_run(program, cell):
                    continue
                for window in cell.windows:
                    yield Step(stage.setting, stage.place, cell, program, window, repetition)


def can_run(program, cell):
    return cells.is_for_floor(cell) if program.label == FLOOR else program.carries or cell.carrier is None


def try_brokers(stages):
    """Starts each broker once for each carrier, before hours are spent. CannotStart if one does not listen."""
    for stage in stages:
        for program in stage.programs:
            for carrier in dict.fromkeys(cell.carrier for cell in stage.cells if can_run(program, cell)):
                with Broker(program, stage.place.broker, carrier):
                    pass


def conditions(stage, repetitions, timing):
    """One sentence on how a stage is measured."""
    times = {"--duration": "measured time {}", "--warmup": "warm-up {}"}
    given = [times[flag].format(value) for flag, value in timing.items() if value is not None]
    timed = f", {', '.join(given)}" if given else ""
    repeated = f"median of {repetitions} runs, order alternating" if repetitions > 1 else "one run"
    return f"{stage.place.text}; {repeated}{timed}; loopback TCP, MQTT 3.1.1, fresh brokers."


def run_all(stages, repetitions, loadgen, timing):
    """The raw runs, in the order in which they took place. `timing` holds the generator's flags for time, or None."""
    secs = secs_of(timing["--warmup"], 1.0) + secs_of(timing["--duration"], 3.0)
    todo = [step for stage in stages for step in steps(stage, repetitions)]
    progress = Progress(len(todo), secs + AROUND_SECS)
    return [run(step, loadgen, timing, secs, progress) for step in todo]


def secs_of(text, default_secs):
    if text is None:
        return default_secs
    number = float(text.rstrip("ms"))
    return number / 1e3 if text.endswith("ms") else number * 60 if text.endswith("m") else number


def run(step, loadgen, timing, secs, progress):
    progress.start(step)
    report, fault = attempt(step, loadgen, timing, secs)
    fault = fault or generator.fault_of(report)
    return {
        "setting": step.setting,
        "scenario": step.cell.title,
        "qos": step.cell.qos,
        "broker": step.program.label,
        "window": step.window,
        "repetition": step.repetition,
        "secs": round(progress.end(step, fault), 3),
        "fault": fault,
        "report": report,
    }


def attempt(step, loadgen, timing, secs):
    try:
        with Broker(step.program, step.place.broker, step.cell.carrier) as broker:
            process, folder = broker.process, broker.directory.name
            command = generator.command_of(loadgen, step.cell, step.window, broker.port, process.pid, step.place, timing, folder)
            report, fault = generator.measure(command, secs)
            # A broker that is gone explains whatever the generator saw.
            code = broker.process.poll()
            return report, fault if code is None else f"the broker ended with {code}: {broker.last_words()}"
    except CannotStart as reason:
        return None, str(reason)
