// MQTT.js over WebSocket: `node mqttjs_web.mjs MODULE WS_PORT WSS_PORT CA_FILE` prints `done` when a message has come back on both.
//
// Duty: one round trip per address. Must not: test MQTT. Neighbours: web.rs.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [module, wsPort, wssPort, caFile] = process.argv.slice(2);
const mqtt = createRequire(import.meta.url)(module);

function roundTrip(url, size) {
  return new Promise((resolve, reject) => {
    const payload = Buffer.alloc(size, 'x');
    const client = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, ca: readFileSync(caFile) });
    let isEnded = false;
    const end = () => {
      isEnded = true;
      client.end(false, resolve);
    };
    const fail = (why) => reject(new Error(`${url}: ${why}`));
    client.on('error', fail);
    client.on('close', () => isEnded || fail('closed'));
    client.on('connect', () => client.subscribe('js/web', { qos: 1 }, () => client.publish('js/web', payload, { qos: 1 })));
    client.on('message', (_topic, message) => (message.equals(payload) ? end() : fail('another payload')));
  });
}

for (const url of [`ws://127.0.0.1:${wsPort}/mqtt`, `wss://localhost:${wssPort}/mqtt`]) {
  for (const size of [3, 70_000, 400_000]) await roundTrip(url, size);
}
console.log('done');
