// SCRAM-SHA-256 through MQTT.js: `node mqttjs_scram.mjs MODULE PORT`. Prints `ok` or `not ok` for each check, then `# done`.
//
// Duty: log in, renew the proof while connected, and be refused, with Node's own crypto as the other side of the exchange. Must
// not: know how the broker keeps passwords. Neighbours: libraries.rs makes the users (alice and bob, passwords `secret`; bob
// has another kind of entry) and runs this file.

import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';

const [module, port] = process.argv.slice(2);
const mqtt = createRequire(import.meta.url)(module);

const METHOD = 'SCRAM-SHA-256';
const CONTINUE = 0x18;
const REAUTHENTICATE = 0x19;
const NOT_AUTHORIZED = 0x87;
const BAD_METHOD = 0x8c;

const keyed = (key, text) => createHmac('sha256', key).update(text).digest();

/** One exchange of a client. */
class Scram {
  constructor(user, password) {
    this.password = password;
    this.bare = `n=${user},r=${randomBytes(18).toString('base64')}`;
  }

  first() {
    return Buffer.from(`n,,${this.bare}`);
  }

  last(serverFirst) {
    const [nonce, salt, iterations] = serverFirst.split(',').map((part) => part.slice(2));
    const salted = pbkdf2Sync(this.password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
    const withoutProof = `c=biws,r=${nonce}`;
    const signed = `${this.bare},${serverFirst},${withoutProof}`;
    const clientKey = keyed(salted, 'Client Key');
    const signature = keyed(createHash('sha256').update(clientKey).digest(), signed);
    const proof = clientKey.map((byte, at) => byte ^ signature[at]);
    this.serverFinal = `v=${keyed(keyed(salted, 'Server Key'), signed).toString('base64')}`;
    return Buffer.from(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`);
  }

  auth(reasonCode, authenticationData) {
    return { cmd: 'auth', reasonCode, properties: { authenticationMethod: METHOD, authenticationData } };
  }
}

/** A client that answers with `scram`; what its CONNACK says, or the reason code of a refusal. */
function login(clientId, scram, method = METHOD) {
  const properties = { authenticationMethod: method, authenticationData: scram.first() };
  const client = mqtt.connect({
    host: '127.0.0.1', port: Number(port), protocolVersion: 5, clientId, properties, reconnectPeriod: 0,
  });
  client.scram = scram;
  client.handleAuth = (packet, done) => {
    const { scram } = client;
    if (packet.reasonCode === CONTINUE) {
      done(null, scram.auth(CONTINUE, scram.last(packet.properties.authenticationData.toString())));
    } else {
      client.emit('proven', packet.properties.authenticationData.toString());
      done(null);
    }
  };
  return new Promise((resolve) => {
    client.on('connect', (connack) => resolve({ client, connack }));
    client.on('error', (error) => resolve({ client, refused: error.code }));
  });
}

async function mutual() {
  const scram = new Scram('alice', 'secret');
  const { client, connack } = await login('in', scram);
  assert.equal(connack.properties.authenticationMethod, METHOD);
  assert.equal(connack.properties.authenticationData.toString(), scram.serverFinal);
  const message = new Promise((resolve) => client.on('message', (_, payload) => resolve(payload.toString())));
  await client.subscribeAsync('scram', { qos: 1 });
  client.scram = new Scram('alice', 'secret');
  const proven = new Promise((resolve) => client.on('proven', resolve));
  client._sendPacket(client.scram.auth(REAUTHENTICATE, client.scram.first()));
  await client.publishAsync('scram', 'meanwhile', { qos: 1 });
  assert.equal(await message, 'meanwhile');
  assert.equal(await proven, client.scram.serverFinal);
  await client.endAsync();
}

async function renewedWithAnotherPassword() {
  const { client } = await login('again', new Scram('alice', 'secret'));
  client.scram = new Scram('alice', 'guess');
  const told = new Promise((resolve) => client.on('disconnect', (packet) => resolve(packet.reasonCode)));
  client._sendPacket(client.scram.auth(REAUTHENTICATE, client.scram.first()));
  assert.equal(await told, NOT_AUTHORIZED);
}

async function refusals() {
  for (const [user, password, method, code] of [
    ['alice', 'guess', METHOD, NOT_AUTHORIZED],
    ['bob', 'secret', METHOD, NOT_AUTHORIZED],
    ['nobody', 'secret', METHOD, NOT_AUTHORIZED],
    ['alice', 'secret', 'SCRAM-SHA-1', BAD_METHOD],
  ]) {
    const { refused } = await login('out', new Scram(user, password), method);
    assert.equal(refused, code, `${user} ${password} ${method}`);
  }
}

for (const check of [mutual, renewedWithAnotherPassword, refusals]) {
  try {
    await check();
    console.log(`ok ${check.name}`);
  } catch (error) {
    console.log(`not ok ${check.name}: ${error.stack}`);
    process.exitCode = 1;
  }
}
console.log('# done');
process.exit();
