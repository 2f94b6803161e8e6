//! Records: what the keys and values of the store say, and their bytes.
//!
//! Duty: encode and decode, one function each; a version before and a checksum behind every value, so that a damaged record is known
//! as such. Must not: know how records hang together (`stored`). Neighbours: `shard/keep` writes them, `stored` reads them.
//!
//! All numbers are big-endian, so that keys sort as numbers do.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::Space;
use crate::id::{Millis, PublisherId};
use crate::message::{Message, MessageView, Source};
use crate::wire::{ProtocolVersion, QoS, SubscriptionOptions};

/// First byte of every value; another one is of another version of this program.
pub const RECORD_VERSION: u8 = 1;

/// Bytes of a filter that stand in a key; of a longer one the rest is a hash, as keys have 65,535 bytes at most.
const KEY_FILTER_BYTES_MAX: usize = 1024;

/// What a value cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The checksum is not that of the value.
    Checksum,
    /// It is of another version.
    Version(u8),
    /// It ends too early, or says what cannot be.
    Contents,
}

/// The wall clock as the process knows it: what it said at [`Millis`] 0. Moments are kept as those of the wall, and as what was left
/// of them, so that a clock that was set ahead or back while nobody ran lengthens nothing (case S15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wall(pub u64);

impl Wall {
    /// The moment on the wall, milliseconds since 1970.
    pub fn at(self, moment: Millis) -> u64 {
        self.0.saturating_add(moment.0)
    }

    /// A moment of the wall, as it is now, and no more than `left` from `now`.
    fn moment(self, at: u64, left: u64, now: Millis) -> Millis {
        Millis(at.saturating_sub(self.0)).min(now.after_millis(left))
    }
}

/// A number of eight bytes as a key.
pub fn key_of(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Key of what is queued for a session.
pub fn queue_key(session: u64, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&session.to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// Key of a packet id that a client has sent.
pub fn received_key(session: u64, packet_id: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&session.to_be_bytes());
    key[8..].copy_from_slice(&packet_id.to_be_bytes());
    key
}

/// Key of a subscription.
pub fn subscription_key(session: u64, filter: &str) -> Vec<u8> {
    let shown = filter.len().min(KEY_FILTER_BYTES_MAX);
    let mut key = session.to_be_bytes().to_vec();
    key.extend_from_slice(&filter.as_bytes()[..shown]);
    if shown < filter.len() {
        key.extend_from_slice(&xxh3_128(filter.as_bytes()).to_be_bytes());
    }
    key
}

/// Ends a value that begins at `from`: its version is there, its checksum is not.
fn seal(space: Space, key: &[u8], from: usize, out: &mut Vec<u8>) {
    let sum = checksum(space, key, &out[from..]);
    out.extend_from_slice(&sum);
}

fn checksum(space: Space, key: &[u8], value: &[u8]) -> [u8; 4] {
    let mut sum = Xxh3::with_seed(space as u64);
    sum.update(key);
    sum.update(value);
    (sum.digest() as u32).to_be_bytes()
}

/// The contents of a value whose version and checksum are right.
///
/// # Errors
/// [`Damage`] if they are not.
pub fn open<'a>(space: Space, key: &[u8], value: &'a [u8]) -> Result<Reader<'a>, Damage> {
    let (rest, sum) = value.split_last_chunk::<4>().ok_or(Damage::Contents)?;
    if *sum != checksum(space, key, rest) {
        return Err(Damage::Checksum);
    }
    let (&version, rest) = rest.split_first().ok_or(Damage::Contents)?;
    if version == RECORD_VERSION { Ok(Reader(rest)) } else { Err(Damage::Version(version)) }
}

/// What is left of a value to be read.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Damage::Contents)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.bytes(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Damage> {
        let bytes = self.bytes(2)?.try_into().map_err(|_| Damage::Contents)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        let bytes = self.bytes(4)?.try_into().map_err(|_| Damage::Contents)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A number of eight bytes.
    ///
    /// # Errors
    /// [`Damage`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, Damage> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| Damage::Contents)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Result<&'a str, Damage> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Damage::Contents)
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    // Client ids, user names, topics and filters are strings of packets.
    let len = u16::try_from(text.len()).expect("a string of a packet has 65,535 bytes at most");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A number that stands alone: facts about the store.
