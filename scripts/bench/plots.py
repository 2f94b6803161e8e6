"""Rows as grouped bars with whiskers, one SVG per metric. Must not choose rows. Neighbours: `page` places them."""

import html
import math

from . import cells, results

# In CSS pixels at a width of one phone; the page lays several side by side where there is room.
WIDTH = 360
BAR = 13
BAR_GAP = 2
GROUP_GAP = 8
TITLE_HEIGHT = 17
VALUE_WIDTH = 62
AXIS_HEIGHT = 22
FAIL_LETTERS_MAX = 52

# As many as `page` defines.
COLOURS = 8


class LogScale:
    """Maps values to pixels, each power of ten as wide as the next. The ends are powers of ten around the values."""

    def __init__(self, values, width):
        positive = [value for value in values if value > 0] or [1]
        # One step below a smallest value that is a power of ten itself, or its bar would have no length.
        self.low = math.ceil(math.log10(min(positive))) - 1
        self.high = max(math.ceil(math.log10(max(positive))), self.low + 1)
        self.width = width

    def at(self, value):
        if value <= 0:
            return 0.0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0) * self.width

    def ticks(self):
        return [10.0**power for power in range(self.low, self.high + 1)]


def short(value):
    """At most four letters and a unit: 0.21, 24.0, 152, 4.72 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return digits(value / (1e3 if size == 1e4 else size)) + unit
    return digits(value)


def digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"


def title_of(row):
    """Scenario, QoS and what was counted."""
    text = cells.name_of(row["scenario"], row["qos"])
    return text + (f", {row['phase']}" if row["phase"] and row["phase"] != row["scenario"] else "")


def plot(metric, title, rows, labels, hint):
    """The figure of one metric, or nothing where no row has it."""
    rows = [row for row in rows if any(has(metric, row, label) for label in labels)]
    if not rows:
        return ""
    values = [figure[end] for row in rows for figure in figures_of(metric, row, labels) for end in ("min", "median", "max")]
    scale = LogScale(values, WIDTH - VALUE_WIDTH)
    group_height = TITLE_HEIGHT + len(labels) * (BAR + BAR_GAP) + GROUP_GAP
    bottom = len(rows) * group_height
    parts = [grid(scale, bottom)]
    parts += [group(metric, row, labels, scale, at * group_height) for at, row in enumerate(rows)]
    name = html.escape(title)
    size = f'viewBox="0 0 {WIDTH} {bottom + AXIS_HEIGHT}" role="img" aria-label="{name}"'
    return f"<figure>\n<figcaption>{name}<small>{html.escape(hint)}</small></figcaption>\n<svg {size}>\n{''.join(parts)}</svg>\n</figure>\n"


def has(metric, row, label):
    return entry_of(row, label)["failed"] or metric.key in entry_of(row, label)["figures"]


def entry_of(row, label):
    return row["brokers"].get(label) or {"failed": None, "figures": {}}


def figures_of(metric, row, labels):
    entries = [entry_of(row, label) for label in labels]
    return [one["figures"][metric.key] for one in entries if metric.key in one["figures"]]


def grid(scale, bottom):
    ticks = scale.ticks()
    # Every label needs some 36 pixels.
    step = max(1, math.ceil(36 * (len(ticks) - 1) / scale.width))
    parts = []
    for at, tick in enumerate(ticks):
        x = scale.at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
        anchor = "start" if at == 0 else "middle"
        label = f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="{anchor}">{short_tick(tick)}</text>'
        parts.append(label if at % step == 0 else "")
    return "".join(parts)


def short_tick(value):
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def group(metric, row, labels, scale, top):
    parts = [f'<text class="cell" x="0" y="{top + 12}">{html.escape(title_of(row))}</text>']
    for at, label in enumerate(labels):
        y = top + TITLE_HEIGHT + at * (BAR + BAR_GAP)
        parts.append(bar(metric, entry_of(row, label), label, f"b{colour_of(label, labels)}", scale, y))
    return "".join(parts) + "\n"


def bar(metric, entry, label, colour, scale, y):
    middle = y + BAR / 2
    if entry["failed"]:
        return f'<text class="fail" x="2" y="{middle + 4}">{html.escape(shortened("FAIL, " + entry["failed"]))}</text>'
    figure = entry["figures"].get(metric.key)
    if figure is None:
        return f'<text class="none" x="2" y="{middle + 4}">not measured</text>'
    low, width, high = (scale.at(figure[end]) for end in ("min", "median", "max"))
    text = metric.form.format
    tip = f"{label}: {text(figure['median'])} ({text(figure['min'])} .. {text(figure['max'])}) {metric.title}"
    parts = [f"<g><title>{html.escape(tip)}</title>"]
    parts.append(f'<rect class="{colour}" x="0" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" rx="2"/>')
    parts.append(whisker(low, high, middle) if figure["min"] != figure["max"] else "")
    parts.append(f'<text class="value" x="{max(width, high) + 5:.1f}" y="{middle + 4}">{short(figure["median"])}</text></g>')
    return "".join(parts)


def whisker(low, high, y):
    ends = "".join(f"M{x:.1f} {y - 3}v6" for x in (low, high))
    return f'<path class="whisker" d="M{low:.1f} {y}H{high:.1f}{ends}"/>'


def shortened(text):
    """What fits into the width of a plot; the table's notes have all of it."""
    return text if len(text) <= FAIL_LETTERS_MAX else text[: FAIL_LETTERS_MAX - 1] + "…"


def colour_of(label, labels):
    """A number of a colour: Mosquitto and ringmq keep theirs in every section, the others follow in order."""
    if label == "mosquitto":
        return 0
    if label == results.ours(labels):
        return 1
    others = [one for one in labels if not one.startswith("ringmq") and one != "mosquitto"]
    lesser = [one for one in labels if one.startswith("ringmq") and one != results.ours(labels)]
    return 2 + ((others + lesser).index(label)) % (COLOURS - 2)


def legend(labels):
    marks = [f'<span><span class="key k{colour_of(one, labels)}"></span>{html.escape(one)}</span>' for one in labels]
    return '<p class="legend">' + " ".join(marks) + "</p>\n"
