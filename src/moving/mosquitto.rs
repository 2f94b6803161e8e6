//! Mosquitto: the file in which Mosquitto keeps its sessions and messages (`mosquitto.db`).
//!
//! Duty: its bytes into records, of format versions 3 to 6 (Mosquitto 1.2 to 2.0); what is wrong, with the place. Must not: write, or know
//! the store. Neighbours: `chunk` takes the pieces apart, `record` has what comes out, `copy` writes such a file.
//!
//! A file is a head and chunks. Messages stand once and are referred to by number, wherever those who refer to them stand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::chunk::{self, Chunk, Clip, Format, MAGIC, NEWEST, Piece};
use super::record::{
    Blob, Message, Queued, Received, Record, Retained, Said, Session, Source, State, Subscription, qos,
};
use crate::topic::{SubscriptionFilter, TopicError, TopicFilter, TopicLimits, TopicName};
use crate::wire::{ProtocolVersion, SubscriptionOptions};

/// Bytes of a file by which it is known.
pub(crate) const KIND_BYTES: usize = MAGIC.len();
/// Format versions that are known.
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=NEWEST;
/// Mosquitto's way to say that a session never ends.
const NEVER: u32 = u32::MAX;
/// Topics of the broker itself.
const BROKERS: &str = "$SYS/";

/// How far a message is, as Mosquitto counts.
pub(super) mod step {
    pub(in crate::moving) const WAITS_FOR_PUBACK: u8 = 3;
    pub(in crate::moving) const WAITS_FOR_PUBREC: u8 = 5;
    pub(in crate::moving) const SENDS_PUBREL: u8 = 6;
    pub(in crate::moving) const WAITS_FOR_PUBREL: u8 = 7;
    pub(in crate::moving) const WAITS_FOR_PUBCOMP: u8 = 9;
    pub(in crate::moving) const SENDS_PUBREC: u8 = 10;
    pub(in crate::moving) const QUEUED: u8 = 11;
}

/// What a file says, and what of it cannot be taken along.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Everything, each session before what belongs to it.
    pub(crate) records: Vec<Record>,
    /// A line each.
    pub(crate) notes: Vec<String>,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Bytes before the place.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) what: String,
}

/// Whether these bytes are a file of Mosquitto's.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Everything that the file says. `limits`: of topics.
///
/// # Errors
/// A place where the file is none of Mosquitto's, ends too early, or says what cannot be.
pub(crate) fn read(bytes: &[u8], limits: TopicLimits) -> Result<Contents, Wrong> {
    let mut clip = Clip::new(bytes);
    if clip.take(MAGIC.len(), "the head")? != MAGIC {
        return Err(Wrong { offset: 0, what: "it is no file of Mosquitto's".into() });
    }
    // A checksum that Mosquitto leaves 0.
    clip.u32("the head")?;
    let offset = clip.offset();
    let version = clip.u32("the format version")?;
    if !VERSIONS.contains(&version) {
        let (least, most) = (VERSIONS.start(), VERSIONS.end());
        return Err(Wrong { offset, what: format!("its format is version {version}; {least} to {most} are known") });
    }
    let format = Format { version };
    let mut reading = Reading { limits, ..Reading::default() };
    while !clip.is_empty() {
        let Piece { offset, chunk } = chunk::next(&mut clip, format)?;
        reading.take(chunk, offset)?;
    }
    Ok(reading.finish())
}

/// A message as it stands in the file.
#[derive(Debug)]
struct Stored {
    message: Arc<Message>,
    source: Option<Source>,
}

/// What was read so far.
#[derive(Debug)]
struct Reading<'a> {
    limits: TopicLimits,
    messages: HashMap<u64, Stored>,
    sessions: Vec<Session>,
    subscriptions: Vec<Subscription>,
    deliveries: Vec<chunk::Delivery<'a>>,
    /// Numbers of messages.
    retained: Vec<u64>,
    has_broken_names: bool,
    /// Messages and subscriptions whose topics have more levels than we take.
    too_deep: usize,
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Self {
            limits: TopicLimits { bytes_max: usize::from(u16::MAX), levels_max: usize::MAX },
            messages: HashMap::new(),
            sessions: Vec::new(),
            subscriptions: Vec::new(),
            deliveries: Vec::new(),
            retained: Vec::new(),
            has_broken_names: false,
            too_deep: 0,
        }
    }
}