pub fn put_number(key: &str, number: u64, out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    out.extend_from_slice(&number.to_be_bytes());
    seal(Space::Meta, key.as_bytes(), from, out);
}

/// Writes how far the sequence numbers of a session may have been given out.
pub fn put_sequence(session: u64, through: u64, out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    out.extend_from_slice(&through.to_be_bytes());
    seal(Space::Sequence, &key_of(session), from, out);
}

/// When something ends, and how much was left of it when that was written.
fn put_end(end: Millis, now: Millis, wall: Wall, out: &mut Vec<u8>) {
    out.extend_from_slice(&wall.at(end).to_be_bytes());
    out.extend_from_slice(&end.0.saturating_sub(now.0).to_be_bytes());
}

fn end_of(reader: &mut Reader<'_>, now: Millis, wall: Wall) -> Result<Millis, Damage> {
    let (at, left) = (reader.u64()?, reader.u64()?);
    Ok(wall.moment(at, left, now))
}

const HAS_END: u8 = 1 << 3;
const HAS_PUBLISHER: u8 = 1 << 4;
const HAS_SOURCE: u8 = 1 << 5;
const RETAIN: u8 = 1 << 2;

/// A message, to the end of its value.
fn put_message(view: &MessageView<'_>, source: Option<&Source>, (now, wall): (Millis, Wall), out: &mut Vec<u8>) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = view.qos as u8
        | flag(view.retain, RETAIN)
        | flag(view.expires_at.is_some(), HAS_END)
        | flag(view.publisher.is_some(), HAS_PUBLISHER)
        | flag(source.is_some(), HAS_SOURCE);
    out.push(flags);
    if let Some(end) = view.expires_at {
        put_end(end, now, wall, out);
    }
    if let Some(PublisherId(publisher)) = view.publisher {
        out.extend_from_slice(&publisher.get().to_be_bytes());
    }
    if let Some(source) = source {
        out.extend_from_slice(&(source.rules as u32).to_be_bytes());
        out.push(u8::from(source.user.is_some()));
        put_text(source.user.as_deref().unwrap_or_default(), out);
        put_text(&source.client_id, out);
    }
    put_text(view.topic, out);
    out.extend_from_slice(&(view.properties.len() as u32).to_be_bytes());
    out.extend_from_slice(view.properties);
    out.extend_from_slice(view.payload);
}

fn message_of(mut reader: Reader<'_>, (now, wall): (Millis, Wall)) -> Result<Message, Damage> {
    let flags = reader.u8()?;
    let qos = QoS::from_bits(flags & 3).ok_or(Damage::Contents)?;
    let has = |flag: u8| flags & flag != 0;
    let expires_at = has(HAS_END).then(|| end_of(&mut reader, now, wall)).transpose()?;
    let publisher = if has(HAS_PUBLISHER) { NonZeroU64::new(reader.u64()?).map(PublisherId) } else { None };
    let mut source = None;
    if has(HAS_SOURCE) {
        let (rules, has_user) = (reader.u32()? as usize, reader.u8()? != 0);
        let (user, client_id) = (reader.text()?, reader.text()?);
        source = Some(Arc::new(Source { rules, user: has_user.then(|| user.into()), client_id: client_id.into() }));
    }
    let topic = reader.text()?;
    let properties_len = reader.u32()? as usize;
    let properties = reader.bytes(properties_len)?;
    let payload = reader.0;
    let mut view = MessageView {
        topic,
        properties,
        payload,
        shared_payload: None,
        qos,
        retain: has(RETAIN),
        expires_at,
        publisher,
    };
    let shared = view.is_large().then(|| Bytes::copy_from_slice(payload));
    view.shared_payload = shared.as_ref();
    Ok(Message::of_source(&view, source))
}

/// Writes a message that several sessions are to get.
pub fn put_shared_message(number: u64, view: &MessageView<'_>, time: (Millis, Wall), out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    put_message(view, None, time, out);
    seal(Space::Message, &key_of(number), from, out);
}

