//! What can be asked of a shard while it works.
//!
//! Duty: answer questions about its clients, topics and retained messages, each within a bound, so that a long list comes in pieces and
//! nobody waits for it. Must not: change anything. Neighbours: `runtime` carries questions and answers; the rooms that it looks into.

use super::{Outbox, Shard};
use crate::id::{ConnectionId, Millis, ShardId};
use crate::message::Message;
use crate::session::{Pressure, Search, Session};
use crate::topic::{TopicFilter, TopicName};
use crate::wire::{ProtocolVersion, QoS, SubscriptionOptions};

/// Sessions that one question looks at, at most.
pub const LOOK_SESSIONS_MAX: u32 = 128;
/// Nodes of the trie of retained messages that one question looks at, at most.
pub const LOOK_NODES_MAX: usize = 512;
/// Remembered topics that one question looks at.
pub const LOOK_TOPICS_MAX: usize = 256;
/// Subscriptions, messages or receivers that one answer lists, at most.
pub const LOOK_LISTED_MAX: usize = 1000;

/// What is known of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientState {
    /// Client id.
    pub client_id: Box<str>,
    /// User name of its last CONNECT.
    pub user: Option<Box<str>>,
    /// Its connection, if it is connected.
    pub connection: Option<ConnectionId>,
    /// By which listener it came last: an index of `Policy::listeners`.
    pub listener: u16,
    /// Its protocol, if it is connected.
    pub version: Option<ProtocolVersion>,
    /// Since when nothing has come of it, if it is connected.
    pub heard_at: Option<Millis>,
    /// Silence after which its connection is closed, milliseconds, if it is connected; `None`: any.
    pub silence_millis_max: Option<u64>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Bytes of these.
    pub queue_bytes: usize,
    /// Messages that it was sent and has not acknowledged.
    pub in_flight: usize,
    /// How many of these it may have.
    pub window: usize,
    /// Acknowledgements that it is owed.
    pub owed_acks: usize,
    /// Bytes that are on their way to its socket.
    pub backlog_bytes: usize,
    /// Bytes held for it.
    pub held_bytes: usize,
    /// What its queue means to publishers.
    pub pressure: Pressure,
    /// Whether its connection is not being read, as it is owed too much or the broker is busy.
    pub is_parked: bool,
    /// Session Expiry Interval, seconds.
    pub expiry_secs: u32,
    /// When the session ends, if its client is away and it ever does.
    pub ends_at: Option<Millis>,
}

impl ClientState {
    /// How much it keeps waiting: bytes and messages.
    pub fn arrears(&self) -> usize {
        self.backlog_bytes + self.queue_bytes + self.queued + self.in_flight
    }
}

/// All that is known of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDetail {
    /// What is known of each client.
    pub state: ClientState,
    /// Its subscriptions, not more than [`LOOK_LISTED_MAX`]: filter, options, identifier.
    pub subscriptions: Vec<(Box<str>, SubscriptionOptions, Option<u32>)>,
    /// Its will.
    pub will: Option<WillState>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillState {
    /// Topic name.
    pub topic: Box<str>,
    /// QoS.
    pub qos: QoS,
    /// Whether it will be retained.
    pub retain: bool,
    /// Length of its payload, bytes.
    pub payload_bytes: usize,
    /// Will Delay Interval, seconds.
    pub delay_secs: u32,
}

/// A message that waits for a client, or that it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// Topic name.
    pub topic: Box<str>,
    /// QoS it is sent with.
    pub qos: QoS,
    /// RETAIN flag it is sent with.
    pub retain: bool,
    /// Length of its payload, bytes.
    pub payload_bytes: usize,
    /// Whether it was sent and is not acknowledged.
    pub is_in_flight: bool,
}

/// Which clients are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChoice {
    /// Part of the client id or of the user name; empty for any.
    pub part: Box<str>,
    /// Only those that are connected, or that are not.
    pub is_connected: Option<bool>,
}

/// A piece of the list of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPage {
    /// Clients.
    pub clients: Vec<ClientState>,
    /// Where to go on; `None`: that was all.
    pub next: Option<u32>,
}

