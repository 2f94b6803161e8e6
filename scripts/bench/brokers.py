"""Who is measured: starting and ending one broker. Must not measure. Neighbours: `schedule` starts one for each run."""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from typing import NamedTuple, Optional

from . import cells, papers, placement
from .failure import CannotStart

OPEN_SECS_MAX = 10
STOP_SECS_MAX = 5
OWN_NAMES = ("mosquitto", "ringmq", "floor")

# No broker: a relay of the same bytes, which shows what is left to gain.
FLOOR = "floor"

# No limit that drops, no log, no Nagle, nothing written to disk: Mosquitto at its best.
MOSQUITTO_CONF = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
max_inflight_bytes 0
set_tcp_nodelay true
persistence false
log_type none
"""


# What the listener of `MOSQUITTO_CONF` is told besides, for each carrier.
MOSQUITTO_CARRIERS = {
    None: "",
    cells.TLS: f"certfile {{dir}}/{papers.CERTIFICATE}\nkeyfile {{dir}}/{papers.KEY}\n",
    # Mosquitto 2.0.11 takes itself to have no listener if all are of WebSocket; nobody comes to the second.
    cells.WEBSOCKET: "protocol websockets\nlistener {spare} 127.0.0.1\n",
}

# How ringmq is told to listen.
RINGMQ_LISTENS = {
    None: "-p {port}",
    cells.TLS: f"--bind mqtts://127.0.0.1:{{port}} --tls-cert {{dir}}/{papers.CERTIFICATE} --tls-key {{dir}}/{papers.KEY}",
    cells.WEBSOCKET: "--bind ws://127.0.0.1:{port}",
}


class Program(NamedTuple):
    """A broker as it is to be started. `label` names it in all that is shown; `shards` None is one per CPU. `carries`: we know how to
    have it listen for each carrier."""

    label: str
    command: str
    shards: Optional[int] = None
    carries: bool = False


def parse_peer(text):
    """`name=command with {port}`, for argparse."""
    name, equals, command = text.partition("=")
    name = name.strip()
    if not equals or not name or "{port}" not in command:
        raise argparse.ArgumentTypeError(f"'{text}': write 'name=command with {{port}}'")
    if name.startswith(OWN_NAMES):
        raise argparse.ArgumentTypeError(f"'{name}' begins like a broker that is measured anyway; choose another name")
    try:
        shlex.split(command)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(f"'{text}': {reason}") from reason
    return Program(name, command)


def lineup(setting, names, peers, paths, cpus):
    """The programs of a setting, in the order of the table. `names` chooses, `cpus` is how many CPUs a broker gets. The floor is
    one thread, and runs only where a broker has one core."""
    programs = []
    if "mosquitto" in names:
        programs.append(Program("mosquitto", f"{shlex.quote(paths['mosquitto'])} -c {{dir}}/mosquitto.conf", carries=True))
    programs += [peer for peer in peers if peer.label in names]
    if FLOOR in names and setting == "core":
        programs.append(Program(FLOOR, f"{shlex.quote(paths[FLOOR])} {{port}}"))
    if "ringmq" in names:
        ringmq = f"{shlex.quote(paths['ringmq'])} {{listen}}"
        if setting == "core":
            programs.append(Program("ringmq", f"{ringmq} --shards 1", 1, True))
        else:
            programs += [ringmq_total(ringmq, shards, cpus) for shards in shard_counts(cpus)]
    return programs


def ringmq_total(command, shards, cpus):
    label = f"ringmq, {shards} shard" + ("s" if shards > 1 else "")
    return Program(label, command if shards == cpus else f"{command} --shards {shards}", shards, True)


def shard_counts(cpus):
    """1, 2, 4 and so on, and all."""
    doubled = [1 << power for power in range(cpus.bit_length()) if 1 << power < cpus]
    return doubled + [cpus]


class Broker:
    """One broker process, alive inside a `with` block and never longer, in a process group and a directory of its own."""

    def __init__(self, program, cpus, carrier=None):
        self.program = program
        self.cpus = cpus
        self.carrier = carrier

    def __enter__(self):
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True)
        self.process = self.log = None
        try:
            self.start()
            self.wait_until_open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        place = self.directory.name
        # Mosquitto gives up being root before it opens some of its files.
        os.chmod(place, 0o755)
        with open(os.path.join(place, "mosquitto.conf"), "w") as file:
            file.write(MOSQUITTO_CONF.format(port=self.port) + MOSQUITTO_CARRIERS[self.carrier].format(dir=place, spare=free_port()))
        if self.carrier == cells.TLS:
            papers.issue(place)
        self.log = open(os.path.join(place, "log"), "w+")
        # taskset replaces itself by the broker, so the process id stays, and the affinity holds from the first instruction.
        command = ["taskset", "-c", placement.list_of(self.cpus)] + self.words(place)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=place, start_new_session=True
        )

    def words(self, place):
        """The command with its blanks filled in. Not str.format, so that other braces may stand."""
        blanks = (("{port}", str(self.port)), ("{dir}", place), ("{cpus}", placement.list_of(self.cpus)))
        words = shlex.split(self.program.command.replace("{listen}", RINGMQ_LISTENS[self.carrier]))
        for blank, value in blanks:
            words = [word.replace(blank, value) for word in words]
        return words

    def wait_until_open(self):
        end = time.monotonic() + OPEN_SECS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.025)
        raise CannotStart(f"{self.program.label} does not listen on port {self.port}: {self.last_words()}")

    def last_words(self):
        self.log.seek(0)
        return " / ".join(self.log.read().split("\n")[-4:]).strip(" /") or "it printed nothing"

    def __exit__(self, *_):
        if self.process is not None:
            end_group(self.process)
        if self.log is not None:
            self.log.close()
        self.directory.cleanup()


def end_group(process):
    """Asks the whole process group to stop, and insists. What a broker has started itself ends with it."""
    signal_group(process, signal.SIGTERM)
    try:
        process.wait(timeout=STOP_SECS_MAX)
    except subprocess.TimeoutExpired:
        pass
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
