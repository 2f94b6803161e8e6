// clients: who is there, found by a part of the name; one of them with all that is known; the way out. Must not: change anything
// without asking.

const CLIENTS_SHOWN = 50;
const QUEUE_SHOWN = 30;
const DETAIL_MS = 2000;
const CLIENTS_MS = 5000;
const TYPING_MS = 300;

function stateText(client) {
  if (client.connected) return `connected for ${span(client.connected_secs)}`;
  return isNumber(client.session_ends_secs) ? `away, its session ends in ${span(client.session_ends_secs)}` : 'away';
}

const clientTable = new Table($('client-table'), {
  label: 'Clients',
  key: (client) => client.client_id,
  empty: () => ($('client-filter').value ? 'No session has this in its client id, user or address.' : 'There are no sessions.'),
  columns: [
    { label: 'Client', text: (client) => shown(client.client_id), href: (client) => clientLink(client.client_id), isName: true },
    { label: 'User', text: (client) => shown(client.user), isName: true },
    {
      label: 'State',
      text: (client) => (client.connected ? 'connected' : 'away'),
      tip: stateText,
      tone: (client) => (client.connected ? 'good' : 'dim'),
    },
    { label: 'Address', text: (client) => shown(client.address), isName: true, isMinor: true },
    { label: 'MQTT', text: (client) => shown(client.protocol), isNumber: true, isMinor: true },
    { label: 'Shard', text: (client) => `${client.shard}`, isNumber: true, isMinor: true },
    { label: 'Subscriptions', text: (client) => count(client.subscriptions), isNumber: true, isMinor: true },
    { label: 'Queued', text: (client) => count(client.queued_messages), isNumber: true },
    { label: 'In flight', text: (client) => count(client.inflight_messages), isNumber: true, isMinor: true },
    { label: 'Sends', text: (client) => byteRate(client.bytes_received_per_sec), isNumber: true },
    {
      label: 'Pressure',
      text: (client) => client.pressure ?? UNKNOWN,
      tone: (client) => pressureTone(client) || 'dim',
      tip: (client) => shown(client.slow_because),
    },
  ],
});

/** The broker knows rates of clients while somebody asks who talks the most. */
const keepRates = () => clientsBy('talkers', 1).catch(() => {});

const clientPager = new Pager($('client-pager'), clientTable, async (cursor) => {
  const order = $('client-order').value;
  const isOrdered = order !== 'none';
  // An order is of all clients, and has one page.
  for (const name of ['client-filter', 'client-connected']) $(name).disabled = isOrdered;
  keepRates();
  if (isOrdered) return api('clients', { query: { order, limit: CLIENTS_SHOWN } });
  const query = { filter: $('client-filter').value, connected: $('client-connected').value, limit: CLIENTS_SHOWN, cursor };
  return api('clients', { query });
});

let typing = 0;
$('client-filter').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => clientPager.begin(), TYPING_MS);
});
for (const name of ['client-connected', 'client-order']) $(name).addEventListener('change', () => clientPager.begin());
$('client-form').addEventListener('submit', (event) => {
  event.preventDefault();
  clearTimeout(typing);
  clientPager.begin();
});

// ---- One client ----

/** What is shown of one client, made anew for each. */
class ClientDetail {
  constructor(id) {
    this.id = id;
    this.client = null;
    this.title = el('h2', { class: 'title', tabindex: '-1' }, shown(id));
    this.because = el('p', { class: 'because', role: 'status', hidden: true });
    this.error = el('p', { class: 'bad', role: 'alert', hidden: true });
    this.kick = el(
      'button',
      { type: 'button', class: 'danger', onclick: () => this.askToKick(), 'aria-describedby': 'kick-told' },
      'Disconnect…',
    );
    this.told = el('span', { class: 'told', id: 'kick-told' });
    const list = el('dl', { class: 'figures' });
    this.facts = new Facts(list, [
      'State',
      'User',
      'Address',
      'Listener',
      'MQTT',
      'Shard',
      'Keep alive',
      'Idle for',
      'Queued',
      'In flight',
      'Acknowledgements due',
      'Not sent yet',
      'Held for it',
      'Messages from it',
      'Bytes from · to it',
      'Sends now',
      'Pressure',
      'Session expiry',
      'Will',
    ]);
    const [subscriptions, queue] = [el('div'), el('div')];
    this.body = el(
      'div',
      {},
      el('section', { class: 'panel', 'aria-label': 'Facts' }, list),
      el(
        'div',
        { class: 'pair' },
        el('section', { class: 'panel' }, el('h2', {}, 'Subscriptions'), subscriptions),
        el('section', { class: 'panel' }, el('h2', {}, 'First of its queue'), queue),
      ),
    );
    this.node = el(
      'article',
      {},
      el('p', { class: 'more' }, el('a', { href: '#clients' }, '← All clients')),
      el(
        'div',
        { class: 'title-line' },
        this.title,
        el(
          'p',
          { class: 'buttons' },
          el('a', { class: 'button', href: `#trace/client/${encodeURIComponent(id)}` }, 'Trace its packets'),
          this.kick,
        ),
      ),
      this.told,
      this.because,
      this.error,
      this.body,
    );
    this.subscriptions = new Table(subscriptions, {
      label: 'Subscriptions',
      key: (one) => one.filter,
      empty: 'It has no subscriptions.',
      columns: [
        { label: 'Filter', text: (one) => shown(one.filter), isName: true },
        { label: 'QoS', text: (one) => `${one.qos}`, isNumber: true },
        { label: 'Options', text: optionsOf, isWide: true },
      ],
    });
    this.queue = new Table(queue, {
      label: 'First of its queue',
      key: (one) => one.at,
      empty: 'Nothing waits for it.',
      columns: [
        { label: 'Topic', text: (one) => shown(one.topic), href: (one) => topicLink(one.topic), isName: true },
        { label: 'QoS', text: (one) => `${one.qos}${one.retain ? ', retained' : ''}`, isNumber: true },
        { label: 'Payload', text: (one) => bytes(one.payload_bytes), isNumber: true },
        { label: 'State', text: (one) => (one.state === 'inflight' ? 'in flight' : one.state) },
      ],
    });
  }

