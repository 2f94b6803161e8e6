// The dashboard's script is one module: base, table, chart, one part for each tab, main. Each part begins with its duty.
//
// base: elements, words and numbers, questions to the API, the clock that asks. Must not: know what is shown where.
// Whatever a client may have written (client ids, topics, users, payloads) goes through `shown` into textContent, and nowhere else.

const $ = (id) => document.getElementById(id);

/** An element with these attributes (`on...` are listeners) and children: nodes, or text. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setHidden(node, isHidden) {
  if (node.hidden !== isHidden) node.hidden = isHidden;
}

// ---- Words and numbers ----

const THIN = '\u202f';
const UNKNOWN = '–';
const LETTERS_SHOWN_MAX = 2000;

/** Text of a client, harmless: controls and marks that turn the writing around are shown as what they are. */
function shown(text) {
  if (text === null || text === undefined) return UNKNOWN;
  const whole = String(text);
  const part = whole.length > LETTERS_SHOWN_MAX ? `${whole.slice(0, LETTERS_SHOWN_MAX)}…` : whole;
  return part
    .replace(/[\u0000-\u001f]/g, (letter) => String.fromCharCode(0x2400 + letter.charCodeAt(0)))
    .replace(
      /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
      (letter) => `[U+${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}

function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

/** 1 234 567 */
function count(value) {
  if (!isNumber(value)) return UNKNOWN;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

function threeDigits(value) {
  return value >= 99.95 ? String(Math.round(value)) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

function scaled(value, step, units) {
  let at = 0;
  while (value >= step * 0.9995 && at < units.length - 1) {
    value /= step;
    at += 1;
  }
  return [value, units[at]];
}

/** Whole up to 9 999, then 12.3 k. */
function brief(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value < 9999.5) return value > 0 && value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : count(value);
  const [part, unit] = scaled(value, 1000, ['', 'k', 'M', 'G', 'T']);
  return `${threeDigits(part)}${THIN}${unit}`;
}

function rate(value) {
  return isNumber(value) ? `${brief(value)}/s` : UNKNOWN;
}

function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  const [part, unit] = scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
  return `${unit === 'B' ? Math.round(part) : threeDigits(part)}${THIN}${unit}`;
}

function byteRate(value) {
  return isNumber(value) ? `${bytes(value)}/s` : UNKNOWN;
}

function micros(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value < 999.5) return `${Math.round(value)}${THIN}µs`;
  const [part, unit] = scaled(value / 1000, 1000, ['ms', 's']);
  return `${threeDigits(part)}${THIN}${unit}`;
}

/** 45 s, 12 min, 3 h 5 min, 4 d 2 h */
function span(secs) {
  if (!isNumber(secs)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(secs));
  const [days, hours, mins] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  const part = (value, unit) => (value > 0 ? ` ${value}${THIN}${unit}` : '');
  if (days > 0) return `${days}${THIN}d${part(hours, 'h')}`;
  if (hours > 0) return `${hours}${THIN}h${part(mins, 'min')}`;
  return mins > 0 ? `${mins}${THIN}min${part(mins < 10 ? whole % 60 : 0, 's')}` : `${whole}${THIN}s`;
}

function percent(share) {
  return isNumber(share) ? `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)}${THIN}%` : UNKNOWN;
}

function clock(unixMs, withMs = false) {
  const at = new Date(unixMs);
  const two = (value) => String(value).padStart(2, '0');
  const whole = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return withMs ? `${whole}.${String(at.getMilliseconds()).padStart(3, '0')}` : whole;
}

/** `1 client`, `12 clients` */
function many(value, one, more = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : more}`;
}

