"""Tables as Markdown and as HTML. Must not choose what is shown. Neighbour: `tables` makes them."""

import html


def markdown(table):
    rule = ["---"] * table.texts + ["--:"] * (len(table.head) - table.texts)
    lines = [line(map(escape_markdown, table.head)), line(rule)]
    lines += [line(strong_markdown(cell) for cell in row) for row in table.rows]
    return "\n".join(lines + [""] + [f"- {escape_markdown(note)}" for note in table.notes]).rstrip() + "\n"


def line(texts):
    return "| " + " | ".join(texts) + " |"


def escape_markdown(text):
    for letter in "\\|*~<":
        text = text.replace(letter, "\\" + letter)
    # A fault may hold whatever a broker printed.
    return text.replace("\n", " ")


def strong_markdown(cell):
    return f"**{escape_markdown(cell.text)}**" if cell.is_strong else escape_markdown(cell.text)


def as_html(table):
    head = "".join(f"<th{left(at, table)}>{html.escape(text)}</th>" for at, text in enumerate(table.head))
    rows = "".join(f"<tr>{''.join(html_cell(cell, left(at, table)) for at, cell in enumerate(row))}</tr>\n" for row in table.rows)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    scroll = f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    return scroll + (f'\n<ul class="notes">{notes}</ul>' if notes else "")


def html_cell(cell, attribute):
    text = html.escape(cell.text)
    return f"<td{attribute}>{f'<strong>{text}</strong>' if cell.is_strong else text}</td>"


def left(at, table):
    return ' class="left"' if at < table.texts else ""