  async load() {
    try {
      keepRates();
      const [client, queue] = await Promise.all([
        api(`clients/${part(this.id)}`),
        api(`clients/${part(this.id)}/queue`, { query: { limit: QUEUE_SHOWN } }),
      ]);
      this.draw(client, queue.items);
    } catch (error) {
      this.client = null;
      setText(this.error, error.status === 404 ? 'There is no session of this client id now.' : error.message);
      setHidden(this.error, false);
      this.node.classList.add('stale');
    }
    this.drawKick();
  }

  draw(client, queue) {
    this.client = client;
    this.node.classList.remove('stale');
    setHidden(this.error, true);
    setText(this.because, client.slow_because ? `Slow: ${shown(client.slow_because)}` : '');
    setHidden(this.because, !client.slow_because);
    this.facts.set({
      State: stateText(client),
      User: shown(client.user),
      Address: shown(client.address),
      Listener: client.listener_port === 0 ? 'a Unix socket' : isNumber(client.listener_port) ? `port ${client.listener_port}` : UNKNOWN,
      MQTT: shown(client.protocol),
      Shard: `${client.shard}`,
      'Keep alive': client.keep_alive_secs === 0 ? 'none' : span(client.keep_alive_secs),
      'Idle for': isNumber(client.idle_ms)
        ? client.idle_ms < 1000
          ? `${Math.round(client.idle_ms)}${THIN}ms`
          : span(client.idle_ms / 1000)
        : UNKNOWN,
      Queued: isNumber(client.queue_bytes)
        ? `${count(client.queued_messages)} (${bytes(client.queue_bytes)})`
        : count(client.queued_messages),
      'In flight': count(client.inflight_messages),
      'Acknowledgements due': count(client.owed_acks),
      'Not sent yet': bytes(client.backlog_bytes),
      'Held for it': bytes(client.held_bytes),
      'Messages from it': count(client.messages_received),
      'Bytes from · to it': `${bytes(client.bytes_received)} · ${bytes(client.bytes_sent)}`,
      'Sends now': byteRate(client.bytes_received_per_sec),
      Pressure: client.pressure ?? UNKNOWN,
      'Session expiry':
        client.session_expiry_secs === 0
          ? 'ends with the connection'
          : client.session_expiry_secs === 4294967295
            ? 'never'
            : span(client.session_expiry_secs),
      Will: willText(client.will),
    });
    this.subscriptions.update(client.subscription_list ?? []);
    this.queue.update(queue.map((one, at) => ({ ...one, at })));
  }

  drawKick() {
    this.kick.disabled = !mayChange() || this.client === null;
    setText(this.told, broker.overview && !mayChange() ? CHANGES_ARE_OFF : '');
  }

  askToKick() {
    const queued = this.client?.queued_messages ?? 0;
    askIfSure({
      title: 'Disconnect this client?',
      text: `${shown(this.id)} is told so (0x98, Administrative action) and its will is sent. Nothing keeps it from coming back.`,
      yes: 'Disconnect',
      more: `End its session, too: its subscriptions and ${many(queued, 'queued message')} are lost`,
      run: async (isSessionEnded) => {
        await api(`clients/${part(this.id)}`, { method: 'DELETE', query: { session: isSessionEnded ? 'end' : '' } });
        await this.load();
      },
    });
  }
}

function willText(will) {
  if (!will) return 'none';
  const delay = will.delay_secs > 0 ? `, after ${span(will.delay_secs)}` : '';
  return `${shown(will.topic)}, QoS ${will.qos}${will.retain ? ', retained' : ''}, ${bytes(will.payload_bytes)}${delay}`;
}

function optionsOf(one) {
  const options = [
    one.no_local && 'no local',
    one.retain_as_published && 'retain as published',
    one.retain_handling > 0 && `retain handling ${one.retain_handling}`,
    isNumber(one.subscription_id) && one.subscription_id > 0 && `identifier ${one.subscription_id}`,
  ];
  return options.filter(Boolean).join(', ');
}

const clientsPart = {
  detail: null,
  polls: [
    new Poll(DETAIL_MS, async () => clientsPart.detail?.load()),
    new Poll(CLIENTS_MS, async () => (clientsPart.detail ? null : clientPager.show())),
  ],

  show([id]) {
    setHidden($('client-list'), id !== undefined);
    setHidden($('client-detail'), id === undefined);
    if (id === undefined) {
      this.detail = null;
      $('client-detail').replaceChildren();
    } else if (this.detail?.id !== id) {
      this.detail = new ClientDetail(id);
      $('client-detail').replaceChildren(this.detail.node);
      this.detail.title.focus();
    }
  },
};