impl<'a> Reading<'a> {
    fn take(&mut self, chunk: Chunk<'a>, offset: usize) -> Result<(), Wrong> {
        match chunk {
            Chunk::Message(stored) => self.message(stored, offset)?,
            Chunk::Client(client) => self.client(client, offset)?,
            Chunk::Subscription(found) => self.subscription(found, offset)?,
            Chunk::Delivery(delivery) => {
                if qos(delivery.qos).is_err() {
                    return Err(Wrong { offset, what: "a QoS that is none".into() });
                }
                self.deliveries.push(delivery);
            }
            Chunk::Retained(number) => self.retained.push(number),
            Chunk::Other => {}
        }
        Ok(())
    }

    fn message(&mut self, stored: chunk::Message<'_>, offset: usize) -> Result<(), Wrong> {
        let wrong = |what: &str| Wrong { offset, what: what.into() };
        let topic = text(stored.topic, "a topic", offset)?;
        if qos(stored.qos).is_err() {
            return Err(wrong("a QoS that is none"));
        }
        match TopicName::new(topic, self.limits) {
            Ok(_) => {}
            Err(TopicError::TooDeep | TopicError::TooLong) => {
                self.too_deep += 1;
                return Ok(());
            }
            Err(error) => return Err(wrong(&error.to_string())),
        }
        let properties = Said::of_raw(stored.properties).ok_or_else(|| wrong("properties that are none"))?;
        let message = Message {
            topic: topic.to_owned(),
            qos: stored.qos,
            retain: stored.retain,
            payload: Blob(stored.payload.to_vec()),
            expires_at_ms: stored.expires_at_secs.map(|secs| secs.saturating_mul(1000)),
            properties,
        };
        let client = text(stored.source_id, "a client id", offset)?.to_owned();
        let user = name(stored.source_user);
        let source = (!client.is_empty()).then_some(Source { client, user, rules: 0 });
        self.messages.insert(stored.number, Stored { message: Arc::new(message), source });
        Ok(())
    }

    fn client(&mut self, client: chunk::Client<'_>, offset: usize) -> Result<(), Wrong> {
        let user = name(client.user);
        self.has_broken_names |= user.is_none() && !client.user.is_empty();
        self.sessions.push(Session {
            client: text(client.id, "a client id", offset)?.to_owned(),
            user,
            expiry_secs: client.expiry_secs,
            ends_at_ms: client
                .ends_at_secs
                .filter(|_| client.expiry_secs != NEVER)
                .map(|secs| secs.saturating_mul(1000)),
            ..Session::default()
        });
        Ok(())
    }

    fn subscription(&mut self, found: chunk::Subscription<'_>, offset: usize) -> Result<(), Wrong> {
        let filter = text(found.filter, "a topic filter", offset)?;
        match SubscriptionFilter::new(filter, self.limits) {
            Ok(_) => {}
            Err(TopicError::TooDeep | TopicError::TooLong) => {
                self.too_deep += 1;
                return Ok(());
            }
            Err(error) => return Err(Wrong { offset, what: error.to_string() }),
        }
        if SubscriptionOptions::from_byte(found.options, ProtocolVersion::V5).is_none() {
            return Err(Wrong { offset, what: "options of a subscription that are none".into() });
        }
        self.subscriptions.push(Subscription {
            client: text(found.client, "a client id", offset)?.to_owned(),
            filter: filter.to_owned(),
            qos: found.options & 3,
            no_local: found.options & 4 != 0,
            retain_as_published: found.options & 8 != 0,
            retain_handling: found.options >> 4 & 3,
            id: Some(found.id).filter(|id| *id != 0),
        });
        Ok(())
    }