/// Who gets what is published to a topic, of this shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Clients and the QoS that they have at most; not more than [`LOOK_LISTED_MAX`].
    pub clients: Vec<(Box<str>, bool, QoS)>,
    /// How many there are.
    pub clients_in_all: usize,
    /// Shared subscriptions, as they were subscribed to, and how many members each has in the broker.
    pub groups: Vec<(Box<str>, usize)>,
    /// Other shards that have clients who want it.
    pub shards: Vec<ShardId>,
    /// Whether the search was given up (`match_nodes_max`): then nobody gets it.
    pub is_too_wide: bool,
    /// Whether something is retained.
    pub is_retained: bool,
    /// Messages published here to it, since it is remembered.
    pub published: u64,
}

/// A piece of the list of topics that are published to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPage {
    /// Topic name and messages published on this shard, as far as remembered.
    pub topics: Vec<(Box<str>, u64)>,
    /// Where to go on; `None`: that was all.
    pub next: Option<usize>,
}

/// A piece of the list of retained messages.
#[derive(Clone, Debug)]
pub struct RetainedPage {
    /// Messages.
    pub messages: Vec<Message>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Search>,
}

impl Shard {
    /// Clients from slot `from` on, as far as [`LOOK_SESSIONS_MAX`] sessions go; so many at most.
    pub fn clients(&self, from: u32, choice: &ClientChoice, most: usize, outbox: &Outbox) -> ClientPage {
        let end = from.saturating_add(LOOK_SESSIONS_MAX).min(self.sessions.slots_end());
        let mut clients = Vec::new();
        for slot in from..end {
            if clients.len() >= most {
                return ClientPage { clients, next: Some(slot) };
            }
            let Some(session) = self.sessions.get(slot) else { continue };
            let is_wanted = choice.is_connected.is_none_or(|wanted| wanted == session.connection.is_some());
            let has_part = session.client_id.contains(&*choice.part)
                || session.user_name.as_deref().is_some_and(|user| user.contains(&*choice.part));
            if is_wanted && has_part {
                clients.push(self.state_of(session, outbox));
            }
        }
        ClientPage { clients, next: (end < self.sessions.slots_end()).then_some(end) }
    }

