//! Chunk: the pieces of Mosquitto's file, each with its fields.
//!
//! Duty: where fields stand in each format version, and that none lies outside its chunk; the same back into bytes, in the newest version.
//! Must not: know what they mean. Neighbours: `mosquitto` puts them together, `copy` makes them of a store.
//!
//! Up to version 4 fields stand one after the other, strings with their length before them; from version 5 on all numbers come first, in
//! a block of fixed size, and then the strings. Numbers are big-endian but for those of eight bytes, which are as the machine has them: a
//! file of a big-endian machine is not read.

use super::mosquitto::Wrong;

/// What a file of Mosquitto's begins with.
pub(super) const MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";

/// The format version that is written: that of Mosquitto 2.0.
pub(super) const NEWEST: u32 = 6;

/// Bytes of the numbers of messages.
const NUMBER_BYTES: u8 = 8;

/// A format version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) version: u32,
}

impl Format {
    /// Whether all numbers of a chunk come first.
    fn has_blocks(self) -> bool {
        self.version >= 5
    }
}

/// A chunk, and the bytes before it.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) offset: usize,
    pub(super) chunk: Chunk<'a>,
}

/// A chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    Message(Message<'a>),
    Client(Client<'a>),
    Delivery(Delivery<'a>),
    /// The number of a message.
    Retained(u64),
    Subscription(Subscription<'a>),
    /// Nothing that is wanted.
    Other,
}

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) number: u64,
    pub(super) expires_at_secs: Option<u64>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) source_id: &'a [u8],
    pub(super) source_user: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Without their length.
    pub(super) properties: &'a [u8],
}

/// A session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client<'a> {
    pub(super) id: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) expiry_secs: u32,
    /// `None`: it was connected, or never ends.
    pub(super) ends_at_secs: Option<u64>,
    /// The packet id that it was given last.
    pub(super) last_packet_id: u16,
}

/// A message on its way to a client, or from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    pub(super) client: &'a [u8],
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// It may have been sent before.
    pub(super) dup: bool,
    pub(super) step: u8,
    pub(super) is_incoming: bool,
    pub(super) subscription_ids: Vec<u32>,
}

/// A subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscription<'a> {
    pub(super) client: &'a [u8],
    pub(super) filter: &'a [u8],
    /// As in SUBSCRIBE of 5.0.
    pub(super) options: u8,
    /// 0 for none.
    pub(super) id: u32,
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clip<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Clip<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], Wrong> {
        let left = self.bytes.len();
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| Wrong {
            offset: self.offset,
            what: format!("{what} needs {len} bytes and {left} are left"),
        })?;
        (self.bytes, self.offset) = (rest, self.offset + len);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Wrong> {
        let offset = self.offset;
        self.take(N, what)?.try_into().map_err(|_| Wrong { offset, what: what.into() })
    }

    fn u8(&mut self, what: &str) -> Result<u8, Wrong> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u16(&mut self, what: &str) -> Result<u16, Wrong> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Wrong> {
        self.array(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, Wrong> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A string with its length before it.
    fn string(&mut self, what: &str) -> Result<&'a [u8], Wrong> {
        let len = self.u16(what)?;
        self.take(len.into(), what)
    }

    /// A block of properties with its length, if anything is left.
    fn properties(&mut self) -> Result<&'a [u8], Wrong> {
        const WHAT: &str = "properties";
        let (mut len, mut shift) = (0_usize, 0);
        while !self.is_empty() {
            let offset = self.offset;
            let byte = self.u8(WHAT)?;
            len |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return self.take(len, WHAT);
            }
            if shift > 21 {
                return Err(Wrong { offset, what: "a length of properties that is none".into() });
            }
        }
        Ok(&[])
    }
}

