//! What a store held, as it is put back: records become sessions and messages again.
//!
//! Duty: read all records once, put together what belongs together, say what is damaged and what belongs to nobody any more. Must
//! not: touch a shard. Neighbours: `record` has the bytes; `shard/restore` takes the sessions; `runtime/store` reads the tables.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::record::{self, Damage, Queued, StoredSession, Wall, What};
use super::{Changes, Space};
use crate::id::Millis;
use crate::message::{Message, MessageView};
use crate::wire::SubscriptionOptions;

/// One session with all that is its own.
#[derive(Debug)]
pub struct StoredState {
    /// Its number in the store.
    pub number: u64,
    /// What it is.
    pub session: StoredSession,
    /// Filter, options and Subscription Identifier.
    pub subscriptions: Vec<(Box<str>, SubscriptionOptions, Option<u32>)>,
    /// What it is to get, in order: sequence number and message. No entry is [`What::Shared`].
    pub queue: Vec<(u64, Queued)>,
    /// QoS 2 packet ids between PUBLISH and PUBREL.
    pub received: Vec<u16>,
    /// How far its sequence numbers may have been given out; 0: no further than those of a new session.
    pub reserved: u64,
}

/// What a store held.
#[derive(Debug, Default)]
pub struct Stored {
    /// The sessions.
    pub sessions: Vec<StoredState>,
    /// The retained messages.
    pub retained: Vec<Message>,
    /// Which entry of a queue refers to which message.
    pub references: Vec<([u8; 16], u64)>,
    /// Deletes what is damaged or belongs to nobody.
    pub cleanup: Changes,
    /// Records that are damaged, by table.
    pub damaged: BTreeMap<Space, usize>,
    /// Records of a newer version of this program.
    pub foreign: usize,
}

impl Stored {
    /// Messages that wait for a client.
    pub fn queued(&self) -> usize {
        self.sessions.iter().map(|state| state.queue.len()).sum()
    }
}

/// What counts a large payload that comes back, and gives it back counted.
pub type Charge = Box<dyn Fn(Bytes) -> Bytes>;

/// Takes all records, in any order of tables and the order of keys within one.
pub struct Reading {
    time: (Millis, Wall),
    sessions: BTreeMap<u64, StoredState>,
    messages: HashMap<u64, (Message, bool)>,
    stored: Stored,
    charge: Charge,
}

impl Reading {
    /// Nothing is read yet. `time`: now, and the wall's clock.
    pub fn new(time: (Millis, Wall), charge: Charge) -> Self {
        Self { time, sessions: BTreeMap::new(), messages: HashMap::new(), stored: Stored::default(), charge }
    }

    /// A message that comes back: a large payload is counted once, whoever gets it.
    fn charged(&self, message: Message) -> Message {
        let view = message.view();
        let Some(payload) = view.shared_payload.cloned() else { return message };
        let counted = (self.charge)(payload);
        Message::of_source(
            &MessageView { payload: &counted, shared_payload: Some(&counted), ..view },
            message.source_arc(),
        )
    }

    /// The order of tables in which records are taken.
    pub const ORDER: [Space; 7] = [
        Space::Session,
        Space::Subscription,
        Space::Message,
        Space::Queue,
        Space::Received,
        Space::Retained,
        Space::Sequence,
    ];

    /// Takes one record; tables come in [`Self::ORDER`].
    pub fn take(&mut self, space: Space, key: &[u8], value: &[u8]) {
        let taken = match space {
            Space::Meta => Ok(true),
            Space::Session => self.session(key, value),
            Space::Subscription => self.subscription(key, value),
            Space::Message => self.message(key, value),
            Space::Queue => self.queued(key, value),
            Space::Received => self.received(key, value),
            Space::Retained => self.retained(key, value),
            Space::Sequence => self.sequence(key, value),
        };
        match taken {
            Ok(true) => return,
            Ok(false) => {}
            Err(Damage::Version(_)) => {
                // Whoever wrote it may want it back.
                self.stored.foreign += 1;
                return;
            }
            Err(_) => *self.stored.damaged.entry(space).or_default() += 1,
        }
        self.stored.cleanup.delete(space, key);
    }

    fn session(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let number = number_of(key)?;
        let session = record::session(key, value, self.time)?;
        let state = StoredState {
            number,
            session,
            subscriptions: Vec::new(),
            queue: Vec::new(),
            received: Vec::new(),
            reserved: 0,
        };
        self.sessions.insert(number, state);
        Ok(true)
    }

    fn subscription(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let subscription = record::subscription(key, value)?;
        let Some(state) = self.sessions.get_mut(&number_of(key)?) else { return Ok(false) };
        let filter = subscription.filter.into();
        state.subscriptions.push((filter, subscription.options, subscription.subscription_id));
        Ok(true)
    }

    fn sequence(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let through = record::open(Space::Sequence, key, value)?.u64()?;
        let Some(state) = self.sessions.get_mut(&number_of(key)?) else { return Ok(false) };
        state.reserved = through;
        Ok(true)
    }

    fn retained(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let message = record::retained(key, value, self.time)?;
        self.stored.retained.push(self.charged(message));
        Ok(true)
    }

    fn message(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let message = self.charged(record::shared_message(key, value, self.time)?);
        self.messages.insert(number_of(key)?, (message, false));
        Ok(true)
    }

    fn queued(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        let mut queued = record::queued(key, value, self.time)?;
        let key: [u8; 16] = key.try_into().map_err(|_| Damage::Contents)?;
        if let What::Message(message) = &queued.what {
            queued.what = What::Message(self.charged(message.clone()));
        }
        let Some(state) = self.sessions.get_mut(&number_of(&key)?) else { return Ok(false) };
        if let What::Shared(number) = queued.what {
            // Without its message an entry is worth nothing.
            let (message, is_wanted) = self.messages.get_mut(&number).ok_or(Damage::Contents)?;
            *is_wanted = true;
            queued.what = What::Message(message.clone());
            self.stored.references.push((key, number));
        }
        let sequence = u64::from_be_bytes(*key.last_chunk().ok_or(Damage::Contents)?);
        state.queue.push((sequence, queued));
        Ok(true)
    }

    fn received(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        record::open(Space::Received, key, value)?;
        let packet_id = u16::from_be_bytes(*key.last_chunk().ok_or(Damage::Contents)?);
        let Some(state) = self.sessions.get_mut(&number_of(key)?) else { return Ok(false) };
        state.received.push(packet_id);
        Ok(true)
    }

    /// All records were taken.
    pub fn finish(self) -> Stored {
        let Self { sessions, messages, mut stored, .. } = self;
        for (number, _) in messages.into_iter().filter(|(_, (_, is_wanted))| !is_wanted) {
            stored.cleanup.delete(Space::Message, &record::key_of(number));
        }
        stored.sessions = sessions.into_values().collect();
        stored
    }
}

/// The number that a key begins with.
fn number_of(key: &[u8]) -> Result<u64, Damage> {
    key.first_chunk().map(|number| u64::from_be_bytes(*number)).ok_or(Damage::Contents)
}
