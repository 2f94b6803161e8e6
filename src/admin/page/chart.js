// chart: lines over the last minutes, drawn as SVG. Must not: know what they mean.

const CHART_SECS = 300;
const SVG = 'http://www.w3.org/2000/svg';
const [CHART_WIDTH, CHART_HEIGHT] = [300, 72];

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** The next of 1, 2, 5, 10, 20 ... of its unit, so that the scale is calm. */
function niceAbove(value, least, thousand) {
  const unit = thousand ** Math.floor(Math.log(Math.max(value, least)) / Math.log(thousand) + 1e-9);
  const wanted = Math.max(value, least) / unit;
  const ten = 10 ** Math.floor(Math.log10(wanted));
  return unit * [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= wanted * 0.9999);
}

/** `lines`: names; the first is filled below. `format(value)`; `least`: the smallest scale; `thousand`: 1024 for bytes. */
class Chart {
  constructor(host, { title, lines, format, least = 1, thousand = 1000 }) {
    Object.assign(this, { lines, format, least, thousand, points: [], looked: null });
    this.svg = svg('svg', {
      viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`,
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': `${title}, the last five minutes`,
    });
    this.area = svg('path', { class: 'area line-0' });
    this.paths = lines.map((_, at) => svg('path', { class: `line line-${at}` }));
    this.mark = svg('path', { class: 'mark' });
    for (const height of [0.25, 0.5, 0.75])
      this.svg.append(svg('path', { class: 'grid', d: `M0 ${CHART_HEIGHT * height}H${CHART_WIDTH}` }));
    this.svg.append(this.area, ...this.paths, this.mark);
    this.top = el('span', { class: 'scale' });
    this.when = el('span', { class: 'when' }, 'last 5 min');
    this.values = lines.map(() => el('b', {}, UNKNOWN));
    const legend = lines.map((name, at) =>
      el('span', { class: 'key' }, el('i', { class: `swatch line-${at}` }), `${name} `, this.values[at]),
    );
    const plot = el('div', { class: 'plot' }, this.top, this.when);
    plot.prepend(this.svg);
    plot.addEventListener('pointermove', (event) => this.look(event.offsetX / plot.clientWidth));
    plot.addEventListener('pointerleave', () => this.look(null));
    this.foot = el('table', { class: 'foot' });
    host.append(el('h2', {}, title), el('p', { class: 'legend' }, ...legend), plot, this.foot);
  }

  /** Values at this time, milliseconds; what is not a number is a gap. */
  push(at, values) {
    this.points.push({ at, values });
    const oldest = at - CHART_SECS * 1000;
    while (this.points[0].at < oldest) this.points.shift();
    this.draw();
  }

  /** Rows of text below the chart, the first with the names of the columns. */
  tell(rows) {
    rows.forEach((texts, at) => {
      while (this.foot.rows.length <= at) {
        this.foot.append(
          el(
            'tr',
            {},
            ...texts.map((_, column) =>
              el(at === 0 || column === 0 ? 'th' : 'td', { scope: at === 0 ? 'col' : column === 0 ? 'row' : null }),
            ),
          ),
        );
      }
      texts.forEach((text, column) => setText(this.foot.rows[at].cells[column], text));
    });
  }

  look(share) {
    this.looked = share;
    this.draw();
  }

  draw() {
    const last = this.points.at(-1);
    if (!last) return;
    const begin = last.at - CHART_SECS * 1000;
    const highest = Math.max(0, ...this.points.flatMap(({ values }) => values.filter(isNumber)));
    const top = niceAbove(highest, this.least, this.thousand);
    const x = (at) => ((at - begin) / (CHART_SECS * 1000)) * CHART_WIDTH;
    const y = (value) => CHART_HEIGHT - 1 - (value / top) * (CHART_HEIGHT - 3);
    this.paths.forEach((path, line) =>
      path.setAttribute(
        'd',
        this.trace(line, x, y)
          .map((run) => `M${run.join('L')}`)
          .join(''),
      ),
    );
    const runs = this.trace(0, x, y).filter((run) => run.length > 1);
    const closed = (run) => `M${run[0].split(' ')[0]} ${CHART_HEIGHT}L${run.join('L')}L${run.at(-1).split(' ')[0]} ${CHART_HEIGHT}Z`;
    this.area.setAttribute('d', runs.map(closed).join(''));
    setText(this.top, this.format(top));
    const wanted = this.looked === null ? null : begin + this.looked * CHART_SECS * 1000;
    const distance = (point) => Math.abs(point.at - wanted);
    const point = wanted === null ? last : this.points.reduce((best, other) => (distance(other) < distance(best) ? other : best));
    this.mark.setAttribute('d', wanted === null ? '' : `M${x(point.at).toFixed(1)} 0V${CHART_HEIGHT}`);
    setText(this.when, wanted === null ? 'last 5 min' : clock(point.at));
    this.values.forEach((node, line) => setText(node, this.format(point.values[line])));
  }

  /** The points of a line, in runs without a gap: the page was not seen, or nothing was known. */
  trace(line, x, y) {
    const runs = [[]];
    let before = null;
    for (const { at, values } of this.points) {
      const isGap = !isNumber(values[line]) || (before !== null && at - before > 10_000);
      if (isGap && runs.at(-1).length > 0) runs.push([]);
      if (isNumber(values[line])) runs.at(-1).push(`${x(at).toFixed(1)} ${y(values[line]).toFixed(1)}`);
      before = at;
    }
    return runs.filter((run) => run.length > 0);
  }
}
