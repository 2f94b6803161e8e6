"""Rows as tables: what stands in which column. Must not know a markup. Neighbours: `results` makes the rows, `markup` writes."""

from typing import List, NamedTuple, Tuple

from . import cells, results


class Metric(NamedTuple):
    """A figure of `generator.readings_of`, how it is written, and which way is better."""

    key: str
    title: str
    form: str
    more_is_better: bool


CPU = Metric("cpu_us", "CPU-us/msg", "{:,.3f}", False)
RATE = Metric("per_sec", "msg/s", "{:,.0f}", True)
P50 = Metric("p50_us", "p50 us", "{:,.0f}", False)
P99 = Metric("p99_us", "p99 us", "{:,.0f}", False)
RSS = Metric("rss_mib", "RSS MiB", "{:,.1f}", False)
CPU_EACH = Metric("cpu_us", "CPU-us each", "{:,.3f}", False)
RATE_EACH = Metric("per_sec", "per second", "{:,.0f}", True)
RSS_EACH = Metric("rss_bytes", "bytes each", "{:,.0f}", False)


class Group(NamedTuple):
    """Metrics that share one column per broker, with a column for the ratio or without."""

    title: str
    metrics: Tuple[Metric, ...]
    has_ratio: bool


class Layout(NamedTuple):
    """A kind of table: which rows it takes and what it shows of them."""

    key: str
    title: str
    setting: str
    is_staged: bool
    groups: Tuple[Group, ...]


CORE_GROUPS = (
    Group("CPU-us/msg", (CPU,), True),
    Group("msg/s", (RATE,), True),
    Group("p50 / p99 us", (P50, P99), False),
    Group("RSS MiB", (RSS,), False),
)
STAGED_GROUPS = (Group("CPU-us each", (CPU_EACH,), True), Group("per second", (RATE_EACH,), True), Group("bytes each", (RSS_EACH,), False))
TOTAL_GROUPS = (Group("msg/s", (RATE,), True),)

LAYOUTS = (
    Layout("core", "One core for the broker", "core", False, CORE_GROUPS),
    Layout("staged", "One core for the broker, in stages", "core", True, STAGED_GROUPS),
    Layout("total", "All cores", "total", False, TOTAL_GROUPS),
)

MARKS = {"limited": "*", "unsent": "†"}
MARKED = {"limited": (RATE,), "unsent": (RATE, P50, P99)}
OTHER_WINDOW = "‡"
NOTES = {
    "*": "the generator was the limit: the broker could do more.",
    "†": "the wanted rate was missed: messages that were due never left, and the latency of those is not known.",
    "~": "the runs of both overlap: the difference may be chance.",
}


class Text(NamedTuple):
    text: str
    is_strong: bool = False


class Table(NamedTuple):
    """`texts` is how many columns at the left hold words."""

    title: str
    head: List[str]
    texts: int
    rows: List[List[Text]]
    notes: List[str]


def tables_of(rows, labels_of):
    """Every table that has rows. `labels_of` names the brokers of a setting in order."""
    found = []
    for layout in LAYOUTS:
        chosen = rows_of(layout, rows)
        if chosen:
            found.append(table_of(layout, chosen, labels_of[layout.setting]))
    return found


def rows_of(layout, rows):
    """A failed staged scenario says no phase, so it stands in the other table, where FAIL is seen as well."""
    return [row for row in rows if row["setting"] == layout.setting and (row["phase"] is not None) == layout.is_staged]


def table_of(layout, rows, labels):
    labels = measured(rows, labels)
    head = head_of(layout, labels)
    body = [row_of(layout, row, labels) for row in rows]
    return Table(layout.title, head, 4 if layout.is_staged else 2, body, notes_of(body, rows, labels))


def measured(rows, labels):
    """Those that ran in one of the rows at least: the floor does not carry all."""
    return [label for label in labels if any(label in row["brokers"] for row in rows)]


def head_of(layout, labels):
    head = ["Scenario", "QoS"] + (["Stage", "of each"] if layout.is_staged else [])
    for group in layout.groups:
        head += [f"{group.title}, {label}" for label in labels]
        head += [f"{group.title}: {title}" for title, _, _ in ratios_of(layout, labels)] if group.has_ratio else []
    return head + ([f"Ahead of {results.ours(labels)}"] if is_contest(labels) else [])


def is_contest(labels):
    return results.ours(labels) is not None and results.reference(labels) is not None


def ratios_of(layout, labels):
    """Title, broker and the one that it is divided by. More than 1 is always good for the first."""
    base, own = results.reference(labels), results.ours(labels)
    pairs = [(f"gain of {label}", label, base) for label in labels if base and label != base and not is_lesser_ringmq(label, own)]
    if layout.setting == "total":
        pairs += [("all shards / 1 shard", own, "ringmq, 1 shard")] if own and own != "ringmq, 1 shard" else []
    return pairs


def is_lesser_ringmq(label, own):
    return label.startswith("ringmq") and label != own


