//! Chunk: the pieces of Mosquitto's file, each with its fields.
//!
//! Duty: where fields stand in each format version, and that none lies outside its chunk. Must not: know what they mean. Neighbours:
//! `mosquitto` puts them together.
//!
//! Up to version 4 fields stand one after the other, strings with their length before them; from version 5 on all numbers come first, in
//! a block of fixed size, and then the strings. Numbers are big-endian but for those of eight bytes, which are as the machine has them: a
//! file of a big-endian machine is not read.

use super::mosquitto::Wrong;

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
#[derive(Debug)]
pub(super) enum Chunk<'a> {
    Message(Message<'a>),
    Client(Client<'a>),
    Delivery(Delivery),
    /// The number of a message.
    Retained(u64),
    Subscription(Subscription<'a>),
    /// Nothing that is wanted.
    Other,
}

/// A message.
#[derive(Debug, Default)]
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
#[derive(Debug)]
pub(super) struct Client<'a> {
    pub(super) id: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) expiry_secs: u32,
    /// `None`: it was connected, or never ends.
    pub(super) ends_at_secs: Option<u64>,
}

/// A message on its way to a client, or from one.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) client: Vec<u8>,
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) step: u8,
    pub(super) is_incoming: bool,
    pub(super) subscription_id: Option<u32>,
}

/// A subscription.
#[derive(Debug)]
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
    let _packet_id = clip.u16(WHAT)?;
    let id_len = clip.u16(WHAT)?;
    let mut user_len = 0;
    if format.version >= 6 {
        let _port = clip.u16(WHAT)?;
        user_len = clip.u16(WHAT)?;
        clip.take(4, WHAT)?;
    }
    let id = clip.take(id_len.into(), WHAT)?;
    let user = clip.take(user_len.into(), WHAT)?;
    Ok(Client { id, user, expiry_secs, ends_at_secs: moment(ends_at) })
}

/// Before 5.0 a session that is kept never ends.
fn old_client<'a>(clip: &mut Clip<'a>) -> Result<Client<'a>, Wrong> {
    let id = clip.string("a session")?;
    Ok(Client { id, user: &[], expiry_secs: u32::MAX, ends_at_secs: None })
}

fn delivery(clip: &mut Clip<'_>) -> Result<Delivery, Wrong> {
    const WHAT: &str = "an entry of a queue";
    let message = clip.u64(WHAT)?;
    let (packet_id, id_len) = (clip.u16(WHAT)?, clip.u16(WHAT)?);
    let (qos, step, retain_dup, direction) = (clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?);
    let client = clip.take(id_len.into(), WHAT)?.to_vec();
    let mut of_subscription = Clip { bytes: clip.properties()?, offset: clip.offset() };
    // Nothing but one Subscription Identifier stands there.
    let has_id = of_subscription.bytes.first() == Some(&0x0B);
    let subscription_id = if has_id { subscription_id(&mut of_subscription)? } else { None };
    Ok(Delivery {
        client,
        message,
        packet_id,
        qos,
        retain: retain_dup & 0xF0 != 0,
        step,
        is_incoming: direction == 0,
        subscription_id,
    })
}

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

fn old_delivery(clip: &mut Clip<'_>) -> Result<Delivery, Wrong> {
    const WHAT: &str = "an entry of a queue";
    let client = clip.string(WHAT)?.to_vec();
    let (message, packet_id) = (clip.u64(WHAT)?, clip.u16(WHAT)?);
    let (qos, retain, direction, step) = (clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?, clip.u8(WHAT)?);
    let is_incoming = direction == 0;
    Ok(Delivery { client, message, packet_id, qos, retain: retain != 0, step, is_incoming, subscription_id: None })
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
