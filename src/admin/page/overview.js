// overview: is it well, and when not, who and why. Must not: change anything.

const OVERVIEW_MS = 2000;
const LISTS_MS = 4000;
const LIST_ROWS = 8;
/** Of lists with a sentence in each row. */
const SENTENCES = 6;
/** From so much on that waits for it, a connected client is told of on top. */
const SLOW_QUEUED_MIN = 1000;
const SLOW_BACKLOG_BYTES_MIN = 1 << 20;
const SLOW_TOLD_MAX = 3;

const charts = {};

function makeTiles() {
  const tile = (name, options) => {
    const host = el('section', { class: 'panel tile', 'aria-label': options.title });
    $('tiles').append(host);
    charts[name] = new Chart(host, options);
  };
  tile('messages', { title: 'Messages', lines: ['in', 'out'], format: rate, least: 10 });
  tile('bytes', { title: 'Bytes on the sockets', lines: ['in', 'out'], format: byteRate, least: 1024, thousand: 1024 });
  tile('latency', { title: 'Latency in the broker, p99', lines: ['local', 'cross'], format: micros, least: 100 });
  tile('refused', { title: 'Refused', lines: ['drops', 'denials'], format: rate, least: 1 });
}

const now = new Facts($('now'), [
  'Clients connected',
  'Sessions',
  'Connections',
  'Connects',
  'Subscriptions',
  'Retained messages',
  'Queued messages',
  'In flight',
  'Memory held for clients',
  'Store',
]);

function sum(values) {
  return Array.isArray(values) && values.every(isNumber) ? values.reduce((total, value) => total + value, 0) : null;
}

function byQos(values) {
  const parts = Array.isArray(values) ? values : [null, null, null];
  return parts.map((value) => brief(value));
}

function quantiles(latency) {
  return [latency?.p50, latency?.p90, latency?.p99, latency?.max].map(micros);
}

function storeText(store) {
  if (!store) return 'none: sessions and retained messages end with the process';
  const commit = isNumber(store.commit_ms?.p99)
    ? `, a commit takes ${micros(store.commit_ms.p50 * 1000)} (p99 ${micros(store.commit_ms.p99 * 1000)})`
    : '';
  return `${store.state}, ${many(store.commits, 'commit')}${commit}, ${count(store.waiting_records)} waiting, ${bytes(store.bytes)}`;
}

function drawOverview(overview, at) {
  const { rates, totals, clients, latency_us: latency } = overview;
  charts.messages.push(at, [sum(rates.messages_received_per_sec), sum(rates.messages_sent_per_sec)]);
  charts.bytes.push(at, [rates.bytes_received_per_sec, rates.bytes_sent_per_sec]);
  charts.latency.push(at, [latency.local?.p99, latency.cross_shard?.p99]);
  charts.refused.push(at, [rates.drops_per_sec, rates.denials_per_sec]);
  charts.messages.tell([
    ['', 'QoS 0', 'QoS 1', 'QoS 2', 'in all'],
    ['in', ...byQos(rates.messages_received_per_sec), brief(sum(totals.messages_received))],
    ['out', ...byQos(rates.messages_sent_per_sec), brief(sum(totals.messages_sent))],
  ]);
  charts.bytes.tell([
    ['', 'since the start'],
    ['in', bytes(totals.bytes_received)],
    ['out', bytes(totals.bytes_sent)],
  ]);
  const isSilent = !isNumber(latency.local?.p50) && !isNumber(latency.cross_shard?.p50);
  charts.latency.tell([
    [isSilent ? 'nothing sent lately' : '', 'p50', 'p90', 'p99', 'max'],
    ['local', ...quantiles(latency.local)],
    ['cross', ...quantiles(latency.cross_shard)],
  ]);
  charts.refused.tell([
    ['', 'since the start'],
    ['drops', totals.drops === 0 ? 'none' : count(totals.drops)],
    ['denials', totals.denials === 0 ? 'none' : count(totals.denials)],
  ]);
  const heldShare =
    overview.held_bytes_max > 0 ? ` of ${bytes(overview.held_bytes_max)} (${percent(overview.held_bytes / overview.held_bytes_max)})` : '';
  const shared = overview.shared_subscriptions > 0 ? `, ${count(overview.shared_subscriptions)} shared` : '';
  now.set({
    'Clients connected': count(clients.connected),
    Sessions: count(clients.sessions),
    Connections: count(clients.connections),
    Connects: rate(rates.connects_per_sec),
    Subscriptions: `${count(overview.subscriptions)}${shared}`,
    'Retained messages': count(overview.retained?.messages),
    'Queued messages': count(overview.queued_messages),
    'In flight': count(overview.inflight_messages),
    'Memory held for clients': `${bytes(overview.held_bytes)}${heldShare}`,
    Store: storeText(overview.store),
  });
}

