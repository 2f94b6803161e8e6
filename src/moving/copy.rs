//! Copy: what a store holds, as a file that Mosquitto starts with.
//!
//! Duty: records of the store into chunks of Mosquitto's newest format, one after the other, with no more of them in memory than one;
//! leave out what has ended. Must not: touch a file, or know how the store gives its records. Neighbours: `chunk` has the bytes,
//! `mosquitto` reads them, `store::record` has those of the store; `runtime/copying` calls.
//!
//! Messages come before whatever refers to them, and a session before what is its own, as Mosquitto reads a file from front to back.

use std::io::{self, Write};

use super::chunk::{Chunk, Client, Delivery, Message, Subscription, put, put_head};
use super::keeping::{Tally, packet_id};
use super::mosquitto::step;
use crate::id::Millis;
use crate::message::MessageView;
use crate::store::Space;
use crate::store::record::{self, Damage, StoredSession, Wall, What};
use crate::wire::{ProtocolVersion, QoS};

/// Messages of one queue are numbered from here on, shared ones by their number in the store, which is below.
const FIRST_OWN: u64 = 1 << 63;
/// Greater than any number that is given here.
const LAST: u64 = FIRST_OWN | 1 << 62;
/// The message of what has none any more.
const STUB: u64 = FIRST_OWN;
/// Its topic, which no filter matches but one that begins with the same word: nobody gets it when its publisher releases it.
const STUB_TOPIC: &str = "$ringmq/received";

/// So many messages of a session are said to be on their way, at most: what Mosquitto has in flight unless it is told otherwise. Others
/// are sent under their packet ids, too, and without DUP.
const IN_FLIGHT_MAX: usize = 20;

/// Mosquitto's file, as far as it is written.
#[derive(Debug)]
pub(crate) struct Chunks<W> {
    out: W,
    bytes: Vec<u8>,
    wall: u64,
    numbered: u64,
    session: Option<Owner>,
    tally: Tally,
}

/// The session that what comes next may belong to.
#[derive(Debug)]
struct Owner {
    number: u64,
    client: Box<str>,
    sent_through: u64,
    in_flight: usize,
}

impl<W: Write> Chunks<W> {
    /// Writes what stands before everything. `wall`: now, milliseconds since 1970.
    ///
    /// # Errors
    /// `out` takes no more.
    pub(crate) fn new(out: W, wall: u64) -> io::Result<Self> {
        let mut chunks = Self { out, bytes: Vec::new(), wall, numbered: STUB, session: None, tally: Tally::default() };
        put_head(LAST, &mut chunks.bytes);
        let stub = Message { number: STUB, qos: 2, topic: STUB_TOPIC.as_bytes(), ..Message::default() };
        put(&Chunk::Message(stub), &mut chunks.bytes);
        chunks.write()?;
        Ok(chunks)
    }

    /// Adds a record of the store: shared messages come first, then each session before what is its own, then what is retained. One that
    /// is damaged is left out and counted. `last_sequence`: the last that stands in the queue of a session.
    ///
    /// # Errors
    /// `out` takes no more.
    pub(crate) fn take(&mut self, space: Space, key: &[u8], value: &[u8], last_sequence: u64) -> io::Result<()> {
        let taken = match space {
            Space::Meta | Space::Sequence => Ok(()),
            Space::Message => self.shared(key, value),
            Space::Session => self.session(key, value, last_sequence),
            Space::Subscription => self.subscription(key, value),
            Space::Received => self.received(key, value),
            Space::Queue => self.queued(key, value),
            Space::Retained => self.retained(key, value),
        };
        self.tally.damaged += usize::from(taken.is_err());
        self.write()
    }

    /// All was taken. What was written to, and how much.
    pub(crate) fn finish(self) -> (W, Tally) {
        (self.out, self.tally)
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        // A large message is no reason to keep its room.
        self.bytes.shrink_to(64 << 10);
        Ok(())
    }

    /// Now, for those who read records: their moments count from here.
    fn time(&self) -> (Millis, Wall) {
        (Millis(0), Wall(self.wall))
    }

    /// The second in which a moment is, or the next: nothing ends too early.
    fn secs(&self, at: Millis) -> u64 {
        Wall(self.wall).at(at).div_ceil(1000)
    }

    fn has_ended(&mut self, at: Option<Millis>) -> bool {
        let has_ended = at == Some(Millis(0));
        self.tally.ended += usize::from(has_ended);
        has_ended
    }

    /// The session, if the record is of it: of one that has ended, or is not there, nothing is wanted.
    fn owner(&mut self, key: &[u8]) -> Option<&mut Owner> {
        self.session.as_mut().filter(|owner| key.starts_with(&record::key_of(owner.number)))
    }

    fn message(&mut self, number: u64, view: &MessageView<'_>, (source_id, source_user): (&str, &str)) {
        let message = Message {
            number,
            expires_at_secs: view.expires_at.map(|at| self.secs(at)),
            qos: view.qos as u8,
            retain: view.retain,
            source_id: source_id.as_bytes(),
            source_user: source_user.as_bytes(),
            topic: view.topic.as_bytes(),
            payload: view.payload,
            properties: view.properties,
        };
        put(&Chunk::Message(message), &mut self.bytes);
    }