/// The message that several sessions are to get.
///
/// # Errors
/// [`Damage`] if it is none.
pub fn shared_message(key: &[u8], value: &[u8], time: (Millis, Wall)) -> Result<Message, Damage> {
    message_of(open(Space::Message, key, value)?, time)
}

/// Writes a retained message; its key is the topic.
pub fn put_retained(view: &MessageView<'_>, source: Option<&Source>, time: (Millis, Wall), out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    put_message(view, source, time, out);
    seal(Space::Retained, view.topic.as_bytes(), from, out);
}

/// The retained message.
///
/// # Errors
/// [`Damage`] if it is none.
pub fn retained(key: &[u8], value: &[u8], time: (Millis, Wall)) -> Result<Message, Damage> {
    message_of(open(Space::Retained, key, value)?, time)
}

/// How a message is queued for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner<'a> {
    /// QoS it is sent with.
    pub qos: QoS,
    /// RETAIN flag it is sent with.
    pub retain: bool,
    /// Subscription Identifiers it is sent with.
    pub subscription_ids: &'a [u32],
}

const KIND_WHOLE: u8 = 0;
const KIND_SHARED: u8 = 1;
const KIND_RELEASED: u8 = 2;

fn put_manner(kind: u8, manner: Manner<'_>, out: &mut Vec<u8>) {
    out.push(RECORD_VERSION);
    out.push(kind);
    out.push(manner.qos as u8 | if manner.retain { RETAIN } else { 0 });
    out.extend_from_slice(&(manner.subscription_ids.len() as u32).to_be_bytes());
    manner.subscription_ids.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
}

/// Writes a message that this session alone is to get.
pub fn put_queued(key: &[u8], manner: Manner<'_>, view: &MessageView<'_>, time: (Millis, Wall), out: &mut Vec<u8>) {
    let from = out.len();
    put_manner(KIND_WHOLE, manner, out);
    put_message(view, None, time, out);
    seal(Space::Queue, key, from, out);
}

/// Writes that a session is to get a message that others get too.
pub fn put_reference(key: &[u8], manner: Manner<'_>, message: u64, out: &mut Vec<u8>) {
    let from = out.len();
    put_manner(KIND_SHARED, manner, out);
    out.extend_from_slice(&message.to_be_bytes());
    seal(Space::Queue, key, from, out);
}

/// Writes that a client has a QoS 2 message, and is to be sent PUBREL alone from now on.
pub fn put_released(key: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    put_manner(KIND_RELEASED, Manner { qos: QoS::ExactlyOnce, retain: false, subscription_ids: &[] }, out);
    seal(Space::Queue, key, from, out);
}

/// The number of the message that a value of [`Space::Queue`] refers to, if it does; the checksum is not looked at.
pub fn reference_of(value: &[u8]) -> Option<u64> {
    let rest = value.strip_prefix(&[RECORD_VERSION, KIND_SHARED])?;
    let number = rest.split_last_chunk::<4>()?.0.last_chunk::<8>()?;
    Some(u64::from_be_bytes(*number))
}

/// What is queued for a session.
#[derive(Debug)]
pub struct Queued {
    /// QoS it is sent with.
    pub qos: QoS,
    /// RETAIN flag it is sent with.
    pub retain: bool,
    /// Subscription Identifiers it is sent with.
    pub subscription_ids: Vec<u32>,
    /// The message, or what is left of it.
    pub what: What,
}

/// What stands in a queue.
#[derive(Debug)]
pub enum What {
    /// A message.
    Message(Message),
    /// The message of that number.
    Shared(u64),
    /// A QoS 2 message that the client has: PUBREL is due.
    Released,
}

