// mqtt: a small client of MQTT 5.0 over a WebSocket: QoS 0 and 1, no session, no aliases. Must not: show anything.

const PACKET_BYTES_MAX = 1 << 20;
const KEEP_ALIVE_SECS = 60;

const REASONS = {
  0x00: 'success',
  0x04: 'disconnected with its will',
  0x10: 'nobody subscribes to it',
  0x11: 'there was no such subscription',
  0x80: 'unspecified error',
  0x81: 'malformed packet',
  0x82: 'protocol error',
  0x83: 'the broker does not take it',
  0x84: 'protocol version not taken',
  0x85: 'client id not taken',
  0x86: 'wrong user name or password',
  0x87: 'not authorized',
  0x88: 'broker not available',
  0x89: 'broker busy',
  0x8a: 'banned',
  0x8b: 'the broker stops',
  0x8c: 'authentication method not taken',
  0x8d: 'keep alive timeout',
  0x8e: 'another client has taken its session',
  0x8f: 'topic filter not taken',
  0x90: 'topic name not taken',
  0x91: 'packet identifier in use',
  0x93: 'receive maximum exceeded',
  0x95: 'packet too large',
  0x96: 'message rate too high',
  0x97: 'quota exceeded',
  0x98: 'administrative action',
  0x99: 'payload format not taken',
  0x9a: 'retain not taken',
  0x9b: 'QoS not taken',
  0x9e: 'shared subscriptions not taken',
  0x9f: 'connection rate exceeded',
  0xa0: 'maximum connect time',
  0xa2: 'wildcards not taken',
};

function reasonText(code, properties) {
  const words = REASONS[code] ?? 'unknown reason';
  const said = properties?.reason ? `: ${properties.reason}` : '';
  return `0x${code.toString(16).padStart(2, '0')} ${words}${said}`;
}

const utf8 = new TextEncoder();

/** Bytes of a packet, field by field. */
class Writer {
  bytes = [];

  byte(value) {
    this.bytes.push(value & 0xff);
    return this;
  }

  two(value) {
    return this.byte(value >> 8).byte(value);
  }

  four(value) {
    return this.two(value >>> 16).two(value & 0xffff);
  }

