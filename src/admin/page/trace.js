// trace: packets as they come and go, of one client or one topic. Must not: go on when it is not wanted: a trace costs the broker.

const PACKETS_SHOWN = 500;

const trace = { stop: null, rows: 0, seen: 0, lost: 0 };

/** The events of a stream, each its data as text. A partial event at the end is none. */
async function readEvents(response, onData) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value.replaceAll('\r', '');
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(line.startsWith('data: ') ? 6 : 5));
      if (data.length > 0) onData(data.join('\n'));
    }
  }
}

function tellTrace(text, isBad = false) {
  $('trace-told').classList.toggle('bad', isBad);
  setText($('trace-told'), text);
}

function counted() {
  return `${many(trace.seen, 'packet')}${trace.lost > 0 ? `, ${count(trace.lost)} more came too fast to be shown` : ''}`;
}

function addPacket(traced) {
  const list = $('packets');
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  trace.seen += 1;
  trace.lost += traced.lost ?? 0;
  if (traced.lost > 0) list.append(el('p', { class: 'lost' }, `${many(traced.lost, 'packet')} came too fast to be shown`));
  const isOut = traced.direction === 'out';
  const payload = traced.payload_base64 ? el('pre', {}, payloadText(fromBase64(traced.payload_base64))) : null;
  const words = el('span', { class: 'words' }, el('span', { class: 'mono' }, shown(traced.text)), payload);
  list.append(
    el(
      'div',
      { class: `packet ${isOut ? 'out' : 'in'}` },
      el('time', { title: new Date(traced.at_unix_ms).toISOString() }, clock(traced.at_unix_ms, true)),
      el('span', { class: 'way' }, isOut ? 'to it' : 'from it'),
      el('a', { class: 'who', href: clientLink(traced.client_id), title: shown(traced.client_id) }, shown(traced.client_id)),
      words,
      el('span', { class: 'size' }, `${bytes(traced.size_bytes)}`),
    ),
  );
  while (list.childElementCount > PACKETS_SHOWN) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
  tellTrace(`Tracing: ${counted()}.`);
}

async function startTrace() {
  const [kind, name] = [$('trace-kind').value, $('trace-name').value];
  const stop = new AbortController();
  trace.stop = stop;
  Object.assign(trace, { seen: 0, lost: 0 });
  setText($('trace-button'), 'Stop');
  tellTrace(kind === 'client' ? 'Tracing; nothing has come or gone yet.' : 'Tracing; nothing was published to it yet.');
  let end = 'The broker has ended the trace';
  let isBad = false;
  try {
    const response = await ask('trace', {
      query: { [kind]: name, payload: $('trace-payload').checked ? 'true' : '' },
      signal: stop.signal,
    });
    await readEvents(response, (data) => addPacket(JSON.parse(data)));
  } catch (error) {
    isBad = !stop.signal.aborted;
    end = isBad ? error.message : 'Stopped';
  }
  if (trace.stop !== stop) return;
  trace.stop = null;
  setText($('trace-button'), 'Start');
  tellTrace(`${end}${trace.seen > 0 ? `, ${counted()}` : ''}.`, isBad);
}

$('trace-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (trace.stop) trace.stop.abort();
  else startTrace();
});
$('trace-clear').addEventListener('click', () => $('packets').replaceChildren());

const tracePart = {
  polls: [],

  /** `#trace/client/ID` begins at once. */
  show([kind, name]) {
    if (name === undefined || !['client', 'topic'].includes(kind)) return;
    const isSame = trace.stop && $('trace-kind').value === kind && $('trace-name').value === name;
    if (isSame) return;
    trace.stop?.abort();
    trace.stop = null;
    $('trace-kind').value = kind;
    $('trace-name').value = name;
    startTrace();
  },

  hide() {
    trace.stop?.abort();
  },
};