/// The next chunk.
pub(super) fn next<'a>(clip: &mut Clip<'a>, format: Format) -> Result<Piece<'a>, Wrong> {
    const HEAD: &str = "the head of a chunk";
    let offset = clip.offset();
    let kind = if format.has_blocks() { clip.u32(HEAD)? } else { clip.u16(HEAD)?.into() };
    let len = clip.u32(HEAD)?;
    let from = clip.offset();
    let mut inner = Clip { bytes: clip.take(len as usize, "a chunk")?, offset: from };
    let inner = &mut inner;
    let chunk = match (kind, format.has_blocks()) {
        (1, _) => Chunk::Other,
        (2, true) => Chunk::Message(message(inner)?),
        (2, false) => Chunk::Message(old_message(inner, format)?),
        (3, true) => Chunk::Delivery(delivery(inner)?),
        (3, false) => Chunk::Delivery(old_delivery(inner)?),
        (4, _) => Chunk::Retained(inner.u64("a retained message")?),
        (5, true) => Chunk::Subscription(subscription(inner)?),
        (5, false) => Chunk::Subscription(old_subscription(inner)?),
        (6, true) => Chunk::Client(client(inner, format)?),
        (6, false) => Chunk::Client(old_client(inner)?),
        (other, _) => return Err(Wrong { offset, what: format!("a chunk of kind {other}, which is none") }),
    };
    Ok(Piece { offset, chunk })
}

/// What stands for no moment.
fn moment(secs: u64) -> Option<u64> {
    Some(secs).filter(|secs| *secs > 0)
}

fn message<'a>(clip: &mut Clip<'a>) -> Result<Message<'a>, Wrong> {
    const WHAT: &str = "a message";
    let (number, expires_at) = (clip.u64(WHAT)?, clip.u64(WHAT)?);
    let payload_len = clip.u32(WHAT)?;
    let _packet_id = clip.u16(WHAT)?;
    let (id_len, user_len, topic_len) = (clip.u16(WHAT)?, clip.u16(WHAT)?, clip.u16(WHAT)?);
    let _port = clip.u16(WHAT)?;
    let (qos, retain) = (clip.u8(WHAT)?, clip.u8(WHAT)?);
    Ok(Message {
        number,
        expires_at_secs: moment(expires_at),
        qos,
        retain: retain != 0,
        source_id: clip.take(id_len.into(), WHAT)?,
        source_user: clip.take(user_len.into(), WHAT)?,
        topic: clip.take(topic_len.into(), WHAT)?,
        payload: clip.take(payload_len as usize, WHAT)?,
        properties: clip.properties()?,
    })
}

fn old_message<'a>(clip: &mut Clip<'a>, format: Format) -> Result<Message<'a>, Wrong> {
    const WHAT: &str = "a message";
    let number = clip.u64(WHAT)?;
    let source_id = clip.string(WHAT)?;
    let mut source_user: &[u8] = &[];
    if format.version == 4 {
        source_user = clip.string(WHAT)?;
        let _port = clip.u16(WHAT)?;
    }
    let _packet_ids = (clip.u16(WHAT)?, clip.u16(WHAT)?);
    let topic = clip.string(WHAT)?;
    let (qos, retain) = (clip.u8(WHAT)?, clip.u8(WHAT)?);
    let payload_len = clip.u32(WHAT)?;
    let payload = clip.take(payload_len as usize, WHAT)?;
    Ok(Message { number, qos, retain: retain != 0, source_id, source_user, topic, payload, ..Message::default() })
}

fn client<'a>(clip: &mut Clip<'a>, format: Format) -> Result<Client<'a>, Wrong> {
    const WHAT: &str = "a session";
    let (ends_at, expiry_secs) = (clip.u64(WHAT)?, clip.u32(WHAT)?);
    let last_packet_id = clip.u16(WHAT)?;
    let id_len = clip.u16(WHAT)?;
    let mut user_len = 0;
    if format.version >= 6 {
        let _port = clip.u16(WHAT)?;
        user_len = clip.u16(WHAT)?;
        clip.take(4, WHAT)?;
    }
    let id = clip.take(id_len.into(), WHAT)?;
    let user = clip.take(user_len.into(), WHAT)?;
    Ok(Client { id, user, expiry_secs, ends_at_secs: moment(ends_at), last_packet_id })
}

/// Before 5.0 a session that is kept never ends.
fn old_client<'a>(clip: &mut Clip<'a>) -> Result<Client<'a>, Wrong> {
    let id = clip.string("a session")?;
    Ok(Client { id, user: &[], expiry_secs: u32::MAX, ends_at_secs: None, last_packet_id: 0 })
}

