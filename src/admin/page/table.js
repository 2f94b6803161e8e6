// table: rows that are kept while their values change, so that nothing jumps and the focus stays where it is.
// Must not: ask the API.

/**
 * `columns`: `label`, `text(item)`, and as wanted `href(item)`, `tip(item)`, `tone(item)` (a class), `share(item)` (0 to 1, a bar),
 * `isNumber`, `isName` (text of a client), `isMinor` (left out on a phone), `press: [words, run(item)]` (a button).
 * `key(item)` tells rows apart; `empty`: what no rows mean, text or a function; `rows`: place that is kept for so many.
 */
class Table {
  constructor(host, { label, columns, key, empty, rows = 0 }) {
    Object.assign(this, { columns, key, empty, kept: new Map() });
    const heads = columns.map((column) =>
      el(
        'th',
        { scope: 'col', role: 'columnheader', class: Table.classOf(column) },
        column.isHeadHidden ? el('span', { class: 'unseen' }, column.label) : column.label,
      ),
    );
    this.body = el('tbody', { role: 'rowgroup' });
    this.head = el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...heads));
    this.table = el('table', { role: 'table', 'aria-label': label }, this.head, this.body);
    this.note = el('p', { class: 'note' }, 'Asking the broker…');
    this.frame = el('div', { class: 'rows' }, this.table, this.note);
    if (rows > 0) this.frame.style.setProperty('--rows', String(rows));
    this.table.hidden = true;
    host.replaceChildren(this.frame);
  }

  static classOf(column) {
    const classes = [column.isNumber && 'number', column.isName && 'name', column.isMinor && 'minor', column.isWide && 'wide'];
    return classes.filter(Boolean).join(' ') || null;
  }

  say(text, isBad = false) {
    setText(this.note, text);
    this.note.classList.toggle('bad', isBad);
    setHidden(this.note, text === '');
  }

  /** What was shown stays, as it is better than nothing. */
  fail(error) {
    this.say(error.message, true);
    this.frame.classList.add('stale');
  }

  update(items) {
    this.frame.classList.remove('stale');
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const seen = new Set();
    let place = this.body.firstChild;
    for (const item of items) {
      let key = String(this.key(item));
      while (seen.has(key)) key += '\u0000';
      seen.add(key);
      const row = this.kept.get(key) ?? this.make(key);
      this.fill(row, item);
      if (row.node === place) place = place.nextSibling;
      else this.body.insertBefore(row.node, place);
    }
    for (const [key, row] of this.kept) {
      if (seen.has(key)) continue;
      row.node.remove();
      this.kept.delete(key);
    }
    setHidden(this.table, items.length === 0);
    this.say(items.length > 0 ? '' : typeof this.empty === 'function' ? this.empty() : this.empty);
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  make(key) {
    const row = { item: null, cells: [] };
    row.node = el('tr', { role: 'row' });
    for (const column of this.columns) {
      const cell = {
        text: column.press
          ? el('button', { type: 'button', class: 'small', onclick: () => column.press[1](row.item) })
          : el(column.href ? 'a' : 'span'),
      };
      cell.node = el(
        'td',
        { role: 'cell', 'data-label': column.isHeadHidden ? null : column.label, class: Table.classOf(column) },
        cell.text,
      );
      if (column.share) {
        cell.bar = el('i');
        cell.text.before(el('span', { class: 'bar', 'aria-hidden': 'true' }, cell.bar));
        cell.node.classList.add('with-bar');
      }
      row.cells.push(cell);
      row.node.append(cell.node);
    }
    this.kept.set(key, row);
    return row;
  }

  fill(row, item) {
    row.item = item;
    this.columns.forEach((column, at) => {
      const cell = row.cells[at];
      setText(cell.text, column.press ? column.press[0] : column.text(item));
      if (column.href) setAttribute(cell.text, 'href', column.href(item));
      if (column.isName || column.tip) setAttribute(cell.text, 'title', column.tip ? column.tip(item) : column.text(item));
      if (column.tone) setAttribute(cell.text, 'class', column.tone(item) || null);
      if (column.share) {
        const share = Math.min(1, Math.max(0, column.share(item) || 0));
        cell.bar.style.transform = `scaleX(${share.toFixed(4)})`;
        setAttribute(cell.bar, 'class', share > 0.9 ? 'full' : share > 0.7 ? 'high' : null);
      }
    });
  }
}

function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** A list that comes in pages: `load(cursor)` gives `{items, next}`. */
class Pager {
  constructor(host, table, load) {
    Object.assign(this, { table, load, cursors: [null], next: null, turn: 0 });
    this.back = el('button', { type: 'button', class: 'quiet', disabled: true, onclick: () => this.turnTo(-1) }, 'Previous');
    this.on = el('button', { type: 'button', class: 'quiet', disabled: true, onclick: () => this.turnTo(1) }, 'Next');
    this.where = el('span', { class: 'told', role: 'status' });
    host.replaceChildren(this.back, this.where, this.on);
  }

  /** The first page. */
  begin() {
    this.cursors = [null];
    return this.show();
  }

  turnTo(step) {
    if (step > 0) this.cursors.push(this.next);
    else this.cursors.pop();
    return this.show();
  }

  async show() {
    const turn = (this.turn += 1);
    try {
      let page = await this.load(this.cursors.at(-1));
      // Nothing yet, of many that were looked at.
      while (turn === this.turn && page.items.length === 0 && page.next) {
        setText(this.where, 'looking on');
        page = await this.load(page.next);
      }
      // An answer to a question that has changed meanwhile.
      if (turn !== this.turn) return;
      this.next = page.next ?? null;
      this.table.update(page.items);
      setText(this.where, page.items.length === 0 ? '' : `page ${this.cursors.length}, ${page.items.length} shown`);
    } catch (error) {
      if (turn !== this.turn) return;
      this.next = null;
      this.table.fail(error);
      setText(this.where, '');
    }
    this.back.disabled = this.cursors.length < 2;
    this.on.disabled = this.next === null;
  }
}

/** Names and values, kept while the values change: `set({name: text})`, in the order of the names. */
class Facts {
  constructor(list, names) {
    this.values = new Map(names.map((name) => [name, el('dd')]));
    list.replaceChildren(...names.map((name) => el('div', {}, el('dt', {}, name), this.values.get(name))));
  }

  set(values) {
    for (const [name, text] of Object.entries(values)) setText(this.values.get(name), text);
  }
}
