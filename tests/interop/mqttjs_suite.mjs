// Checks through MQTT.js: `node mqttjs_suite.mjs MODULE PORT`. Each check prints one line, `ok` or `not ok`.
//
// Duty: what another library with its own habits sees: QoS flows, retained messages, wills, sessions, topic aliases both
// ways, properties. Must not: sleep where an event can be awaited, or share ids or topics between checks, which run side by
// side. Neighbours: paho_suite.py is the longer list; libraries.rs runs this file against 1, 2 and 4 shards.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [module, port] = process.argv.slice(2);
const mqtt = createRequire(import.meta.url)(module);

const TIMEOUT_MS = 15_000;
// MQTT.js does not heed Receive Maximum, so a burst stays below the 20 that Mosquitto announces.
const BURST = 20;
const NO_MATCHING_SUBSCRIBERS = 0x10;
const SESSION_TAKEN_OVER = 0x8e;
const VERSIONS = [4, 5];

const checks = [];
const check = (name, run) => checks.push({ name, run });

/** The promise, or an error that says what did not happen in time. */
function within(what, promise, timeoutMs = TIMEOUT_MS) {
  let timer;
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), timeoutMs);
  });
  return Promise.race([promise, tooLate]).finally(() => clearTimeout(timer));
}

function event(emitter, name) {
  const seen = within(name, new Promise((resolve) => emitter.once(name, (...values) => resolve(values))));
  seen.catch(() => {}); // whoever awaits it hears of it; nobody may be there yet
  return seen;
}

/** A connected client. What came lies in `client.messages` as packets; `client.connack` is how it was welcomed. */
async function connect(clientId, options = {}) {
  const client = mqtt.connect({ host: '127.0.0.1', port: Number(port), clientId, protocolVersion: 5, reconnectPeriod: 0, ...options });
  client.messages = [];
  client.on('message', (topic, payload, packet) => {
    client.messages.push({ ...packet, topic, text: payload.toString() });
    client.emit('more');
  });
  client.on('error', () => {});
  [client.connack] = await event(client, 'connect');
  return client;
}

async function gather(client, count) {
  while (client.messages.length < count) {
    await event(client, 'more').catch((error) => {
      throw new Error(`${error.message}; ${client.messages.length} of ${count} messages came`);
    });
  }
  return client.messages;
}

/** Waits for as many messages as are expected and compares all that came, in order. */
async function expect(client, texts) {
  const found = await gather(client, texts.length);
  assert.deepEqual(found.map((message) => message.text), texts);
}

async function end(...clients) {
  await within('the end', Promise.all(clients.map((client) => client.endAsync())));
}

/** Ends the connection without DISCONNECT, as a lost network does. */
async function breakOff(client) {
  const closed = event(client, 'close');
  client.stream.destroy();
  await closed;
}

