"""Writes the report in its three forms, and the goals. Neighbours: `page` and `goals` render."""

import json
import os

from . import goals, page


def write_all(folder, latest, wanted):
    """`wanted` is the path of the goals."""
    os.makedirs(folder, exist_ok=True)
    texts = {"md": page.as_markdown(latest), "json": json.dumps(latest, separators=(",", ":"), ensure_ascii=False) + "\n", "html": page.as_html(latest)}
    for ending, text in texts.items():
        write(os.path.join(folder, f"latest.{ending}"), text)
    write_goals(folder, latest, wanted)


def write_goals(folder, latest, wanted):
    write(os.path.join(folder, "goals.md"), goals.as_markdown(goals.read(wanted), latest))


def write(path, text):
    """Replaces the file in one step, so that an interrupted run leaves the old report whole."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)