    fn own_number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    fn shared(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let message = record::shared_message(key, value, self.time())?;
        let view = message.view();
        // Mosquitto leaves out what refers to a message that is not there.
        if !self.has_ended(view.expires_at) {
            self.message(number_of(key)?, &view, ("", ""));
        }
        Ok(())
    }

    fn session(&mut self, key: &[u8], value: &[u8], last_sequence: u64) -> Result<(), Damage> {
        self.session = None;
        let session = record::session(key, value, self.time())?;
        let StoredSession { expiry_secs, ends_at, .. } = session;
        if expiry_secs == 0 || self.has_ended(ends_at) {
            return Ok(());
        }
        // Of a client that is connected the time begins now, at the latest.
        let ends_at_secs = match ends_at {
            _ if expiry_secs == u32::MAX => None,
            Some(at) => Some(self.secs(at)),
            None => Some(self.wall.div_ceil(1000) + u64::from(expiry_secs)),
        };
        let last_sequence = last_sequence.max(session.last_sequence);
        let client = Client {
            id: session.client_id.as_bytes(),
            user: session.user_name.as_deref().unwrap_or_default().as_bytes(),
            expiry_secs,
            ends_at_secs,
            last_packet_id: if last_sequence == 0 { 0 } else { packet_id(last_sequence) },
        };
        put(&Chunk::Client(client), &mut self.bytes);
        let sent_through = session.sent_through.unwrap_or(u64::MAX);
        let number = number_of(key)?;
        self.session = Some(Owner { number, client: session.client_id, sent_through, in_flight: 0 });
        self.tally.sessions += 1;
        Ok(())
    }

    fn subscription(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let found = record::subscription(key, value)?;
        let Some(owner) = self.owner(key) else { return Ok(()) };
        let client = owner.client.clone();
        let chunk = Chunk::Subscription(Subscription {
            client: client.as_bytes(),
            filter: found.filter.as_bytes(),
            options: found.options.to_byte(ProtocolVersion::V5),
            id: found.subscription_id.unwrap_or(0),
        });
        put(&chunk, &mut self.bytes);
        self.tally.subscriptions += 1;
        Ok(())
    }

    /// The message was given to its receivers long ago, and what it was is not known any more: its publisher is to be answered alone when
    /// it sends PUBREL. Who got no PUBREC and sends it again gives Mosquitto a new message, as that compares it with this one.
    fn received(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        record::open(Space::Received, key, value)?;
        let packet_id = u16::from_be_bytes(*key.last_chunk().ok_or(Damage::Contents)?);
        let Some(owner) = self.owner(key) else { return Ok(()) };
        let client = owner.client.clone();
        let delivery = Delivery {
            client: client.as_bytes(),
            message: STUB,
            packet_id,
            qos: 2,
            retain: false,
            dup: false,
            step: step::WAITS_FOR_PUBREL,
            is_incoming: true,
            subscription_ids: Vec::new(),
        };
        put(&Chunk::Delivery(delivery), &mut self.bytes);
        Ok(())
    }

    fn queued(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let queued = record::queued(key, value, self.time())?;
        let sequence = u64::from_be_bytes(*key.last_chunk().ok_or(Damage::Contents)?);
        let Some(owner) = self.owner(key) else { return Ok(()) };
        let is_sent = sequence <= owner.sent_through && owner.in_flight < IN_FLIGHT_MAX;
        let client = owner.client.clone();
        let mut step = match (queued.qos, is_sent) {
            (QoS::AtLeastOnce, true) => step::WAITS_FOR_PUBACK,
            (QoS::ExactlyOnce, true) => step::WAITS_FOR_PUBREC,
            _ => step::QUEUED,
        };
        let number = match &queued.what {
            What::Shared(number) => *number,
            What::Released => {
                step = step::WAITS_FOR_PUBCOMP;
                STUB
            }
            What::Message(message) => {
                let view = message.view();
                if self.has_ended(view.expires_at) {
                    return Ok(());
                }
                let number = self.own_number();
                self.message(number, &view, ("", ""));
                number
            }
        };
        let is_in_flight = step != step::QUEUED;
        if let Some(owner) = self.owner(key) {
            owner.in_flight += usize::from(is_in_flight);
        }
        let delivery = Delivery {
            client: client.as_bytes(),
            message: number,
            packet_id: packet_id(sequence),
            qos: queued.qos as u8,
            retain: queued.retain,
            dup: is_in_flight && number != STUB,
            step,
            is_incoming: false,
            // With two of them Mosquitto does not start.
            subscription_ids: queued.subscription_ids.into_iter().take(1).collect(),
        };
        put(&Chunk::Delivery(delivery), &mut self.bytes);
        self.tally.queued += 1;
        Ok(())
    }

    fn retained(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let message = record::retained(key, value, self.time())?;
        let view = message.view();
        if self.has_ended(view.expires_at) {
            return Ok(());
        }
        let number = self.own_number();
        let source = message.source();
        let names = source.map_or(("", ""), |source| (&*source.client_id, source.user.as_deref().unwrap_or_default()));
        self.message(number, &view, names);
        put(&Chunk::Retained(number), &mut self.bytes);
        self.tally.retained += 1;
        Ok(())
    }
}

fn number_of(key: &[u8]) -> Result<u64, Damage> {
    key.first_chunk().map(|number| u64::from_be_bytes(*number)).ok_or(Damage::Contents)
}