// ---- Tables ----

const shardTable = new Table($('shards'), {
  label: 'Shards',
  key: (shard) => shard.shard,
  empty: 'There are no shards.',
  columns: [
    { label: 'Shard', text: (shard) => `${shard.shard}` },
    { label: 'CPU', text: (shard) => (isNumber(shard.cpu) ? `${shard.cpu}` : UNKNOWN), isNumber: true, isMinor: true },
    { label: 'Busy', text: (shard) => percent(shard.busy_share), share: (shard) => shard.busy_share, isNumber: true },
    { label: 'Turns', text: (shard) => rate(shard.turns_per_sec), isNumber: true, isMinor: true },
    { label: 'Clients', text: (shard) => count(shard.connected), isNumber: true },
    { label: 'Sessions', text: (shard) => count(shard.sessions), isNumber: true, isMinor: true },
    { label: 'In', text: (shard) => rate(shard.messages_received_per_sec), isNumber: true },
    { label: 'Out', text: (shard) => rate(shard.messages_sent_per_sec), isNumber: true },
    {
      label: 'Mesh out',
      text: (shard) => rate(shard.mesh?.messages_out_per_sec),
      tip: (shard) => `${rate(shard.mesh?.batches_out_per_sec)} batches out, ${rate(shard.mesh?.batches_in_per_sec)} batches in`,
      isNumber: true,
    },
    {
      label: 'Batches out · in',
      text: (shard) => `${rate(shard.mesh?.batches_out_per_sec)} · ${rate(shard.mesh?.batches_in_per_sec)}`,
      isNumber: true,
      isMinor: true,
    },
    {
      label: 'Mesh waiting',
      text: (shard) => count(shard.mesh?.waiting_batches),
      tone: (shard) => (shard.mesh?.waiting_batches > 0 ? 'warn' : ''),
      isNumber: true,
    },
    { label: 'Queued', text: (shard) => count(shard.queued_messages), isNumber: true },
    { label: 'Held', text: (shard) => bytes(shard.held_bytes), isNumber: true },
    { label: 'p99 local', text: (shard) => micros(shard.latency_us?.local?.p99), isNumber: true },
    { label: 'p99 cross', text: (shard) => micros(shard.latency_us?.cross_shard?.p99), isNumber: true },
  ],
});

const pressureTone = (client) => ({ stuck: 'bad', congested: 'warn' })[client.pressure] ?? '';

const slowTable = new Table($('slow'), {
  label: 'Slow consumers',
  key: (client) => client.client_id,
  empty: 'Nobody is slow: every connected client takes what it is sent.',
  rows: LIST_ROWS,
  columns: [
    { label: 'Client', text: (client) => shown(client.client_id), href: (client) => clientLink(client.client_id), isName: true },
    { label: 'Queued', text: (client) => brief(client.queued_messages), isNumber: true },
    { label: 'Owed', text: (client) => bytes(client.held_bytes + client.backlog_bytes), isNumber: true },
    {
      label: 'Because',
      text: (client) => shown(client.slow_because),
      tone: pressureTone,
      tip: (client) => shown(client.slow_because),
      isWide: true,
    },
  ],
});

const talkerTable = new Table($('talkers'), {
  label: 'Top talkers',
  key: (client) => client.client_id,
  empty: 'Nobody sends anything now.',
  rows: LIST_ROWS,
  columns: [
    { label: 'Client', text: (client) => shown(client.client_id), href: (client) => clientLink(client.client_id), isName: true },
    { label: 'User', text: (client) => shown(client.user), isName: true, isMinor: true },
    { label: 'Sends', text: (client) => byteRate(client.bytes_received_per_sec), isNumber: true },
    { label: 'Messages in all', text: (client) => brief(client.messages_received), isNumber: true },
    { label: 'Shard', text: (client) => `${client.shard}`, isNumber: true, isMinor: true },
  ],
});