  varying(value) {
    do {
      this.byte((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
      value >>>= 7;
    } while (value > 0);
    return this;
  }

  raw(part) {
    for (const byte of part) this.bytes.push(byte);
    return this;
  }

  text(value) {
    const part = utf8.encode(value);
    if (part.length > 0xffff) throw new Error('longer than 65 535 bytes');
    return this.two(part.length).raw(part);
  }

  packet(first) {
    return new Uint8Array(new Writer().byte(first).varying(this.bytes.length).raw(this.bytes).bytes);
  }
}

/** Fields of a packet's body; throws where it ends too early. */
class Reader {
  constructor(raw) {
    Object.assign(this, { raw, at: 0 });
  }

  get left() {
    return this.raw.length - this.at;
  }

  byte() {
    if (this.at >= this.raw.length) throw new Error('the broker sent a packet that ends too early');
    return this.raw[this.at++];
  }

  two() {
    return this.byte() * 256 + this.byte();
  }

  four() {
    return this.two() * 65536 + this.two();
  }

  varying() {
    let value = 0;
    for (let place = 0; place < 4; place += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * 128 ** place;
      if (byte < 0x80) return value;
    }
    throw new Error('the broker sent a length of more than four bytes');
  }

  take(length) {
    if (length > this.left) throw new Error('the broker sent a packet that ends too early');
    this.at += length;
    return this.raw.subarray(this.at - length, this.at);
  }

  text() {
    return new TextDecoder().decode(this.take(this.two()));
  }

  /** Those that are of use here, the others are passed over. */
  properties() {
    const length = this.varying();
    const end = this.at + length;
    const found = {};
    while (this.at < end) {
      const id = this.byte();
      if ([0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a].includes(id)) {
        const value = this.byte();
        if (id === 0x24) found.qosMax = value;
      } else if ([0x13, 0x21, 0x22, 0x23].includes(id)) {
        const value = this.two();
        if (id === 0x13) found.keepAlive = value;
      } else if ([0x02, 0x11, 0x18, 0x27].includes(id)) this.four();
      else if (id === 0x0b) this.varying();
      else if ([0x03, 0x08, 0x12, 0x15, 0x1a, 0x1c, 0x1f].includes(id)) {
        const value = this.text();
        if (id === 0x1f) found.reason = value;
      } else if ([0x09, 0x16].includes(id)) this.take(this.two());
      else if (id === 0x26) {
        this.text();
        this.text();
      } else throw new Error(`the broker sent an unknown property ${id}`);
    }
    return found;
  }
}

/** One connection. `on.joined()`, `on.message(message)`, `on.left(why)`: each `left` is the end of it. */
class MqttClient {
  constructor(url, { clientId, user, password }, on) {
    Object.assign(this, {
      on,
      keptBytes: new Uint8Array(0),
      nextId: 1,
      waiting: new Map(),
      isJoined: false,
      isOver: false,
      pinger: 0,
      isPinged: false,
    });
    this.socket = new WebSocket(url, 'mqtt');
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => this.connect(clientId, user, password);
    this.socket.onmessage = (event) => this.take(new Uint8Array(event.data));
    this.socket.onclose = (event) =>
      this.end(this.isJoined ? `the connection was closed${event.code === 1006 ? '' : ` (WebSocket ${event.code})`}` : 'no connection');
  }

  connect(clientId, user, password) {
    const flags = 0x02 | (user ? 0x80 : 0) | (password ? 0x40 : 0);
    const writer = new Writer().text('MQTT').byte(5).byte(flags).two(KEEP_ALIVE_SECS);
    // Maximum Packet Size: a page is no place for more.
    writer.varying(5).byte(0x27).four(PACKET_BYTES_MAX).text(clientId);
    if (user) writer.text(user);
    if (password) writer.text(password);
    this.socket.send(writer.packet(0x10));
  }

  /** The end; `why` is told once. */
  end(why) {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.pinger);
    for (const { refuse } of this.waiting.values()) refuse(new Error(why));
    this.waiting.clear();
    this.socket.close();
    this.on.left(why);
  }

  leave() {
    if (this.isJoined && !this.isOver) this.socket.send(new Uint8Array([0xe0, 0]));
    this.end('left');
  }

  take(came) {
    const all = new Uint8Array(this.keptBytes.length + came.length);
    all.set(this.keptBytes);
    all.set(came, this.keptBytes.length);
    let at = 0;
    try {
      while (!this.isOver) {
        const bytesTaken = this.takePacket(all.subarray(at));
        if (bytesTaken === 0) break;
        at += bytesTaken;
      }
      this.keptBytes = all.slice(at);
    } catch (error) {
      this.end(error.message);
    }
  }

  /** How long the first packet is, which is handled; 0 where it is not all there. */
  takePacket(raw) {
    let [length, at] = [0, 1];
    for (; ; at += 1) {
      if (at >= raw.length) return 0;
      length += (raw[at] & 0x7f) * 128 ** (at - 1);
      if (raw[at] < 0x80) break;
      if (at === 4) throw new Error('the broker sent a length of more than four bytes');
    }
    if (length > PACKET_BYTES_MAX) throw new Error('the broker sent a packet larger than announced');
    if (raw.length < at + 1 + length) return 0;
    this.handle(raw[0], new Reader(raw.subarray(at + 1, at + 1 + length)));
    return at + 1 + length;
  }

  handle(first, reader) {
    switch (first >> 4) {
      case 2:
        return this.joined(reader);
      case 3:
        return this.message(first, reader);
      case 4:
        return this.acknowledged(reader, false);
      case 9:
      case 11:
        return this.acknowledged(reader, true);
      case 13:
        this.isPinged = false;
        return undefined;
      case 14: {
        const code = reader.left > 0 ? reader.byte() : 0;
        return this.end(`the broker says ${reasonText(code, reader.left > 0 ? reader.properties() : null)}`);
      }
      default:
        throw new Error(`the broker sent a packet of type ${first >> 4}`);
    }
  }

  joined(reader) {
    reader.byte();
    const code = reader.byte();
    const properties = reader.properties();
    if (code >= 0x80) return this.end(`the broker says ${reasonText(code, properties)}`);
    this.isJoined = true;
    const secs = properties.keepAlive ?? KEEP_ALIVE_SECS;
    if (secs > 0) this.pinger = setInterval(() => this.ping(), secs * 500);
    return this.on.joined();
  }

  ping() {
    if (this.isPinged) return this.end('the broker does not answer');
    this.isPinged = true;
    return this.socket.send(new Uint8Array([0xc0, 0]));
  }

  message(first, reader) {
    const qos = (first >> 1) & 3;
    const topic = reader.text();
    const id = qos > 0 ? reader.two() : 0;
    reader.properties();
    const payload = reader.take(reader.left);
    if (qos === 1) this.socket.send(new Uint8Array([0x40, 2, id >> 8, id & 0xff]));
    this.on.message({ topic, qos, retain: (first & 1) === 1, payload });
  }

  acknowledged(reader, isOfList) {
    const id = reader.two();
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    let [code, properties] = [0, null];
    if (isOfList) {
      properties = reader.properties();
      code = reader.byte();
    } else if (reader.left > 0) {
      code = reader.byte();
      if (reader.left > 0) properties = reader.properties();
    }
    waiting?.take({ code, text: reasonText(code, properties) });
  }

  /** The answer to what `write(id)` makes. */
  request(write) {
    const id = this.nextId;
    if (this.waiting.has(id)) throw new Error('too much waits for an answer');
    this.nextId = (id % 0xffff) + 1;
    const packet = write(id);
    return new Promise((take, refuse) => {
      this.waiting.set(id, { take, refuse });
      this.socket.send(packet);
    });
  }

  subscribe(filter, qos) {
    return this.request((id) => new Writer().two(id).byte(0).text(filter).byte(qos).packet(0x82));
  }

  unsubscribe(filter) {
    return this.request((id) => new Writer().two(id).byte(0).text(filter).packet(0xa2));
  }

  /** `null` for QoS 0, to which there is no answer. */
  async publish(topic, payload, qos, retain) {
    const raw = utf8.encode(payload);
    const first = 0x30 | (qos << 1) | (retain ? 1 : 0);
    if (qos > 0) return this.request((id) => new Writer().text(topic).two(id).byte(0).raw(raw).packet(first));
    this.socket.send(new Writer().text(topic).byte(0).raw(raw).packet(first));
    return null;
  }
}