/// What is queued.
///
/// # Errors
/// [`Damage`] if it is nothing that can be.
pub fn queued(key: &[u8], value: &[u8], time: (Millis, Wall)) -> Result<Queued, Damage> {
    let mut reader = open(Space::Queue, key, value)?;
    let (kind, flags, ids) = (reader.u8()?, reader.u8()?, reader.u32()? as usize);
    let qos = QoS::from_bits(flags & 3).ok_or(Damage::Contents)?;
    let ids = reader.bytes(ids.checked_mul(4).ok_or(Damage::Contents)?)?;
    let subscription_ids = ids.as_chunks::<4>().0.iter().map(|id| u32::from_be_bytes(*id)).collect();
    let what = match kind {
        KIND_WHOLE => What::Message(message_of(reader, time)?),
        KIND_SHARED => What::Shared(reader.u64()?),
        KIND_RELEASED => What::Released,
        _ => return Err(Damage::Contents),
    };
    Ok(Queued { qos, retain: flags & RETAIN != 0, subscription_ids, what })
}

/// Writes that a QoS 2 packet id is in use.
pub fn put_received(key: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    seal(Space::Received, key, from, out);
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// As the client wrote it, below its mount point.
    pub filter: &'a str,
    /// As they were granted.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, if it has one.
    pub subscription_id: Option<u32>,
}

/// Writes a subscription.
pub fn put_subscription(key: &[u8], subscription: &Subscription<'_>, out: &mut Vec<u8>) {
    let from = out.len();
    out.push(RECORD_VERSION);
    out.push(subscription.options.to_byte(ProtocolVersion::V5));
    out.extend_from_slice(&subscription.subscription_id.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(subscription.filter.as_bytes());
    seal(Space::Subscription, key, from, out);
}

/// A subscription.
///
/// # Errors
/// [`Damage`] if it is none.
pub fn subscription<'a>(key: &[u8], value: &'a [u8]) -> Result<Subscription<'a>, Damage> {
    let mut reader = open(Space::Subscription, key, value)?;
    let options = SubscriptionOptions::from_byte(reader.u8()?, ProtocolVersion::V5).ok_or(Damage::Contents)?;
    let subscription_id = Some(reader.u32()?).filter(|&id| id != 0);
    let filter = std::str::from_utf8(reader.0).map_err(|_| Damage::Contents)?;
    Ok(Subscription { filter, options, subscription_id })
}

/// A session, without what has records of its own.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Client id.
    pub client_id: &'a str,
    /// User name of its last CONNECT.
    pub user_name: Option<&'a str>,
    /// Whether that name was proved.
    pub is_user_proven: bool,
    /// Whether a certificate has.
    pub is_certified: bool,
    /// By which listener the client came last.
    pub listener: u16,
    /// Session Expiry Interval, seconds.
    pub expiry_secs: u32,
    /// When it ends; `None` while its client is connected.
    pub ends_at: Option<Millis>,
    /// The sequence number that was given out last when this was written.
    pub last_sequence: u64,
    /// The last of its messages that was sent, by sequence number; `None` while its client is connected.
    pub sent_through: Option<u64>,
    /// Its will, while it may be published.
    pub last_will: Option<LastWill<'a>>,
}

/// A will.
#[derive(Clone, Copy, Debug)]
pub struct LastWill<'a> {
    /// The message to publish.
    pub message: &'a Message,
    /// Lifetime of the message from its publication, seconds.
    pub expiry_secs: Option<u32>,
    /// Will Delay Interval, seconds.
    pub delay_secs: u32,
    /// When it is published; `None` while the client is connected.
    pub due_at: Option<Millis>,
}

const IS_PROVEN: u8 = 1;
const IS_CERTIFIED: u8 = 2;
const HAS_USER: u8 = 4;
const HAS_SESSION_END: u8 = 8;
const HAS_WILL: u8 = 16;
const HAS_DUE: u8 = 32;
const HAS_WILL_EXPIRY: u8 = 64;
const HAS_SENT_THROUGH: u8 = 128;

