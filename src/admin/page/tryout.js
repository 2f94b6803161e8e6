// tryout: publish and subscribe from this page, as any client of the broker may. Must not: go around its rules.

const MESSAGES_SHOWN = 200;
/** A page cannot slow down who sends to it: beyond this it leaves. */
const MESSAGES_PER_SEC_MAX = 5000;

const tryout = { client: null, filters: new Map(), came: [], total: 0, number: 0, isDrawn: true, second: 0, inSecond: 0 };

const cameTable = new Table($('came'), {
  label: 'Messages that came',
  key: (message) => message.number,
  empty: 'Nothing yet. Connect, and subscribe to a topic.',
  columns: [
    { label: 'At', text: (message) => clock(message.at, true), isNumber: true },
    { label: 'Topic', text: (message) => shown(message.topic), href: (message) => topicLink(message.topic), isName: true },
    {
      label: 'QoS',
      text: (message) => `${message.qos}${message.retain ? ', retained' : ''}`,
      tip: (message) => (message.retain ? 'retained' : null),
      isNumber: true,
    },
    { label: 'Bytes', text: (message) => count(message.bytes), isNumber: true },
    { label: 'Payload', text: (message) => message.text, isWide: true, tone: () => 'mono' },
  ],
});

const filterTable = new Table($('subscriptions'), {
  label: 'Subscriptions of this page',
  key: (one) => one.filter,
  empty: '',
  columns: [
    { label: 'Filter', text: (one) => shown(one.filter), isName: true },
    { label: 'QoS', text: (one) => `${one.qos}`, isNumber: true },
    { label: 'Answer', text: (one) => shown(one.text), tone: (one) => (one.code >= 0x80 ? 'bad' : '') },
    { label: 'Remove', isHeadHidden: true, press: ['Remove', (one) => removeFilter(one)] },
  ],
});
filterTable.update([]);
cameTable.update([]);

function tellJoin(text, tone = '') {
  const answer = $('join-answer');
  answer.className = `answer ${tone}`;
  setText(answer, shown(text));
}

function tellPublish(text, tone = '') {
  const answer = $('publish-answer');
  answer.className = `answer ${tone}`;
  setText(answer, shown(text));
}

function showJoined(isJoined, words = isJoined ? 'Disconnect' : 'Connect') {
  setText($('join-button'), words);
  for (const form of ['subscribe-form', 'publish-form']) $(form).querySelector('button').disabled = !isJoined;
}

// ---- Where to ----

/** The addresses of the broker's own listeners for WebSocket, as this browser reaches them. */
function socketAddresses(listeners) {
  const found = [];
  for (const { address, protocol } of listeners ?? []) {
    const scheme = /^(ws|websocket)/i.test(protocol) ? (/^wss|tls/i.test(protocol) ? 'wss' : 'ws') : null;
    const split = /^(?:\w+:\/\/)?(.*):(\d+)$/.exec(address ?? '');
    if (!scheme || !split) continue;
    const isAny = ['', '*', '0.0.0.0', '[::]', '::'].includes(split[1]);
    const own = location.hostname;
    found.push(`${scheme}://${isAny ? own : split[1]}:${split[2]}/mqtt`);
  }
  return found;
}

const NO_LISTENER =
  'No listener speaks WebSocket. One line makes one: "listener 8080 127.0.0.1" and "protocol websockets" in a file of Mosquitto’s; ' +
  '[[listener]] with address = "127.0.0.1:8080" and websocket = true in ringmq’s own.';

function proposeAddresses() {
  const found = socketAddresses(broker.overview?.listeners);
  setText(
    $('join-hint'),
    found.length > 0
      ? 'It talks to a WebSocket listener of the broker; the rules and bounds hold for it as for everybody.'
      : broker.overview
        ? NO_LISTENER
        : '',
  );
  if (found.length > 0 && $('join-url').value === '') $('join-url').value = found[0];
  const known = [...$('join-urls').children].map((option) => option.value);
  if (known.join(' ') !== found.join(' ')) $('join-urls').replaceChildren(...found.map((value) => el('option', { value })));
}

