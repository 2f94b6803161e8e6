"""The tables of the latest run in README.md, between two marks. Must not run anything. Neighbours: `tables`, `markup`."""

import json

from . import markup, tables

BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
FACTS = ("Date", "CPU", "Memory", "Kernel", "Load average before", "ringmq commit", "Mosquitto")


def rewrite(readme, latest):
    """Puts the tables of `latest` (a path) into `readme` (a path). ValueError if one of them is not what it should be."""
    with open(latest, encoding="utf-8") as file:
        block = block_of(json.load(file))
    with open(readme, encoding="utf-8") as file:
        text = replaced(file.read(), block)
    with open(readme, "w", encoding="utf-8") as file:
        file.write(text)


def replaced(text, block):
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block}{END}{after}"


def block_of(latest):
    facts = dict(latest["facts"])
    parts = [f"```sh\n{facts['Command']}\n```\n"]
    for layout in tables.LAYOUTS:
        some = tables.rows_of(layout, latest["rows"])
        if some:
            # Others stand in docs/benchmarks: a page that people read has room for two.
            labels = [label for label in latest["labels"][layout.setting] if label.startswith(("mosquitto", "ringmq"))]
            table = tables.table_of(layout, some, labels)
            parts += [f"{layout.title}: {latest['conditions'][layout.setting]}\n", markup.markdown(table)]
    told = [f"{name}: {facts[name]}" for name in FACTS if name in facts]
    return "\n".join(parts + [markup.escape_markdown("Conditions: " + "; ".join(told) + ".") + "\n"])