fn delivery<'a>(clip: &mut Clip<'a>) -> Result<Delivery<'a>, Wrong> {
    const WHAT: &str = "an entry of a queue";
    let message = clip.u64(WHAT)?;
    let (packet_id, id_len) = (clip.u16(WHAT)?, clip.u16(WHAT)?);
    let (qos, step, retain_dup, direction) = (clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?);
    let client = clip.take(id_len.into(), WHAT)?;
    let mut properties = Clip { bytes: clip.properties()?, offset: clip.offset() };
    // Nothing but Subscription Identifiers stands there.
    let mut subscription_ids = Vec::new();
    while properties.bytes.first() == Some(&SUBSCRIPTION_ID) {
        subscription_ids.extend(subscription_id(&mut properties)?);
    }
    let (retain, dup) = (retain_dup & 0xF0 != 0, retain_dup & 0x0F != 0);
    Ok(Delivery { client, message, packet_id, qos, retain, dup, step, is_incoming: direction == 0, subscription_ids })
}

/// The property's id.
const SUBSCRIPTION_ID: u8 = 0x0B;

/// The value behind the property's id: a number whose length is its own, as that of a block is.
fn subscription_id(clip: &mut Clip<'_>) -> Result<Option<u32>, Wrong> {
    const WHAT: &str = "a subscription identifier";
    clip.u8(WHAT)?;
    let (mut id, mut shift) = (0_u32, 0);
    loop {
        let byte = clip.u8(WHAT)?;
        id |= u32::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            return Ok(Some(id).filter(|id| *id != 0));
        }
    }
}

fn old_delivery<'a>(clip: &mut Clip<'a>) -> Result<Delivery<'a>, Wrong> {
    const WHAT: &str = "an entry of a queue";
    let client = clip.string(WHAT)?;
    let (message, packet_id) = (clip.u64(WHAT)?, clip.u16(WHAT)?);
    let (qos, retain, direction, step) = (clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?);
    let (retain, is_incoming, subscription_ids) = (retain != 0, direction == 0, Vec::new());
    let dup = false;
    Ok(Delivery { client, message, packet_id, qos, retain, dup, step, is_incoming, subscription_ids })
}

fn subscription<'a>(clip: &mut Clip<'a>) -> Result<Subscription<'a>, Wrong> {
    const WHAT: &str = "a subscription";
    let id = clip.u32(WHAT)?;
    let (id_len, filter_len) = (clip.u16(WHAT)?, clip.u16(WHAT)?);
    let (qos, options) = (clip.u8(WHAT)?, clip.u8(WHAT)?);
    clip.take(2, WHAT)?;
    let (client, filter) = (clip.take(id_len.into(), WHAT)?, clip.take(filter_len.into(), WHAT)?);
    Ok(Subscription { client, filter, options: options & !3 | qos, id })
}

fn old_subscription<'a>(clip: &mut Clip<'a>) -> Result<Subscription<'a>, Wrong> {
    const WHAT: &str = "a subscription";
    Ok(Subscription { client: clip.string(WHAT)?, filter: clip.string(WHAT)?, options: clip.u8(WHAT)?, id: 0 })
}

/// What stands before all chunks, with the chunk that says what numbers look like. `last`: no message has a greater number.
pub(super) fn put_head(last: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&NEWEST.to_be_bytes());
    put_framed(1, out, |out| {
        out.extend_from_slice(&last.to_le_bytes());
        // Mosquitto was stopped in order, as far as we know.
        out.extend_from_slice(&[1, NUMBER_BYTES, 0, 0, 0, 0, 0, 0]);
    });
}

/// Writes a chunk in the newest version. No string is longer than 65,535 bytes, no payload and no block of properties than a packet.
pub(super) fn put(chunk: &Chunk<'_>, out: &mut Vec<u8>) {
    match chunk {
        Chunk::Other => {}
        Chunk::Message(message) => put_framed(2, out, |out| put_message(message, out)),
        Chunk::Delivery(delivery) => put_framed(3, out, |out| put_delivery(delivery, out)),
        Chunk::Retained(number) => put_framed(4, out, |out| out.extend_from_slice(&number.to_le_bytes())),
        Chunk::Subscription(subscription) => put_framed(5, out, |out| put_subscription(subscription, out)),
        Chunk::Client(client) => put_framed(6, out, |out| put_client(client, out)),
    }
}

fn put_framed(kind: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&kind.to_be_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_len(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
}

fn put_message(message: &Message<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&message.number.to_le_bytes());
    out.extend_from_slice(&message.expires_at_secs.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&(message.payload.len() as u32).to_be_bytes());
    // Its packet id at its publisher.
    out.extend_from_slice(&[0; 2]);
    [message.source_id, message.source_user, message.topic].iter().for_each(|text| put_len(text, out));
    // The port that it came by.
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&[message.qos, u8::from(message.retain)]);
    for bytes in [message.source_id, message.source_user, message.topic, message.payload] {
        out.extend_from_slice(bytes);
    }
    if !message.properties.is_empty() {
        put_varint(message.properties.len() as u32, out);
        out.extend_from_slice(message.properties);
    }
}