/** Bytes as text if they are, else as hexadecimal digits; not more than the first ones. */
function payloadText(raw, lettersMax = 4096) {
  const part = raw.length > lettersMax ? raw.subarray(0, lettersMax) : raw;
  const more = raw.length > lettersMax ? ` … ${bytes(raw.length)} in all` : '';
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(part, { stream: raw.length > lettersMax });
    if (!/[\u0000-\u0008\u000e-\u001f]/.test(text)) {
      const lines = text.split(/\r\n|[\r\n]/).map((line) => shown(line.replace(/\t/g, '    ')));
      return lines.join('\n') + more;
    }
  } catch {
    // It is no text.
  }
  const digits = Array.from(part.subarray(0, 256), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `${digits}${raw.length > 256 ? ` … ${bytes(raw.length)} in all` : ''}`;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// ---- Questions to the API ----

/** Holds what goes into the header Authorization. */
const ENTRY_KEY = 'ringmq-entry';
const ANSWER_MS_MAX = 8000;
/** Questions at once: the room has few places, and others want some. */
const ASKED_MAX = 3;

/** Why there is no answer; `status` is 0 when nobody answered. */
class NoAnswer extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const asking = { running: 0, waiting: [] };

async function inTurn(run) {
  if (asking.running >= ASKED_MAX) await new Promise((resolve) => asking.waiting.push(resolve));
  asking.running += 1;
  try {
    return await run();
  } finally {
    asking.running -= 1;
    asking.waiting.shift()?.();
  }
}

function queryOf(values) {
  const wanted = Object.entries(values).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const text = new URLSearchParams(wanted).toString();
  return text && `?${text}`;
}

/** Called when the API wants to know who asks; main sets it. */
const onEntryWanted = { call: () => {} };

/** The response to a question that was let in; a `NoAnswer` is thrown else. */
async function ask(path, { method = 'GET', query = {}, body, signal } = {}) {
  const entry = sessionStorage.getItem(ENTRY_KEY);
  const headers = entry ? { Authorization: entry } : {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    // The browser does not ask for a password by itself: this page does.
    const wanted = { method, headers, credentials: 'omit', cache: 'no-store', signal };
    if (body !== undefined) wanted.body = JSON.stringify(body);
    response = await fetch(`api/v1/${path}${queryOf(query)}`, wanted);
  } catch (error) {
    throw new NoAnswer(0, error.name === 'AbortError' ? 'stopped' : 'the broker does not answer');
  }
  if (response.ok) return response;
  let detail = response.statusText;
  try {
    detail = (await response.json()).detail || detail;
  } catch {
    // Not one of the API's own words.
  }
  if (response.status === 401) onEntryWanted.call(entry);
  throw new NoAnswer(response.status, detail || `HTTP status ${response.status}`);
}

/** What the API says, as a value; `null` where it says nothing (204). */
function api(path, options = {}) {
  return inTurn(async () => {
    const response = await ask(path, { ...options, signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    try {
      return response.status === 204 ? null : await response.json();
    } catch {
      throw new NoAnswer(0, 'the broker broke off in its answer');
    }
  });
}

/** A client id or a topic as one part of a path. */
function part(name) {
  if (name === '.' || name === '..') throw new NoAnswer(400, `a browser cannot ask for the name '${name}': use ringmq clients`);
  return encodeURIComponent(name);
}

// ---- The clock that asks ----

/** Calls `load` every so often while it is started and somebody sees the page. */
class Poll {
  static all = new Set();
  /** Until the first answer came, one question is enough to hear that nobody is let in without a word, or that nobody is there. */
  static isAnswered = false;

  constructor(everyMs, load) {
    Object.assign(this, { everyMs, load, isOn: false, isLoading: false, timer: 0 });
    Poll.all.add(this);
  }

  start() {
    this.isOn = true;
    this.now();
  }

  stop() {
    this.isOn = false;
    clearTimeout(this.timer);
  }

  /** At once, if it is started; then again after its time. */
  async now() {
    clearTimeout(this.timer);
    // Nor while that word is asked for: each question would be refused, and counted.
    const isHeld = document.hidden || $('entry-dialog').open || !(Poll.isAnswered || this.isFirst);
    if (!this.isOn || isHeld || this.isLoading) return;
    this.isLoading = true;
    try {
      await this.load();
    } finally {
      this.isLoading = false;
      if (this.isOn) this.timer = setTimeout(() => this.now(), this.everyMs);
    }
  }
}

function askAgain() {
  for (const poll of Poll.all) poll.now();
}

document.addEventListener('visibilitychange', askAgain);

/** What all parts know of the broker: its last overview. */
const broker = { overview: null };

const CHANGES_ARE_OFF = 'Changes are off: this needs admin_allow_changes = true (or --admin-allow-changes).';

function mayChange() {
  return broker.overview?.allow_changes === true;
}

const clientLink = (id) => `#clients/${encodeURIComponent(id)}`;
const topicLink = (topic) => `#topics/${encodeURIComponent(topic)}`;

// ---- Are you sure? ----

/** Asks before something is changed; `run(isMoreWanted)` does it, and what it throws is told. */
function askIfSure({ title, text, yes, more, run }) {
  const dialog = $('sure-dialog');
  setText($('sure-title'), title);
  setText($('sure-text'), text);
  setText($('sure-yes'), yes);
  setText($('sure-more-text'), more ?? '');
  setText($('sure-told'), '');
  $('sure-more').checked = false;
  setHidden($('sure-more-label'), !more);
  $('sure-yes').disabled = false;
  $('sure-no').onclick = () => dialog.close();
  $('sure-form').onsubmit = async (event) => {
    event.preventDefault();
    $('sure-yes').disabled = true;
    try {
      await run($('sure-more').checked);
      dialog.close();
    } catch (error) {
      setText($('sure-told'), error.message);
      $('sure-yes').disabled = false;
    }
  };
  dialog.showModal();
  $('sure-no').focus();
}
