//! Taps: what is shown of packets to whoever watches.
//!
//! Duty: know whose packets and which messages somebody wants to see, and hand copies of them out, within a bound. Must not: cost
//! anything where nobody watches but a look at a flag, or change what happens. Neighbours: `receive` and `publish` show what comes,
//! the driver what is sent (`Shard::show_sent`); `runtime` carries it to whoever asked.

use super::egress::Flush;
use super::receive::Source;
use super::sampled::TraceContext;
use super::{Outbox, Shard};
use crate::id::ConnectionId;
use crate::message::MessageView;
use crate::topic::{TopicFilter, TopicName};
use crate::wire::{Framed, ProtocolVersion, QoS, frame};

/// Copies that one turn hands out, bytes; what is more is counted and not shown.
pub const TAPPED_BYTES_MAX: usize = 1 << 20;

/// What somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tap {
    /// All packets of a client, in both directions.
    Client(Box<str>),
    /// Messages that clients publish to topics that a filter matches.
    Topic(Box<str>),
    /// Messages that their publishers trace, and what becomes of them. There is one such tap; a second takes its place.
    Sampled,
}

/// What a tap shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// The number of the tap.
    pub tap: u32,
    /// The client.
    pub client_id: Box<str>,
    /// What is shown.
    pub what: Shown,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Whole packets as they came, or as they are sent.
    Packets {
        /// Whether the client is sent them.
        is_sent: bool,
        /// The protocol that they speak.
        version: ProtocolVersion,
        /// Their bytes.
        bytes: Vec<u8>,
    },
    /// A message that was published.
    Message {
        /// Topic name.
        topic: Box<str>,
        /// QoS of the publisher.
        qos: QoS,
        /// RETAIN flag of the publisher.
        retain: bool,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A message that its publisher traces.
    Sampled {
        /// Where it stands.
        context: TraceContext,
        /// Topic name.
        topic: Box<str>,
        /// QoS of the publisher.
        qos: QoS,
        /// Bytes of its payload.
        payload_bytes: usize,
        /// Why it was refused, or did not reach a session of this shard: names of [`Trouble`](super::Trouble), or why the
        /// connection of its publisher was closed.
        troubles: Vec<&'static str>,
    },
    /// So many things were too much to be shown.
    Lost(u64),
}

#[derive(Debug)]
struct Watched {
    tap: u32,
    client_id: Box<str>,
    /// Its connection, as far as known, and what that speaks: the last packets are sent when the shard has forgotten it.
    connection: Option<(ConnectionId, ProtocolVersion)>,
}

impl Watched {
    fn is_of(&self, id: ConnectionId) -> bool {
        self.connection.is_some_and(|(known, _)| known == id)
    }
}

/// All taps of a shard.
#[derive(Debug, Default)]
pub(super) struct Taps {
    clients: Vec<Watched>,
    topics: Vec<(u32, Box<str>)>,
    /// The number of the tap that wants sampled messages.
    pub(super) sampled: Option<u32>,
    /// Bytes that this turn has handed out.
    bytes: usize,
    lost: u64,
}

impl Taps {
    /// Whether somebody watches a client.
    #[inline]
    pub(super) fn watch_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether somebody watches topics.
    #[inline]
    pub(super) fn watch_topics(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Whether so many bytes more are shown in this turn.
    pub(super) fn admits(&mut self, bytes: usize) -> bool {
        let is_admitted = self.bytes + bytes <= TAPPED_BYTES_MAX;
        if is_admitted {
            self.bytes += bytes;
        } else {
            self.lost += 1;
        }
        is_admitted
    }
}

impl Shard {
    /// Shows from now on what a tap wants, under its number.
    pub fn tap(&mut self, number: u32, tap: Tap) {
        match tap {
            Tap::Client(client_id) => {
                let session = self.sessions.by_client_id(&client_id).and_then(|id| self.sessions.get(id.slot));
                let connection = session.and_then(|session| session.connection);
                let connection = connection.and_then(|id| Some((id, self.connections.get(id)?.version)));
                self.taps.clients.push(Watched { tap: number, client_id, connection });
            }
            Tap::Topic(filter) => self.taps.topics.push((number, filter)),
            Tap::Sampled => self.taps.sampled = Some(number),
        }
    }

