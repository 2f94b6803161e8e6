// MQTT.js as a station of the matrix: `node mqttjs_station.mjs MODULE PORT`, lines on stdin, answers on stdout.
//
// Duty: carry out each line with MQTT.js alone. Must not: check anything. Neighbours: station.rs says the words; features.rs
// uses them.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [module, port] = process.argv.slice(2);
const mqtt = createRequire(import.meta.url)(module);
const guests = new Map();
const answer = (name, text) => process.stdout.write(`${name} ${text}\n`);
const defined = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
const number = (text) => (text === undefined ? undefined : Number(text));

/** A letter at each place of a made payload, as station.rs makes it. */
function payloadOf(text) {
  if (!text.startsWith('*')) return Buffer.from(text);
  const letters = Buffer.from(Array.from({ length: 251 }, (_, at) => 97 + (((at * 31) % 251) % 26)));
  return Buffer.alloc(Number(text.slice(1)), letters);
}

function textOf(payload) {
  const isMade = payload.length >= 1000 && payload.equals(payloadOf(`*${payload.length}`));
  return isMade ? `*${payload.length}` : payload.toString();
}

function connect(name, words) {
  const isV5 = words.version === '5';
  const client = mqtt.connect({
    host: '127.0.0.1', port: Number(port), clientId: name, protocolVersion: Number(words.version), reconnectPeriod: 0,
    clean: words.clean !== '0', resubscribe: false,
    properties: isV5 ? defined({
      sessionExpiryInterval: number(words.expiry), receiveMaximum: number(words.receive_max), topicAliasMaximum: number(words.alias_max),
    }) : undefined,
    will: words.will ? {
      topic: words.will, payload: 'gone', qos: 1, retain: false,
      properties: isV5 ? { willDelayInterval: Number(words.will_delay ?? 0) } : undefined,
    } : undefined,
  });
  let came = 0;
  client.on('connect', () => answer(name, 'connected'));
  client.on('close', () => answer(name, 'ended'));
  client.on('error', (error) => answer(name, `error ${error.message}`));
  client.on('message', (topic, payload, packet) => {
    if (came < Number(words.count ?? 0)) {
      if (payload.toString() !== String(came)) answer(name, `error ${payload} came as number ${came}`);
      came += 1;
      if (came === Number(words.count)) answer(name, 'counted');
      return;
    }
    const found = packet.properties ?? {};
    const pairs = Object.entries(found.userProperties ?? {}).flatMap(([key, values]) => [values].flat().map((value) => `${key}:${value}`));
    answer(name, `message qos=${packet.qos} retain=${packet.retain ? 1 : 0} alias=${found.topicAlias ?? ''} sid=${[found.subscriptionIdentifier ?? ''].flat()} `
      + `expiry=${found.messageExpiryInterval ?? ''} topic=${topic} text=${textOf(payload)} user=${pairs.join(' ')}`);
  });
  guests.set(name, client);
}

function done(name, what) {
  return (error) => answer(name, error ? `error ${error.message}` : what);
}

function subscribe(name, words) {
  const isV5 = guests.get(name).options.protocolVersion === 5;
  const options = { qos: Number(words.qos) };
  if (isV5) {
    Object.assign(options, { nl: words.nl === '1', rap: words.rap === '1' });
    if (words.sid) options.properties = { subscriptionIdentifier: Number(words.sid) };
  }
  guests.get(name).subscribe(words.filter, options, done(name, 'subscribed'));
}

function publish(name, words) {
  const client = guests.get(name);
  const user = {};
  for (const [key, value] of (words.user ?? '').split(',').filter(Boolean).map((pair) => pair.split(':'))) {
    (user[key] ??= []).push(value);
  }
  for (let times = 0; times < Number(words.repeat ?? 1); times += 1) {
    const properties = defined({
      messageExpiryInterval: number(words.expiry), topicAlias: number(words.alias), userProperties: words.user ? user : undefined,
    });
    const options = { qos: Number(words.qos), retain: words.retain === '1' };
    if (client.options.protocolVersion === 5) options.properties = properties;
    const topic = words.alias && times > 0 ? '' : words.topic;
    client.publish(topic, payloadOf(words.text + (words.repeat ? times : '')), options, done(name, 'published'));
  }
}

const verbs = {
  connect,
  subscribe,
  publish,
  ack: () => {}, // MQTT.js acknowledges each message before it reads the next
  disconnect: (name) => guests.get(name).end(),
  break: (name) => guests.get(name).stream.destroy(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, name, ...rest] = line.split(' ');
  const words = Object.fromEntries(rest.filter(Boolean).map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]));
  try {
    verbs[verb](name, words);
  } catch (error) {
    answer(name, `error ${error.message}`);
  }
}
process.exit(0);
