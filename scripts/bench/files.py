"""Writes the report in its three forms. Neighbour: `page` renders."""

import json
import os

from . import page


def write_all(folder, latest):
    os.makedirs(folder, exist_ok=True)
    texts = {"md": page.as_markdown(latest), "json": json.dumps(latest, indent=1, ensure_ascii=False) + "\n", "html": page.as_html(latest)}
    for ending, text in texts.items():
        path = os.path.join(folder, f"latest.{ending}")
        # Replaced in one step, so that an interrupted run leaves the old report whole.
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".new", path)