    /// Those of the sessions from slot `from` on that keep the most waiting, most first; the worst of [`LOOK_SESSIONS_MAX`] sessions,
    /// without those that keep nothing waiting.
    pub fn slowest_clients(&self, from: u32, most: usize, outbox: &Outbox) -> ClientPage {
        let end = from.saturating_add(LOOK_SESSIONS_MAX).min(self.sessions.slots_end());
        let owing = |slot: u32| {
            let session = self.sessions.get(slot)?;
            let has_any = session.outbound.queued() > 0
                || !session.outbound.inflight.is_empty()
                || session.connection.is_some_and(|id| outbox.egress.backlog_bytes(id.slot) > 0);
            has_any.then(|| self.state_of(session, outbox))
        };
        let mut clients: Vec<_> = (from..end).filter_map(owing).collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.arrears()));
        clients.truncate(most);
        ClientPage { clients, next: (end < self.sessions.slots_end()).then_some(end) }
    }

    /// What is known of the client that has a connection.
    pub fn client_of(&self, connection: ConnectionId, outbox: &Outbox) -> Option<ClientState> {
        let session = self.connections.get(connection)?.session?;
        Some(self.state_of(self.sessions.get(session.slot)?, outbox))
    }

    /// All that is known of a client.
    pub fn client(&self, client_id: &str, outbox: &Outbox) -> Option<ClientDetail> {
        let session = self.sessions.get(self.sessions.by_client_id(client_id)?.slot)?;
        let subscriptions = session.subscriptions.iter().take(LOOK_LISTED_MAX);
        let subscriptions = subscriptions
            .map(|(filter, subscription)| ((**filter).into(), subscription.options, subscription.subscription_id));
        let will = session.last_will.as_ref().map(|will| {
            let view = will.message.view();
            WillState {
                topic: view.topic.into(),
                qos: view.qos,
                retain: view.retain,
                payload_bytes: view.payload.len(),
                delay_secs: will.delay_secs,
            }
        });
        Some(ClientDetail { state: self.state_of(session, outbox), subscriptions: subscriptions.collect(), will })
    }

    /// What a client was sent and has not acknowledged, then what waits for it; so many at most. `None`: there is no session.
    pub fn waiting_messages(&self, client_id: &str, most: usize) -> Option<Vec<WaitingMessage>> {
        let session = self.sessions.get(self.sessions.by_client_id(client_id)?.slot)?;
        let row = |message: &Message, qos, retain, is_in_flight| {
            let view = message.view();
            WaitingMessage { topic: view.topic.into(), qos, retain, payload_bytes: view.payload.len(), is_in_flight }
        };
        let outbound = &session.outbound;
        let sent = outbound.inflight.sent().filter_map(|sent| Some((sent.message.as_ref()?, sent)));
        let sent = sent.map(|(message, sent)| row(message, sent.stage.qos(), sent.retain, true));
        let queued = outbound.waiting().map(|queued| row(&queued.message, queued.qos, queued.retain, false));
        Some(sent.chain(queued).take(most.min(LOOK_LISTED_MAX)).collect())
    }

    /// Who gets what is published to a topic now.
    pub fn audience(&mut self, topic: TopicName<'_>) -> Audience {
        let matches = self.matches_of(topic);
        let clients = matches.deliveries.iter().take(LOOK_LISTED_MAX);
        let clients = clients.filter_map(|delivery| {
            let session = self.sessions.get(delivery.session)?;
            Some((session.client_id.clone(), session.connection.is_some(), delivery.qos))
        });
        Audience {
            clients: clients.collect(),
            clients_in_all: matches.deliveries.len(),
            groups: matches.groups.iter().filter_map(|slot| self.groups.described(*slot)).collect(),
            shards: matches.peers().collect(),
            is_too_wide: matches.is_too_wide,
            is_retained: self.retained.has(topic),
            published: matches.published(),
        }
    }

    /// What was published here to topics that are asked for again and again, from row `from` on, as far as [`LOOK_TOPICS_MAX`] rows go.
    pub fn published_topics(&self, from: usize) -> TopicPage {
        let (published, next) = self.subscribers.published(from, LOOK_TOPICS_MAX);
        TopicPage { topics: published.into_iter().map(|(topic, published)| (topic.into(), published)).collect(), next }
    }

    /// What is retained for a filter, in pieces.
    pub fn retained_messages(&self, now: Millis, filter: TopicFilter<'_>, search: Search) -> RetainedPage {
        let found = self.retained.search(now, filter, search, LOOK_NODES_MAX, true);
        let next = if found.search == Search::Done { None } else { Some(found.search) };
        RetainedPage { messages: found.messages.into(), next }
    }

    /// What is retained of a topic.
    pub fn retained_message(&self, now: Millis, topic: TopicName<'_>) -> Option<Message> {
        self.retained.placed(topic, now).1
    }

    fn state_of(&self, session: &Session, outbox: &Outbox) -> ClientState {
        let connection = session.connection.and_then(|id| self.connections.get(id));
        let outbound = &session.outbound;
        ClientState {
            client_id: session.client_id.clone(),
            user: session.user_name.as_deref().map(Into::into),
            connection: session.connection,
            listener: session.listener,
            version: connection.map(|connection| connection.version),
            heard_at: connection.map(|connection| connection.heard_at),
            silence_millis_max: connection.and_then(|connection| connection.silence_allowed()),
            subscriptions: session.subscriptions.len(),
            queued: outbound.queued(),
            queue_bytes: outbound.queue_bytes(),
            in_flight: outbound.inflight.len(),
            window: outbound.inflight.window(),
            owed_acks: session.inbound.owed(),
            backlog_bytes: session.connection.map_or(0, |id| outbox.egress.backlog_bytes(id.slot)),
            held_bytes: outbound.inflight.held_bytes(),
            pressure: outbound.pressure,
            is_parked: connection.is_some_and(|connection| connection.is_parked),
            expiry_secs: session.expiry_secs,
            ends_at: (session.connection.is_none() && session.ends_at != Millis::NEVER).then_some(session.ends_at),
        }
    }
}