def row_of(layout, row, labels):
    row_cells = [Text(row["scenario"]), Text("-" if row["qos"] is None else str(row["qos"]))]
    row_cells += [Text(row["phase"]), Text(row["unit"] or "-")] if layout.is_staged else []
    for group in layout.groups:
        row_cells += [value_of(group, row["brokers"].get(label)) for label in labels]
        if group.has_ratio:
            row_cells += [ratio_of(group.metrics[0], row, one, two) for _, one, two in ratios_of(layout, labels)]
    return row_cells + ([ahead_of(layout, row, labels)] if is_contest(labels) else [])


def value_of(group, entry):
    if entry is None:
        return Text("-")
    if entry["failed"]:
        return Text("FAIL", True)
    texts = [figure_of(metric, entry) for metric in group.metrics]
    return Text("-" if set(texts) == {"-"} else " / ".join(texts))


def figure_of(metric, entry):
    median = results.median_of(metric, entry)
    if median is None:
        return "-"
    marks = "".join(sign for mark, sign in MARKS.items() if mark in entry["marks"] and metric in MARKED[mark])
    marks += OTHER_WINDOW if metric.key == "cpu_us" and entry["window"] is not None else ""
    return metric.form.format(median) + (f" {marks}" if marks else "")


def ratio_of(metric, row, one, two):
    first, second = row["brokers"].get(one), row["brokers"].get(two)
    ratio = results.better(metric, first, second) if first and second and is_comparable(metric, row) else None
    if ratio is None:
        return Text("-")
    return Text(ratio_text(ratio) + chance_mark(metric, first, second), ratio < 1)


def is_comparable(metric, row):
    """A rate that is given says nothing about the broker."""
    return not (row["paced"] and metric.key == "per_sec")


def ratio_text(ratio):
    """Two digits that count, so that 0.97 does not become 1.0."""
    return f"{ratio:.2f}x" if ratio < 1.95 else f"{ratio:.1f}x"


def chance_mark(metric, first, second):
    return " ~" if first["runs"] > 1 and second["runs"] > 1 and results.overlap(metric, first, second) else ""


def ahead_of(layout, row, labels):
    """Which brokers beat ringmq in this row, and in what. This is where nobody should have to search."""
    own = row["brokers"].get(results.ours(labels))
    told = [wins_of(layout, row, label, own) for label in results.rivals(labels)]
    told = [text for text in told if text]
    return Text("; ".join(told) or "-", bool(told))


def wins_of(layout, row, label, own):
    entry = row["brokers"].get(label)
    if not entry or not own or entry["failed"]:
        return ""
    if own["failed"]:
        return f"{label}: ringmq failed"
    wins = []
    for metric in [metric for group in layout.groups for metric in group.metrics if is_comparable(metric, row)]:
        ratio = results.better(metric, entry, own)
        if ratio is not None and ratio > 1:
            wins.append(metric.title.partition(" ")[0] + chance_mark(metric, entry, own))
    return f"{label}: {', '.join(wins)}" if wins else ""


def notes_of(body, rows, labels):
    shown = " ".join(cell.text for row in body for cell in row)
    notes = [f"{sign} {text}" for sign, text in NOTES.items() if sign in shown]
    # A gain is only shown where there is somebody to gain on.
    if is_contest(labels):
        notes.insert(0, f"gain: how many times better than {results.reference(labels)}; below 1 it is worse.")
    return notes + window_notes(rows, labels) + fail_notes(rows, labels)


def window_notes(rows, labels):
    notes = {}
    for row in rows:
        for label in labels:
            entry = row["brokers"].get(label)
            if entry and entry["window"] is not None:
                cell = cells.name_of(row["scenario"], row["qos"])
                notes[f"{OTHER_WINDOW} {cell}, {label}: window {entry['window']}, which suits it better than the scenario's own."] = None
    return list(notes)


def fail_notes(rows, labels):
    notes = {}
    for row in rows:
        for label in labels:
            entry = row["brokers"].get(label)
            if entry and entry["failed"]:
                notes[f"FAIL {cells.name_of(row['scenario'], row['qos'])}, {label}: {entry['failed']}"] = None
    return list(notes)


def spread_table(layout, rows, labels):
    """The smallest and the largest of the runs, for each metric and broker."""
    labels = measured(rows, labels)
    metrics = [metric for group in layout.groups for metric in group.metrics]
    head = ["Scenario", "QoS"] + (["Stage"] if layout.is_staged else []) + [f"{m.title}, {label}" for m in metrics for label in labels]
    body = []
    for row in rows:
        line = [Text(row["scenario"]), Text("-" if row["qos"] is None else str(row["qos"]))]
        line += [Text(row["phase"])] if layout.is_staged else []
        body.append(line + [Text(range_of(metric, row["brokers"].get(label))) for metric in metrics for label in labels])
    return Table(f"{layout.title}: smallest .. largest", head, 3 if layout.is_staged else 2, body, [])


def range_of(metric, entry):
    figure = entry["figures"].get(metric.key) if entry else None
    if entry and entry["failed"]:
        return "FAIL"
    return f"{metric.form.format(figure['min'])} .. {metric.form.format(figure['max'])}" if figure else "-"


def spread_tables_of(rows, labels_of):
    chosen = [(layout, rows_of(layout, rows)) for layout in LAYOUTS]
    return [spread_table(layout, some, labels_of[layout.setting]) for layout, some in chosen if some]