    /// Shows nothing more under a number.
    pub fn untap(&mut self, number: u32) {
        self.taps.clients.retain(|watched| watched.tap != number);
        self.taps.topics.retain(|(tap, _)| *tap != number);
        self.taps.sampled = self.taps.sampled.filter(|tap| *tap != number);
    }

    /// Whether somebody watches what clients are sent.
    #[inline]
    pub fn is_tapped(&self) -> bool {
        self.taps.watch_clients()
    }

    /// Shows what a connection is about to be sent.
    pub fn show_sent(&mut self, id: ConnectionId, flush: &Flush, outbox: &mut Outbox) {
        for at in 0..self.taps.clients.len() {
            if self.taps.clients[at].is_of(id) && self.taps.admits(flush.len()) {
                let bytes = flush.pieces().collect::<Vec<_>>().concat();
                self.show_packets(at, true, bytes, outbox);
            }
        }
    }

    /// Bytes of the packet that has ended a connection: the first of `rest`, or all of that where it is none.
    pub(super) fn last_of(&self, rest: &[u8]) -> usize {
        match frame(rest, self.config.limits.packet_bytes_max) {
            Ok(Framed::Whole(last)) => last.len,
            Ok(Framed::Partial { .. }) | Err(_) => rest.len(),
        }
    }

    /// Shows what has come of a connection.
    pub(super) fn show_received(&mut self, id: ConnectionId, bytes: &[u8], outbox: &mut Outbox) {
        if bytes.is_empty() {
            return;
        }
        if let Some(connection) = self.connections.get(id)
            && let Some(session) = connection.session
        {
            let client_id = self.sessions.get(session.slot).map(|session| &session.client_id);
            for watched in self.taps.clients.iter_mut().filter(|watched| Some(&watched.client_id) == client_id) {
                watched.connection = Some((id, connection.version));
            }
        }
        for at in 0..self.taps.clients.len() {
            if self.taps.clients[at].is_of(id) && self.taps.admits(bytes.len()) {
                self.show_packets(at, false, bytes.to_vec(), outbox);
            }
        }
    }

    /// Shows a message that a client has published.
    pub(super) fn show_published(&mut self, source: Source<'_>, view: &MessageView<'_>, outbox: &mut Outbox) {
        let Some(client_id) = self.sessions.get(source.session.slot).map(|session| session.client_id.clone()) else {
            return;
        };
        for at in 0..self.taps.topics.len() {
            let (tap, filter) = &self.taps.topics[at];
            let tap = *tap;
            if TopicFilter::trusted(filter).matches(TopicName::trusted(view.topic))
                && self.taps.admits(view.topic.len() + view.payload.len())
            {
                let what = Shown::Message {
                    topic: view.topic.into(),
                    qos: view.qos,
                    retain: view.retain,
                    payload: view.payload.to_vec(),
                };
                outbox.tapped.push(Tapped { tap, client_id: client_id.clone(), what });
            }
        }
    }

    /// The turn is over: whoever watches is told what was not shown.
    pub fn end_taps(&mut self, outbox: &mut Outbox) {
        self.taps.bytes = 0;
        let lost = std::mem::take(&mut self.taps.lost);
        if lost > 0 {
            let (clients, topics) = (self.taps.clients.iter(), self.taps.topics.iter());
            let taps = clients.map(|watched| watched.tap).chain(topics.map(|(tap, _)| *tap)).chain(self.taps.sampled);
            outbox.tapped.extend(taps.map(|tap| Tapped { tap, client_id: Box::default(), what: Shown::Lost(lost) }));
        }
    }

    fn show_packets(&self, at: usize, is_sent: bool, bytes: Vec<u8>, outbox: &mut Outbox) {
        let Watched { tap, client_id, connection } = &self.taps.clients[at];
        let version = connection.map_or(ProtocolVersion::V5, |(_, version)| version);
        let what = Shown::Packets { is_sent, version, bytes };
        outbox.tapped.push(Tapped { tap: *tap, client_id: client_id.clone(), what });
    }
}