function whyNoConnection(url) {
  const hints = [`nobody listens there`, `the listener's list of origins does not have ${location.origin}`];
  if (url.startsWith('wss:')) hints.push('this browser does not trust its certificate (open the address with https:// once)');
  if (location.protocol === 'https:' && url.startsWith('ws:')) hints.push('a page that came by https may use wss:// only');
  return `No connection to ${url}. A browser does not say why; perhaps ${hints.join(', or ')}.`;
}

// ---- In and out ----

$('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (tryout.client) tryout.client.leave();
  else join($('join-url').value.trim());
});

function join(url) {
  const clientId = `dashboard-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
  const on = {
    joined: () => {
      tellJoin(`Connected as ${clientId}.`, 'good');
      showJoined(true);
    },
    message: noteMessage,
    left: (why) => {
      tryout.client = null;
      tryout.filters.clear();
      filterTable.update([]);
      showJoined(false);
      const text = why === 'left' ? 'Not connected.' : why === 'no connection' ? whyNoConnection(url) : `Not connected: ${why}.`;
      tellJoin(text, why === 'left' ? '' : 'bad');
    },
  };
  try {
    if (!/^wss?:\/\//i.test(url)) throw new Error(url);
    tryout.client = new MqttClient(url, { clientId, user: $('join-user').value, password: $('join-password').value }, on);
    tellJoin('Connecting…');
    showJoined(false, 'Cancel');
  } catch {
    tellJoin(`${url || 'This'} is no WebSocket address: ws://HOST:PORT/mqtt or wss://HOST:PORT/mqtt is wanted.`, 'bad');
  }
}

$('subscribe-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [filter, qos] = [$('subscribe-filter').value, Number($('subscribe-qos').value)];
  try {
    const { code, text } = await tryout.client.subscribe(filter, qos);
    tryout.filters.set(filter, { filter, qos: code < 0x80 ? code : qos, code, text: code < 0x80 ? `granted QoS ${code}` : text });
  } catch (error) {
    tryout.filters.set(filter, { filter, qos, code: 0x80, text: error.message });
  }
  if (tryout.client) filterTable.update([...tryout.filters.values()]);
});

async function removeFilter(one) {
  tryout.filters.delete(one.filter);
  filterTable.update([...tryout.filters.values()]);
  $('subscribe-filter').focus();
  // Where the connection has ended, so has the subscription.
  if (one.code < 0x80) await tryout.client?.unsubscribe(one.filter).catch(() => {});
}

$('publish-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [topic, qos] = [$('publish-topic').value, Number($('publish-qos').value)];
  try {
    const answer = await tryout.client.publish(topic, $('publish-payload').value, qos, $('publish-retain').checked);
    tellPublish(
      answer ? `${clock(Date.now())} ${answer.text}` : `${clock(Date.now())} sent; to QoS 0 there is no answer`,
      answer && answer.code >= 0x80 ? 'bad' : 'good',
    );
  } catch (error) {
    tellPublish(error.message, 'bad');
  }
});

function noteMessage(message) {
  const at = Date.now();
  const second = Math.floor(at / 1000);
  if (second !== tryout.second) Object.assign(tryout, { second, inSecond: 0 });
  tryout.inSecond += 1;
  if (tryout.inSecond > MESSAGES_PER_SEC_MAX) {
    tryout.client?.end(`more than ${count(MESSAGES_PER_SEC_MAX)} messages in a second are too many for a page; subscribe to less`);
    return;
  }
  tryout.total += 1;
  tryout.number += 1;
  tryout.came.unshift({
    ...message,
    at,
    number: tryout.number,
    bytes: message.payload.length,
    text: payloadText(message.payload, 512),
    payload: null,
  });
  tryout.came.length = Math.min(tryout.came.length, MESSAGES_SHOWN);
  if (!tryout.isDrawn) return;
  tryout.isDrawn = false;
  setTimeout(drawCame, 100);
}

function drawCame() {
  tryout.isDrawn = true;
  cameTable.update(tryout.came);
  const rest = tryout.total > tryout.came.length ? `, the last ${MESSAGES_SHOWN} are shown` : '';
  setText($('came-told'), `${many(tryout.total, 'message')}${rest}; the newest is on top.`);
}

const tryoutPart = { polls: [], show: proposeAddresses };