for (const protocolVersion of VERSIONS) {
  const name = `v${protocolVersion}`;

  check(`every QoS arrives on every shard, ${name}`, async () => {
    const readers = await Promise.all([0, 1, 2, 3].map((n) => connect(`js-rt-r${n}-${name}`, { protocolVersion })));
    const writers = await Promise.all([0, 1, 2, 3].map((n) => connect(`js-rt-w${n}-${name}`, { protocolVersion })));
    for (const reader of readers) {
      const [granted] = await reader.subscribeAsync(`js-rt/${name}/+`, { qos: 2 });
      assert.equal(granted.qos, 2);
    }
    const expected = [];
    for (const [number, writer] of writers.entries()) {
      for (const qos of [0, 1, 2]) {
        await writer.publishAsync(`js-rt/${name}/x`, `${number} ${qos}`, { qos });
        expected.push(`${number} ${qos} ${qos}`);
      }
    }
    for (const reader of readers) {
      const found = await gather(reader, expected.length);
      assert.deepEqual(found.map((message) => `${message.text} ${message.qos}`).sort(), expected);
    }
    await end(...readers, ...writers);
  });

  check(`a burst arrives in order and once, ${name}`, async () => {
    const texts = Array.from({ length: 1000 }, (_, number) => String(number));
    const reader = await connect(`js-burst-r-${name}`, { protocolVersion });
    const writer = await connect(`js-burst-w-${name}`, { protocolVersion });
    for (const qos of [1, 2]) {
      const topic = `js-burst/${name}/${qos}`;
      await reader.subscribeAsync(topic, { qos });
      for (let first = 0; first < texts.length; first += BURST) {
        const burst = texts.slice(first, first + BURST);
        await within('all acknowledgements', Promise.all(burst.map((text) => writer.publishAsync(topic, text, { qos }))));
      }
      await expect(reader, texts);
      reader.messages.length = 0;
    }
    await end(reader, writer);
  });

  check(`a retained message is replayed and cleared, ${name}`, async () => {
    const topic = `js-kept/${name}`;
    const writer = await connect(`js-kept-w-${name}`, { protocolVersion });
    await writer.publishAsync(topic, 'kept', { qos: 1, retain: true });
    for (const number of [0, 1, 2]) {
      const reader = await connect(`js-kept-r${number}-${name}`, { protocolVersion });
      await reader.subscribeAsync(topic, { qos: 1 });
      await expect(reader, ['kept']);
      assert.equal(reader.messages[0].retain, true);
      await end(reader);
    }
    await writer.publishAsync(topic, '', { qos: 1, retain: true });
    const late = await connect(`js-kept-late-${name}`, { protocolVersion });
    await late.subscribeAsync(topic, { qos: 1 });
    await writer.publishAsync(topic, 'live', { qos: 1 });
    await expect(late, ['live']);
    await end(writer, late);
  });

  check(`a will comes when the connection breaks, not after DISCONNECT, ${name}`, async () => {
    const watcher = await connect(`js-will-watch-${name}`, { protocolVersion });
    await watcher.subscribeAsync(`js-will/${name}/#`, { qos: 2 });
    const dying = (id) => {
      const will = { topic: `js-will/${name}/${id}`, payload: id, qos: 1, retain: false };
      return connect(`js-will-${id}-${name}`, { protocolVersion, will });
    };
    const [polite, broken] = [await dying('polite'), await dying('broken')];
    await end(polite);
    await breakOff(broken);
    await expect(watcher, ['broken']);
    await end(watcher, broken);
  });

  check(`a session is resumed after a break and gets what it missed, ${name}`, async () => {
    const properties = protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined;
    const stay = { protocolVersion, clean: false, properties, reconnectPeriod: 50, resubscribe: false };
    const reader = await connect(`js-stay-${name}`, stay);
    assert.equal(reader.connack.sessionPresent, false);
    await reader.subscribeAsync(`js-stay/${name}`, { qos: 2 });
    const writer = await connect(`js-stay-w-${name}`, { protocolVersion });
    const texts = Array.from({ length: 200 }, (_, number) => String(number));
    for (const [number, text] of texts.entries()) {
      await writer.publishAsync(`js-stay/${name}`, text, { qos: 2 });
      if (number % 50 === 25) {
        const again = event(reader, 'connect');
        reader.stream.destroy();
        const [connack] = await again;
        assert.equal(connack.sessionPresent, true);
      }
    }
    await expect(reader, texts);
    await end(reader, writer);
  });
}

check('an acknowledgement says whether anyone was there', async () => {
  const writer = await connect('js-nm-w');
  const code = async () => {
    const [[puback]] = await Promise.all([event(writer, 'packetreceive'), writer.publishAsync('js-nm/x', 'x', { qos: 1 })]);
    assert.equal(puback.cmd, 'puback');
    return puback.reasonCode ?? 0;
  };
  assert.equal(await code(), NO_MATCHING_SUBSCRIBERS);
  const reader = await connect('js-nm-r');
  await reader.subscribeAsync('js-nm/#', { qos: 0 });
  assert.equal(await code(), 0);
  await end(reader, writer);
});

check('a client that is taken over hears it', async () => {
  for (const number of [0, 1, 2, 3]) {
    const older = await connect(`js-to-${number}`);
    const told = event(older, 'disconnect');
    const newer = await connect(`js-to-${number}`);
    assert.equal((await told)[0].reasonCode, SESSION_TAKEN_OVER);
    await end(older, newer);
  }
});

check('a shared subscription deals each message once and in turn', async () => {
  const members = [];
  for (const number of [0, 1, 2]) {
    const member = await connect(`js-share-${number}`, { protocolVersion: VERSIONS[number % 2] });
    await member.subscribeAsync('$share/js/js-share/+', { qos: 1 });
    members.push(member);
  }
  const writer = await connect('js-share-w');
  for (let number = 0; number < 30; number += 1) {
    await writer.publishAsync('js-share/x', String(number), { qos: 1 });
  }
  const hands = [];
  for (const member of members) {
    hands.push((await gather(member, 10)).map((message) => Number(message.text)));
  }
  assert.deepEqual(hands.flat().sort((a, b) => a - b), Array.from({ length: 30 }, (_, number) => number));
  assert.ok(hands.every((hand) => hand.every((number) => number % 3 === hand[0] % 3)), JSON.stringify(hands));
  await end(writer, ...members);
});