fn put_client(client: &Client<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&client.ends_at_secs.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&client.expiry_secs.to_be_bytes());
    out.extend_from_slice(&client.last_packet_id.to_be_bytes());
    put_len(client.id, out);
    // The port of its listener.
    out.extend_from_slice(&[0; 2]);
    put_len(client.user, out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(client.id);
    out.extend_from_slice(client.user);
}

fn put_delivery(delivery: &Delivery<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&delivery.message.to_le_bytes());
    out.extend_from_slice(&delivery.packet_id.to_be_bytes());
    put_len(delivery.client, out);
    let retain_dup = u8::from(delivery.retain) << 4 | u8::from(delivery.dup);
    out.extend_from_slice(&[delivery.qos, delivery.step, retain_dup, u8::from(!delivery.is_incoming)]);
    out.extend_from_slice(delivery.client);
    if !delivery.subscription_ids.is_empty() {
        let mut block = Vec::new();
        for id in &delivery.subscription_ids {
            block.push(SUBSCRIPTION_ID);
            put_varint(*id, &mut block);
        }
        put_varint(block.len() as u32, out);
        out.extend_from_slice(&block);
    }
}

fn put_subscription(subscription: &Subscription<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&subscription.id.to_be_bytes());
    put_len(subscription.client, out);
    put_len(subscription.filter, out);
    out.extend_from_slice(&[subscription.options & 3, subscription.options & !3, 0, 0]);
    out.extend_from_slice(subscription.client);
    out.extend_from_slice(subscription.filter);
}

/// A number as the length of a block is written.
fn put_varint(mut number: u32, out: &mut Vec<u8>) {
    loop {
        let is_last = number < 0x80;
        out.push(number as u8 & 0x7F | if is_last { 0 } else { 0x80 });
        if is_last {
            return;
        }
        number >>= 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Any chunk that can be, of these texts and numbers.
    fn chunk_of<'a>(kind: u8, texts: &'a [Vec<u8>; 5], numbers: (u64, u64, u32, u16), bits: u8) -> Chunk<'a> {
        let [a, b, c, payload, properties] = texts;
        let (number, secs, id, packet_id) = numbers;
        let (qos, flags) = (bits & 3, [bits & 4 != 0, bits & 8 != 0, bits & 16 != 0]);
        match kind {
            0 => Chunk::Message(Message {
                number,
                expires_at_secs: moment(secs),
                qos,
                retain: flags[0],
                source_id: a,
                source_user: b,
                topic: c,
                payload,
                properties,
            }),
            1 => Chunk::Client(Client {
                id: a,
                user: b,
                expiry_secs: id,
                ends_at_secs: moment(secs),
                last_packet_id: packet_id,
            }),
            2 => Chunk::Delivery(Delivery {
                client: a,
                message: number,
                packet_id,
                qos,
                retain: flags[0],
                dup: flags[1],
                step: bits >> 4,
                is_incoming: flags[2],
                subscription_ids: (0..u32::from(bits >> 5)).map(|more| 1 + (id >> 5) + more).collect(),
            }),
            3 => Chunk::Retained(number),
            _ => Chunk::Subscription(Subscription { client: a, filter: b, options: bits & 0x2F, id }),
        }
    }

    proptest! {
        /// What is written is read as it was, chunk after chunk, and nothing is left over.
        #[test]
        fn chunks_are_read_as_they_were_written(
            all in vec((
                0_u8..5,
                [vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..40),
                    vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..300)],
                (any::<u64>(), any::<u64>(), any::<u32>(), any::<u16>()),
                any::<u8>(),
            ), 0..12)
        ) {
            let chunks: Vec<_> = all.iter().map(|(kind, texts, numbers, bits)| chunk_of(*kind, texts, *numbers, *bits)).collect();
            let mut bytes = Vec::new();
            chunks.iter().for_each(|chunk| put(chunk, &mut bytes));
            let mut clip = Clip::new(&bytes);
            let format = Format { version: NEWEST };
            for chunk in &chunks {
                prop_assert_eq!(&next(&mut clip, format).unwrap().chunk, chunk);
            }
            prop_assert!(clip.is_empty());
        }
    }
}
