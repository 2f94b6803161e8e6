"""The generator: the one place that builds its command and the one that reads its report. Neighbours: `schedule`, `results`."""

import argparse
import json
import os
import re
import subprocess

from . import cells, papers, placement
from .brokers import end_group

# Beyond the measured time: setup of 10,000 connections, drain, stages of retain and offline.
EXTRA_SECS_MAX = 180

INTEGRITY_PASSED, INTEGRITY_FAILED, RATE_MISSED = 0, 1, 3

# Holding still is no work to divide by connections.
UNTOLD = ("idle",)


def duration(text):
    """Checks what the generator will read: 500ms, 3s or 2m."""
    if not re.fullmatch(r"\d+(\.\d+)?(ms|s|m)", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no time such as 500ms, 3s or 2m")
    return text


def command_of(loadgen, cell, window, port, pid, place, timing, folder=None):
    """`timing` holds --duration and --warmup as given, or None for what the scenario says; `folder` has the broker's papers."""
    command = [loadgen, cell.scenario, "--port", str(port), "--broker-pid", str(pid), "--json", "-"]
    command += ["--threads", str(len(place.generator))]
    # Who shares CPUs with the broker must not burn them.
    command += ["--idle"] if place.is_shared else ["--cpus", placement.list_of(place.generator)]
    for flag, value in (("--qos", cell.qos), ("--window", window), *timing.items()):
        command += [] if value is None else [flag, str(value)]
    if cell.carrier == cells.TLS:
        command += ["--tls-ca", os.path.join(folder, papers.CERTIFICATE)]
    if cell.carrier == cells.WEBSOCKET:
        command += ["--websocket"]
    return command


def known_scenarios(loadgen):
    """Names that the generator lists, one at the start of each line."""
    run = subprocess.run([loadgen, "list"], capture_output=True, text=True, timeout=10)
    return {line.split()[0] for line in run.stdout.splitlines() if line.strip()} if run.returncode == 0 else set()


def measure(command, secs):
    """The report, or None and why there is none. `secs` is the time that is meant to be measured."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=secs + EXTRA_SECS_MAX)
    except subprocess.TimeoutExpired:
        return None, f"no end after {secs + EXTRA_SECS_MAX:.0f} s"
    finally:
        # Also when Ctrl-C or SIGTERM unwinds through here.
        end_group(process)
    if process.returncode not in (INTEGRITY_PASSED, INTEGRITY_FAILED, RATE_MISSED):
        return None, last_line(errors) or f"the generator ended with {process.returncode}"
    try:
        return json.loads(output), None
    except ValueError:
        return None, f"the generator wrote no report: {last_line(errors) or 'nothing'}"


def last_line(text):
    return (text.strip().splitlines() or [""])[-1]


def fault_of(report):
    """Which checks failed, with their counts; None if the run passed."""
    if report["integrity_passed"]:
        return None
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in report["integrity"].items() if count]
    return ", ".join(counts) or "; ".join(report["notes"]) or "the check failed"


def readings_of(report):
    """What a passed run says: one reading, or one for each phase of a staged scenario. Figures that are not there are left out."""
    if report.get("phases"):
        return [phase_reading(phase) for phase in report["phases"] if phase["name"] not in UNTOLD]
    broker, latency = report["broker"] or {}, report["latency"] or {}
    figures = {"cpu_us": broker.get("cpu_us_per_message"), "per_sec": report["delivered_per_sec"]}
    figures |= {"p50_us": latency.get("p50_us"), "p99_us": latency.get("p99_us")}
    figures["rss_mib"] = broker["rss_end_bytes"] / (1 << 20) if broker else None
    marks = [mark for mark, is_so in (("limited", report["generator"]["limited"]), ("unsent", report["unsent"] > 0)) if is_so]
    return [reading(None, None, figures, marks, report["setting"]["rate"] > 0)]


def phase_reading(phase):
    figures = {"cpu_us": phase.get("broker_cpu_us_each"), "per_sec": phase.get("per_sec"), "rss_bytes": phase.get("broker_rss_bytes_each")}
    return reading(phase["name"], phase["unit"], figures, [], False)


def reading(phase, unit, figures, marks, is_paced):
    known = {name: value for name, value in figures.items() if value is not None}
    return {"phase": phase, "unit": unit, "figures": known, "marks": marks, "paced": is_paced}