check('properties pass through', async () => {
  const reader = await connect('js-props-r');
  const writer = await connect('js-props-w');
  await reader.subscribeAsync('js-props', { qos: 2, properties: { subscriptionIdentifier: 77 } });
  const sent = {
    contentType: 'text/plain',
    correlationData: Buffer.from([0, 1, 255]),
    messageExpiryInterval: 100,
    payloadFormatIndicator: true,
    responseTopic: 'js/answer',
    userProperties: { one: ['1', '2'], zwei: 'ü' },
  };
  for (const qos of [0, 1, 2]) {
    await writer.publishAsync('js-props', 'x', { qos, properties: sent });
  }
  for (const { properties } of await gather(reader, 3)) {
    const { messageExpiryInterval, subscriptionIdentifier, topicAlias, ...passed } = properties;
    const { messageExpiryInterval: _, ...expected } = sent;
    assert.deepEqual({ ...passed, userProperties: { ...passed.userProperties } }, expected);
    assert.ok(messageExpiryInterval >= 98 && messageExpiryInterval <= 100, `expiry ${messageExpiryInterval}`);
    assert.deepEqual([subscriptionIdentifier].flat(), [77]);
  }
  await end(reader, writer);
});

check('topic aliases work from the client', async () => {
  const reader = await connect('js-alias-r');
  await reader.subscribeAsync('js-alias/+', { qos: 1 });
  const writer = await connect('js-alias-w', { autoAssignTopicAlias: true, autoUseTopicAlias: true });
  assert.ok(writer.connack.properties.topicAliasMaximum > 0, 'the broker takes no aliases');
  const expected = [];
  for (let round = 0; round < 4; round += 1) {
    for (let topic = 0; topic < 15; topic += 1) {
      await writer.publishAsync(`js-alias/${topic}`, `${round} ${topic}`, { qos: topic % 2 });
      expected.push(`js-alias/${topic} ${round} ${topic}`);
    }
  }
  const found = await gather(reader, expected.length);
  assert.deepEqual(found.map((message) => `${message.topic} ${message.text}`), expected);
  await end(reader, writer);
});

check('topic aliases work towards the client', async () => {
  const reader = await connect('js-out-r', { properties: { topicAliasMaximum: 3 } });
  const seen = new Map();
  reader.on('packetreceive', (packet) => {
    const alias = packet.cmd === 'publish' ? packet.properties?.topicAlias : undefined;
    if (alias === undefined) return;
    assert.ok(alias >= 1 && alias <= 3, `alias ${alias}`);
    assert.ok(packet.topic !== '' || seen.has(alias), `alias ${alias} was used before it was set`);
    if (packet.topic !== '') seen.set(alias, packet.topic);
  });
  await reader.subscribeAsync('js-out/+', { qos: 2 });
  const writer = await connect('js-out-w', { protocolVersion: 4 });
  const expected = [];
  for (let number = 0; number < 60; number += 1) {
    const topic = `js-out/${(number * 7) % 5}`;
    await writer.publishAsync(topic, String(number), { qos: 1 });
    expected.push(`${topic} ${number}`);
  }
  const found = await gather(reader, expected.length);
  assert.deepEqual(found.map((message) => `${message.topic} ${message.text}`), expected);
  await end(reader, writer);
});

check('subscription options: no local, retain as published, retain handling', async () => {
  const client = await connect('js-options');
  await client.publishAsync('js-options/x', 'kept', { qos: 1, retain: true });
  await client.subscribeAsync('js-options/x', { qos: 1, nl: true, rap: true, rh: 2 });
  await client.publishAsync('js-options/x', 'own', { qos: 1 });
  const other = await connect('js-options-other');
  await other.publishAsync('js-options/x', 'foreign', { qos: 1, retain: true });
  await expect(client, ['foreign']);
  assert.equal(client.messages[0].retain, true);
  await other.publishAsync('js-options/x', '', { qos: 1, retain: true });
  await end(client, other);
});

check('a client without an id is given one', async () => {
  const client = await connect('', { clean: true });
  assert.ok(client.connack.properties.assignedClientIdentifier.length > 0);
  await end(client);
});

const results = await Promise.all(checks.map(async ({ name, run }) => {
  const error = await within('the check', run(), 2 * TIMEOUT_MS).then(() => null, (reason) => reason);
  return { name, error };
}));
for (const [index, { name, error }] of results.entries()) {
  console.log(`${error ? 'not ok' : 'ok'} ${index + 1} - ${name}`);
  if (error) console.log(String(error.stack ?? error).replace(/^/gm, '#   '));
}
const failed = results.filter(({ error }) => error).length;
console.log(`1..${results.length}\n# done, ${failed} failed`);
process.exit(failed ? 1 : 0);