function upFor() {
  return broker.overview ? `, ${span(broker.overview.uptime_secs)} ago` : '';
}

const nothingRefused = () => `Nothing was dropped, denied or cut short since the start${upFor()}.`;

const reasonColumns = [
  { label: 'Reason', text: (reason) => reason.name, tip: (reason) => reason.meaning, isName: true },
  { label: 'Now', text: (reason) => rate(reason.per_sec), tone: (reason) => (reason.per_sec > 0 ? 'warn' : ''), isNumber: true },
  { label: 'In all', text: (reason) => count(reason.count), isNumber: true },
  { label: 'Which means', text: (reason) => reason.meaning, isWide: true },
];

const dropTable = new Table($('drops'), {
  label: 'Dropped, denied, cut short',
  key: (reason) => reason.name,
  empty: nothingRefused,
  rows: LIST_ROWS,
  columns: reasonColumns,
});

/** Those that count now before those that counted once. */
function bitten(reasons) {
  return reasons.filter((reason) => reason.count > 0).sort((a, b) => (b.per_sec ?? 0) - (a.per_sec ?? 0) || b.count - a.count);
}

const topicColumns = [
  { label: 'Topic', text: (topic) => shown(topic.topic), href: (topic) => topicLink(topic.topic), isName: true },
  { label: 'Messages', text: (topic) => rate(topic.messages_per_sec), isNumber: true },
  { label: 'Counted', text: (topic) => brief(topic.messages), isNumber: true },
];

const hotTable = new Table($('hot'), {
  label: 'Hottest topics',
  key: (topic) => topic.topic,
  empty: 'Nothing was published in the last seconds.',
  rows: LIST_ROWS,
  columns: topicColumns,
});

/** Fills a table from the API; tells in it what goes wrong. */
async function fillFrom(table, load) {
  try {
    table.update(await load());
  } catch (error) {
    table.fail(error);
  }
}

const clientsBy = async (order, limit) => (await api('clients', { query: { order, limit } })).items;

/** The broker's own topics tell nothing of its clients. */
const hotTopics = async (limit) =>
  (await api('topics', { query: { limit } })).items.filter((topic) => topic.messages_per_sec > 0 && !topic.topic.startsWith('$SYS/'));

const slow = { clients: [] };

/** Goes on beside every part: who is slow is told on top of all of them. */
const slowPoll = new Poll(LISTS_MS, () =>
  fillFrom(slowTable, async () => {
    slow.clients = (await clientsBy('slowest', SENTENCES)).filter((client) => client.slow_because || client.queued_messages > 0);
    return slow.clients;
  }),
);

/** Connected clients that do not keep up, as problems. */
function slowProblems() {
  const waitsMuch = (client) => client.queued_messages >= SLOW_QUEUED_MIN || client.backlog_bytes >= SLOW_BACKLOG_BYTES_MIN;
  const isTold = (client) => client.connected && (client.pressure !== 'none' || waitsMuch(client));
  const waiting = ({ queued_messages: queued, backlog_bytes: backlog }) =>
    queued > 0 ? `${many(queued, 'message')} wait for it` : `${bytes(backlog)} wait for its socket`;
  return slow.clients
    .filter(isTold)
    .slice(0, SLOW_TOLD_MAX)
    .map((client) => ({
      severity: 'warning',
      text: `${client.client_id} does not keep up: ${waiting(client)}`,
      remedy: client.slow_because ?? '',
      href: clientLink(client.client_id),
    }));
}

const overviewPart = {
  polls: [
    new Poll(OVERVIEW_MS, () =>
      Promise.all([
        fillFrom(shardTable, async () => (await api('shards')).items),
        fillFrom(dropTable, async () => bitten((await api('drops')).items).slice(0, SENTENCES)),
      ]),
    ),
    new Poll(LISTS_MS, () =>
      Promise.all([
        fillFrom(talkerTable, async () => (await clientsBy('talkers', LIST_ROWS)).filter((client) => client.bytes_received_per_sec > 0)),
        fillFrom(hotTable, () => hotTopics(LIST_ROWS)),
      ]),
    ),
  ],
};
