"""The report as one HTML file without outside resources, and as Markdown. Neighbours: `tables`, `markup`, `plots`."""

import html

from . import markup, plots, tables

COLOURS_LIGHT = ("#d98200", "#0b6bcb", "#1b8a5a", "#b5478f", "#7a5cc9", "#6b7280", "#a3541a", "#00838f")
COLOURS_DARK = ("#f0a83c", "#5aa9f5", "#4cc38a", "#e283c0", "#a78bfa", "#a0a7b4", "#d98a50", "#4dd0e1")

PLOTS = {
    "core": (
        (tables.CPU, "CPU per delivered message, us"),
        (tables.RATE, "Messages per second"),
        (tables.P50, "Latency p50, us"),
        (tables.P99, "Latency p99, us"),
    ),
    "staged": ((tables.CPU_EACH, "CPU for each, us"), (tables.RATE_EACH, "Per second"), (tables.RSS_EACH, "Memory for each, bytes")),
    "total": ((tables.RATE, "Messages per second"),),
}

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2024; --soft: #60646c; --line: #d9dce1; --fail: #c62828; --band: #f5f6f8;
  LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --text: #e6e8ea; --soft: #9ba1a9; --line: #343a40; --fail: #ff7b72; --band: #1c2024;
    DARK }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1400px; padding: 1rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.2rem; }
.plots { display: grid; max-width: 1000px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 1.5rem 2rem; }
figure { margin: 0; max-width: 460px; } figcaption { font-weight: 600; margin-bottom: .4rem; }
figcaption small { display: block; font-weight: 400; color: var(--soft); }
svg { display: block; width: 100%; height: auto; overflow: visible; font: 11px system-ui, sans-serif; }
svg text { fill: var(--text); } svg .cell { font-weight: 600; } svg .tick, svg .none { fill: var(--soft); }
svg .fail { fill: var(--fail); font-weight: 700; } svg .grid { stroke: var(--line); }
svg .whisker { stroke: var(--text); stroke-width: 1.2; fill: none; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .5rem 0 1rem; }
.key { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: 3px; vertical-align: -.08em; }
.scroll { overflow-x: auto; margin: 1rem 0 .5rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .4rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; min-width: 5rem; } th.left, td.left { text-align: left; min-width: 0; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--ground); }
tbody tr:nth-child(even) td { background: var(--band); } td strong { color: var(--fail); }
.notes, .facts { color: var(--soft); font-size: .85rem; } .notes { padding-left: 1.2rem; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } .facts dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; margin-top: 1rem; }
@media (max-width: 500px) { .facts { grid-template-columns: 1fr; } .facts dt { font-weight: 600; } }
"""


def as_html(latest):
    rows, labels_of = latest["rows"], latest["labels"]
    parts = ["<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"]
    parts.append('<meta name=viewport content="width=device-width, initial-scale=1">\n')
    parts.append(f"<title>ringmq beside other brokers</title>\n<style>{style()}</style>\n</head>\n<body>\n")
    parts.append(f"<h1>ringmq beside other brokers</h1>\n<p>{html.escape(introduction(latest))}</p>\n")
    for layout, some, table in zip_layouts(rows, labels_of):
        parts.append(section(layout, some, table, labels_of[layout.setting], latest["conditions"][layout.setting]))
    parts.append(spreads(rows, labels_of))
    parts.append(f'<h2>Conditions</h2>\n<dl class="facts">{facts(latest["facts"])}</dl>\n</body>\n</html>\n')
    return "".join(parts)


def zip_layouts(rows, labels_of):
    chosen = [(layout, tables.rows_of(layout, rows)) for layout in tables.LAYOUTS]
    return [(layout, some, tables.table_of(layout, some, labels_of[layout.setting])) for layout, some in chosen if some]


def style():
    light, dark = (variables(colours) for colours in (COLOURS_LIGHT, COLOURS_DARK))
    rules = [f".b{at} {{ fill: var(--c{at}); }} .k{at} {{ background: var(--c{at}); }}" for at in range(len(COLOURS_LIGHT))]
    return STYLE.replace("LIGHT", light).replace("DARK", dark) + "\n".join(rules) + "\n"


def variables(colours):
    return " ".join(f"--c{at}: {colour};" for at, colour in enumerate(colours))


def introduction(latest):
    runs = latest["repetitions"]
    text = f"Medians of {runs} runs each." if runs > 1 else "One run each: no more than a look."
    text += " Every message was checked: it arrived once, in order and unaltered."
    return text + " Where a run failed that check, FAIL stands in place of a number."


def section(layout, rows, table, labels, conditions):
    figures = [plots.plot(metric, title, rows, labels, hint(metric)) for metric, title in PLOTS[layout.key]]
    head = f"<h2>{html.escape(layout.title)}</h2>\n<p>{html.escape(conditions)}</p>\n{plots.legend(labels)}"
    return f'{head}<div class="plots">\n{"".join(figures)}</div>\n{markup.as_html(table)}\n'


def hint(metric):
    return f"{'longer' if metric.more_is_better else 'shorter'} is better; log scale, each line is ten times the one before"


def spreads(rows, labels_of):
    found = tables.spread_tables_of(rows, labels_of)
    return "".join(f"<details><summary>{html.escape(one.title)}</summary>{markup.as_html(one)}</details>\n" for one in found)


def facts(pairs):
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in pairs)


def as_markdown(latest):
    rows, labels_of = latest["rows"], latest["labels"]
    parts = ["# ringmq beside other brokers\n", introduction(latest) + "\n"]
    for layout, _, table in zip_layouts(rows, labels_of):
        parts += [f"## {layout.title}\n", latest["conditions"][layout.setting] + "\n", markup.markdown(table)]
    for table in tables.spread_tables_of(rows, labels_of) if latest["repetitions"] > 1 else []:
        parts += [f"## {table.title}\n", markup.markdown(table)]
    parts += ["## Conditions\n", "\n".join(f"- {name}: {markup.escape_markdown(text)}" for name, text in latest["facts"]) + "\n"]
    return "\n".join(parts)