/// Writes a session.
pub fn put_session(number: u64, session: &Session<'_>, (now, wall): (Millis, Wall), out: &mut Vec<u8>) {
    let from = out.len();
    let will = session.last_will.as_ref();
    let (due_at, expiry_secs) = (will.and_then(|will| will.due_at), will.and_then(|will| will.expiry_secs));
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(RECORD_VERSION);
    out.push(
        flag(session.is_user_proven, IS_PROVEN)
            | flag(session.is_certified, IS_CERTIFIED)
            | flag(session.user_name.is_some(), HAS_USER)
            | flag(session.ends_at.is_some(), HAS_SESSION_END)
            | flag(will.is_some(), HAS_WILL)
            | flag(due_at.is_some(), HAS_DUE)
            | flag(expiry_secs.is_some(), HAS_WILL_EXPIRY)
            | flag(session.sent_through.is_some(), HAS_SENT_THROUGH),
    );
    out.extend_from_slice(&session.listener.to_be_bytes());
    out.extend_from_slice(&session.expiry_secs.to_be_bytes());
    out.extend_from_slice(&session.last_sequence.to_be_bytes());
    if let Some(end) = session.ends_at {
        put_end(end, now, wall, out);
    }
    if let Some(sequence) = session.sent_through {
        out.extend_from_slice(&sequence.to_be_bytes());
    }
    put_text(session.client_id, out);
    put_text(session.user_name.unwrap_or_default(), out);
    if let Some(will) = will {
        out.extend_from_slice(&will.delay_secs.to_be_bytes());
        out.extend_from_slice(&expiry_secs.unwrap_or(0).to_be_bytes());
        if let Some(due_at) = due_at {
            put_end(due_at, now, wall, out);
        }
        put_message(&will.message.view(), None, (now, wall), out);
    }
    seal(Space::Session, &key_of(number), from, out);
}

/// A session as it was stored; what has records of its own is still to be added.
#[derive(Debug)]
pub struct StoredSession {
    /// Client id.
    pub client_id: Box<str>,
    /// User name of its last CONNECT.
    pub user_name: Option<Box<str>>,
    /// Whether that name was proved.
    pub is_user_proven: bool,
    /// Whether a certificate has.
    pub is_certified: bool,
    /// By which listener the client came last.
    pub listener: u16,
    /// Session Expiry Interval, seconds.
    pub expiry_secs: u32,
    /// When it ends; `None` if its client was connected.
    pub ends_at: Option<Millis>,
    /// The sequence number that was given out last when this was written.
    pub last_sequence: u64,
    /// The last of its messages that was sent; `None` if any may have been.
    pub sent_through: Option<u64>,
    /// Its will.
    pub last_will: Option<StoredWill>,
}

/// A will as it was stored; the fields of [`LastWill`].
#[derive(Debug)]
pub struct StoredWill {
    /// The message to publish.
    pub message: Message,
    /// Lifetime of the message from its publication, seconds.
    pub expiry_secs: Option<u32>,
    /// Will Delay Interval, seconds.
    pub delay_secs: u32,
    /// When it is published; `None` if the client was connected.
    pub due_at: Option<Millis>,
}

/// A session.
///
/// # Errors
/// [`Damage`] if it is none.
pub fn session(key: &[u8], value: &[u8], (now, wall): (Millis, Wall)) -> Result<StoredSession, Damage> {
    let mut reader = open(Space::Session, key, value)?;
    let flags = reader.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let (listener, expiry_secs, last_sequence) = (reader.u16()?, reader.u32()?, reader.u64()?);
    let ends_at = has(HAS_SESSION_END).then(|| end_of(&mut reader, now, wall)).transpose()?;
    let sent_through = has(HAS_SENT_THROUGH).then(|| reader.u64()).transpose()?;
    let (client_id, user_name) = (reader.text()?, reader.text()?);
    let mut last_will = None;
    if has(HAS_WILL) {
        let (delay_secs, will_expiry_secs) = (reader.u32()?, reader.u32()?);
        let due_at = has(HAS_DUE).then(|| end_of(&mut reader, now, wall)).transpose()?;
        let message = message_of(reader, (now, wall))?;
        let expiry_secs = has(HAS_WILL_EXPIRY).then_some(will_expiry_secs);
        last_will = Some(StoredWill { message, expiry_secs, delay_secs, due_at });
    }
    Ok(StoredSession {
        client_id: client_id.into(),
        user_name: has(HAS_USER).then(|| user_name.into()),
        is_user_proven: has(IS_PROVEN),
        is_certified: has(IS_CERTIFIED),
        listener,
        expiry_secs,
        ends_at,
        last_sequence,
        sent_through,
        last_will,
    })
}