    /// All chunks are there: what refers to what is put together.
    fn finish(mut self) -> Contents {
        let mut notes = Vec::new();
        if self.has_broken_names {
            notes.push("some user names are damaged, as Mosquitto 2.0.11 leaves them; those clients have none until they connect".into());
        }
        let deliveries = std::mem::take(&mut self.deliveries);
        let mut retained: Vec<Retained> = self.retained.iter().filter_map(|number| self.retained_of(*number)).collect();
        let mut records = Vec::new();
        let mut known = HashSet::new();
        let (mut lost, mut unknown) = (0, 0);
        for session in self.sessions.iter().filter(|session| session.expiry_secs > 0) {
            if known.insert(session.client.as_str()) {
                records.push(Record::Session(session.clone()));
            }
        }
        let subscriptions = self.subscriptions.iter().filter(|found| known.contains(found.client.as_str()));
        records.extend(subscriptions.cloned().map(Record::Subscription));
        let (mut queued, mut routed) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            let Some(client) = std::str::from_utf8(delivery.client).ok().filter(|client| known.contains(client)) else {
                unknown += 1;
                continue;
            };
            let Some(stored) = self.messages.get(&delivery.message) else {
                lost += 1;
                continue;
            };
            if !delivery.is_incoming {
                queued.push(Record::Queued(outgoing(client, &delivery, &stored.message)));
            } else if matches!(delivery.step, step::WAITS_FOR_PUBREL | step::SENDS_PUBREC) {
                records.push(Record::Received(Received { client: client.to_owned(), packet_id: delivery.packet_id }));
                routed.extend(self.route(stored, client, &known));
                keep_retained(&mut retained, stored);
            }
        }
        records.extend(queued);
        records.extend(routed.into_iter().map(Record::Queued));
        records.extend(retained.into_iter().map(Record::Retained));
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(lost, "entries of queues were left out, as the file does not have their messages");
        note(self.too_deep, "messages and subscriptions were left out, as their topics have too many levels");
        note(unknown, "entries of queues were left out, as the file does not have their sessions");
        Contents { records, notes }
    }

    fn retained_of(&self, number: u64) -> Option<Retained> {
        let Stored { message, source } = self.messages.get(&number)?;
        let is_kept = !message.topic.starts_with(BROKERS) && !message.payload.0.is_empty();
        is_kept.then(|| Retained { message: Arc::clone(message), source: source.clone() })
    }

    /// Mosquitto gives a QoS 2 message to its receivers at PUBREL, ringmq at PUBLISH: who is to get one that has come and is not yet
    /// released gets it now. A shared subscription is one receiver, the first of its group.
    fn route(&self, stored: &Stored, publisher: &str, known: &HashSet<&str>) -> Vec<Queued> {
        let Ok(topic) = TopicName::new(&stored.message.topic, self.limits) else { return Vec::new() };
        let mut groups = HashSet::new();
        let mut found: Vec<Queued> = Vec::new();
        for wanted in self.subscriptions.iter().filter(|wanted| known.contains(wanted.client.as_str())) {
            let filter = SubscriptionFilter::trusted(&wanted.filter);
            let is_new = match filter {
                SubscriptionFilter::Plain(_) => true,
                SubscriptionFilter::Shared { group, filter } => groups.insert((group, TopicFilter::as_str(filter))),
            };
            let qos = wanted.qos.min(stored.message.qos);
            let is_own = wanted.no_local && wanted.client == publisher;
            if !is_new || is_own || qos == 0 || !filter.filter().matches(topic) {
                continue;
            }
            let retain = wanted.retain_as_published && stored.message.retain;
            match found.iter_mut().find(|queued| queued.client == wanted.client) {
                Some(queued) => {
                    (queued.qos, queued.retain) = (queued.qos.max(qos), queued.retain || retain);
                    queued.subscription_ids.extend(wanted.id);
                }
                None => found.push(Queued {
                    client: wanted.client.clone(),
                    state: State::Queued,
                    packet_id: None,
                    qos,
                    retain,
                    subscription_ids: wanted.id.into_iter().collect(),
                    message: Some(Arc::clone(&stored.message)),
                }),
            }
        }
        found
    }
}

/// A message that came with RETAIN and waits for PUBREL takes the place of what its topic has.
fn keep_retained(retained: &mut Vec<Retained>, stored: &Stored) {
    let Stored { message, source } = stored;
    if !message.retain || message.topic.starts_with('$') {
        return;
    }
    retained.retain(|known| known.message.topic != message.topic);
    if !message.payload.0.is_empty() {
        retained.push(Retained { message: Arc::clone(message), source: source.clone() });
    }
}

fn outgoing(client: &str, delivery: &chunk::Delivery<'_>, message: &Arc<Message>) -> Queued {
    let state = match delivery.step {
        step::WAITS_FOR_PUBACK | step::WAITS_FOR_PUBREC => State::Sent,
        step::SENDS_PUBREL | step::WAITS_FOR_PUBCOMP => State::Released,
        _ => State::Queued,
    };
    Queued {
        client: client.to_owned(),
        state,
        packet_id: Some(delivery.packet_id).filter(|id| *id > 0 && state != State::Queued),
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids.clone(),
        message: (state != State::Released).then(|| Arc::clone(message)),
    }
}

fn text<'a>(bytes: &'a [u8], what: &str, offset: usize) -> Result<&'a str, Wrong> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| Wrong { offset, what: format!("{what} that is no text") })
}

/// A user name. Mosquitto 2.0.11 writes what lies in its memory where a client without one comes after a client with one.
fn name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains(char::is_control));
    text.map(str::to_owned)
}
