"""A run beside its goals: what was wanted, what was reached, and how far other brokers and the floor are. Must not run anything.
Neighbours: `results` makes the rows, docs/benchmarks/goals.tsv has the goals, `markup` writes."""

import csv
from typing import NamedTuple, Optional

from . import markup, results, tables
from .brokers import FLOOR

FACTS = ("Date", "Command", "CPU", "Kernel", "Load average before", "ringmq commit", "Mosquitto")
INTRODUCTION = """\
One core for the broker, medians. A goal counts as reached by its ratio to Mosquitto in the same run, because absolute figures are
those of a machine; where there is no ratio, by the figure itself. `x NAME` is how many times better ringmq is; `of the floor` how many
times it takes what the same bytes take without a broker. Goals: `goals.tsv`; spread, windows and marks: `latest.md`.
"""


class Goal(NamedTuple):
    """`limit` is absolute, or as many times the figure `limit_of` of the same entry; `ratio` is to Mosquitto. None where there is none."""

    shape: str
    scenario: str
    qos: Optional[int]
    phase: Optional[str]
    metric: tables.Metric
    limit: Optional[float]
    limit_of: Optional[str]
    ratio: Optional[float]


def read(path):
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    return [goal_of(fields) for fields in csv.DictReader(lines, delimiter="\t")]


def goal_of(fields):
    known = {name: None if text == "-" else text for name, text in fields.items()}
    groups = tables.STAGED_GROUPS if known["phase"] else tables.CORE_GROUPS
    metric = next(metric for group in groups for metric in group.metrics if metric.key == known["metric"])
    limit, _, limit_of = (known["goal"] or "").partition(" ")
    qos, ratio = known["qos"], known["ratio"]
    numbers = (float(limit) if limit else None, limit_of or None, float(ratio) if ratio else None)
    return Goal(known["shape"], known["scenario"], int(qos) if qos else None, known["phase"], metric, *numbers)


def as_markdown(goals, latest):
    told = [f"- {name}: {markup.escape_markdown(text)}" for name, text in latest["facts"] if name in FACTS]
    table = table_of(goals, latest["rows"], latest["labels"].get("core", []))
    return "\n".join(["# Goals\n", INTRODUCTION, markup.markdown(table), "\n".join(told) + "\n"])


def table_of(goals, rows, labels):
    others = results.rivals(labels)
    head = ["Shape", "QoS", "Figure", "Goal", "Goal x mosquitto", "ringmq"]
    head += [f"x {label}" for label in others] + ["of the floor", "Reached"]
    return tables.Table("Goals", head, 3, [line_of(goal, entries_of(goal, rows), others) for goal in goals], [])


def entries_of(goal, rows):
    """The brokers' entries. A cell in which all failed has no phases."""
    cell = ("core", goal.scenario, goal.qos)
    of_cell = [row for row in rows if (row["setting"], row["scenario"], row["qos"]) == cell]
    found = [row for row in of_cell if row["phase"] in (goal.phase, None)]
    return found[0]["brokers"] if found else {}


def line_of(goal, entries, others):
    own = entries.get("ringmq")
    texts = [goal.shape, "-" if goal.qos is None else str(goal.qos), goal.metric.title, limit_text(goal)]
    texts += ["-" if goal.ratio is None else f"{goal.ratio:g}x", figure_of(goal, own)]
    texts += [times(goal, own, entries.get(label)) for label in others]
    texts += [times(goal, entries.get(FLOOR), own)]
    verdict = verdict_of(goal, own, entries.get("mosquitto"))
    return [tables.Text(text) for text in texts] + [tables.Text(verdict, verdict != "yes")]


def limit_text(goal):
    if goal.limit is None:
        return "-"
    sign = "≥" if goal.metric.more_is_better else "≤"
    own = f" x own {goal.limit_of.partition('_')[0]}" if goal.limit_of else ""
    return f"{sign} {goal.limit:,.10g}{own}"


def figure_of(goal, entry):
    if entry and entry["failed"]:
        return "FAIL"
    median = results.median_of(goal.metric, entry) if entry else None
    return "-" if median is None else goal.metric.form.format(median)


def times(goal, one, two):
    ratio = results.better(goal.metric, one, two) if one and two else None
    if ratio is None:
        return "FAIL" if (one or {}).get("failed") or (two or {}).get("failed") else "-"
    return tables.ratio_text(ratio)


def verdict_of(goal, own, mosquitto):
    """`yes`, `no`, or why it cannot be said."""
    if own and own["failed"]:
        return "no: FAIL"
    value = results.median_of(goal.metric, own) if own else None
    if value is None:
        return "not measured"
    if goal.ratio is not None:
        ratio = results.better(goal.metric, own, mosquitto) if mosquitto else None
        return "not measured" if ratio is None else "yes" if ratio >= goal.ratio else "no"
    limit = goal.limit * (own["figures"][goal.limit_of]["median"] if goal.limit_of else 1)
    return "yes" if (value >= limit if goal.metric.more_is_better else value <= limit) else "no"
