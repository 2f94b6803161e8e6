"""From raw runs to rows: medians with their spread, the best window of each broker, and FAIL. Must not format.
Neighbours: `generator` reads the reports, `tables` and `plots` show the rows."""

import statistics

from . import generator
from .brokers import FLOOR


def summarize(runs):
    """One row per setting, scenario, QoS and phase, in the order of the runs; in it one entry per broker."""
    rows = []
    for (setting, scenario, qos), cell_runs in grouped(runs, ("setting", "scenario", "qos")):
        entries = {broker: entries_of(broker_runs, setting) for (broker,), broker_runs in grouped(cell_runs, ("broker",))}
        for phase, unit, is_paced in phases_of(cell_runs):
            row = {"setting": setting, "scenario": scenario, "qos": qos, "phase": phase, "unit": unit, "paced": is_paced}
            row["brokers"] = {broker: entry_in(phase, known) for broker, known in entries.items()}
            rows.append(row)
    return rows


def tls_of(runs):
    """What was agreed on for TLS, as a text of all brokers, and whether it was the same for all; None where none of the runs had TLS."""
    chosen = {}
    for run in runs:
        tls = (run["report"] or {}).get("setting", {}).get("tls")
        if tls:
            chosen.setdefault(f"{tls['version']} {tls['cipher']}", {})[run["broker"]] = None
    if not chosen:
        return None
    return "; ".join(f"{text}: {', '.join(labels)}" for text, labels in chosen.items()), len(chosen) == 1


def grouped(runs, keys):
    """Pairs of key values and the runs that have them, in the order of first sight."""
    groups = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    return groups.items()


def phases_of(runs):
    """Phase, unit and whether the rate is given, of all readings of the runs that passed; one without a name if none did."""
    seen = {}
    for run in runs:
        for reading in [] if run["fault"] else generator.readings_of(run["report"]):
            seen.setdefault(reading["phase"], (reading["phase"], reading["unit"], reading["paced"]))
    return list(seen.values()) or [(None, None, False)]


def entry_in(phase, entries):
    """The entry of a phase. What failed, failed in every phase."""
    return entries["failed"] if "failed" in entries else entries.get(phase, entry({}, [], None, 0))


def entries_of(runs, setting):
    """One broker in one cell: an entry per phase, or one under `failed`. One failed run is enough: the others passed by luck."""
    faults = [run["fault"] for run in runs if run["fault"]]
    if faults:
        failed = entry({}, [], None, len(runs))
        failed["failed"] = f"{len(faults)} of {len(runs)} runs: {faults[0]}"
        return {"failed": failed}
    candidates = [entries_of_window(window, of_window) for (window,), of_window in grouped(runs, ("window",))]
    return min(candidates, key=lambda candidate: cost(candidate, setting))


def cost(entries, setting):
    """What makes a window the best: least CPU where one core is given, most messages/s where all are."""
    figures = next(iter(entries.values()))["figures"]
    if setting == "core":
        return figures.get("cpu_us", {}).get("median", float("inf"))
    return -figures.get("per_sec", {}).get("median", 0)


def entries_of_window(window, runs):
    by_phase = {}
    for run in runs:
        for reading in generator.readings_of(run["report"]):
            by_phase.setdefault(reading["phase"], []).append(reading)
    return {phase: entry_of(readings, window) for phase, readings in by_phase.items()}


def entry_of(readings, window):
    names = dict.fromkeys(name for reading in readings for name in reading["figures"])
    figures = {name: spread([one["figures"][name] for one in readings if name in one["figures"]]) for name in names}
    marks = [mark for mark in ("limited", "unsent") if sum(mark in one["marks"] for one in readings) * 2 > len(readings)]
    # A rate missed even once leaves a latency unknown.
    marks += ["unsent"] if "unsent" not in marks and any("unsent" in one["marks"] for one in readings) else []
    return entry(figures, marks, window, len(readings))


def entry(figures, marks, window, runs):
    return {"figures": figures, "marks": marks, "window": window, "runs": runs, "failed": None}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ours(labels):
    """The broker that the others are held against: the last ringmq, which in `total` is the one with all shards."""
    return next((label for label in reversed(labels) if label.startswith("ringmq")), None)


def reference(labels):
    """The broker that ratios refer to."""
    others = rivals(labels)
    return "mosquitto" if "mosquitto" in others else next(iter(others), None)


def rivals(labels):
    """The floor is no broker, and nobody has to beat it."""
    return [label for label in labels if not label.startswith("ringmq") and label != FLOOR]


def better(metric, one, two):
    """How many times better `one` is than `two` in a metric; None if that cannot be said."""
    first, second = median_of(metric, one), median_of(metric, two)
    if not first or not second:
        return None
    return first / second if metric.more_is_better else second / first


def median_of(metric, entry):
    figure = entry["figures"].get(metric.key)
    return figure["median"] if figure else None


def overlap(metric, one, two):
    """Whether the runs of both lie in one range, so that the difference may be chance."""
    first, second = one["figures"][metric.key], two["figures"][metric.key]
    return first["min"] <= second["max"] and second["min"] <= first["max"]
