//! THIRD floor: all state of one core.
//!
//! Duty: `Shard::receive` and `Shard::handle` take what happened and fill the outbox with what is to be done; the contract
//! is *handle, drain, wait*: the outbox is drained before the driver waits. Must not: know clocks, sockets, threads, locks.
//! Neighbours: `session`, `topic` and `wire` below; `runtime` and the simulation above.

mod acknowledge;
mod alarm;
mod authenticate;
mod carrier;
mod congestion;
mod connect;
mod connection;
mod counters;
mod deadline;
mod deliver;
#[cfg(test)]
mod deliver_tests;
mod disconnect;
mod egress;
mod exchange;
mod explain;
mod fault;
mod grant;
mod group;
mod input;
mod interest;
mod isolate;
mod keep;
mod look;
mod matches;
mod mesh;
mod mesh_message;
mod outbox;
mod publish;
mod pump;
mod receive;
mod remembered;
mod replay;
mod restore;
mod retain;
mod rights;
mod route;
mod run;
mod sampled;
#[cfg(test)]
mod scene;
mod sessions;
mod subscribe;
mod tap;
mod timers;
mod trouble;

pub use authenticate::{Applicant, Court, CredentialCheck, Verdict};
pub use connect::owner_of;
pub use counters::{ByQos, Counters, DropReason};
pub use egress::{Egress, EgressTable, Flush, Splice};
pub use input::{Input, Next, Received, Taken};
pub use keep::{StoreState, StoreTerms};
pub use look::{
    Audience, ClientChoice, ClientDetail, ClientPage, ClientState, LOOK_LISTED_MAX, LOOK_NODES_MAX, LOOK_SESSIONS_MAX,
    LOOK_TOPICS_MAX, RetainedPage, TopicPage, WaitingMessage, WillState,
};
pub use mesh_message::{
    Answer, Cursor, GroupOrigin, MemberChange, MeshAck, MeshBatch, MeshMessage, Outcome, Run, Stamp,
};
pub use outbox::{Cause, Event, Outbox};
pub use sampled::TraceContext;
pub use tap::{Shown, TAPPED_BYTES_MAX, Tap, Tapped};
pub use trouble::{Trouble, TroubleKind};

use std::sync::Arc;

use crate::auth::Policy;
use crate::auth::scram::Secret;
use crate::id::{ConnectionId, Millis, SessionId, ShardId};
use crate::limits::Limits;
use crate::session::{Budget, LargePayloads};
use crate::wire::ReasonCode;

/// What a shard is told at its making.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are; at most `SHARDS_MAX`.
    pub shards: usize,
    /// Seed of every keyed hash, and of the placement of client ids; the same on all shards.
    pub hash_seed: u64,
    /// Seed of generated client ids; different on each shard.
    pub id_seed: u64,
    /// For extended authentication; the same on all shards, and told to nobody.
    pub secret: Secret,
    /// Bounds.
    pub limits: Limits,
    /// Large payloads of the broker; the same on all shards.
    pub large_payloads: LargePayloads,
    /// Whether clients may cause faults on purpose, for tests.
    pub is_faulty: bool,
    /// Rules and terms of the listeners; the same on all shards, and replaced by `Input::Rules`.
    pub policy: Arc<Policy>,
    /// The store, if there is one.
    pub store: Option<StoreTerms>,
}

/// All state of one core.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    policy: Arc<Policy>,
    /// Whether any rights are limited.
    limits_rights: bool,
    logins: authenticate::Logins,
    /// When a denial is told again.
    tells_denial_at: Millis,
    connections: connection::Connections,
    sessions: sessions::Sessions,
    subscribers: matches::Subscribers,
    interests: interest::Interests,
    groups: group::Groups,
    retained: retain::Retained,
    searches: replay::Searches,
    peers: mesh::Peers,
    timers: timers::Timers,
    congestion: congestion::Congestion,
    budget: Budget,
    counters: Counters,
    /// Subscriptions of the sessions here, and how many of them are shared.
    subscriptions: (usize, usize),
    ids_generated: u64,
    scratch: carrier::Scratch,
    keep: keep::Keep,
    taps: tap::Taps,
}

impl Shard {
    /// A shard with no connections, sessions or subscriptions.
    pub fn new(config: ShardConfig) -> Self {
        let seed = config.hash_seed;
        let mut subscribers = matches::Subscribers::new(seed, &config.limits);
        subscribers.give_copies(config.policy.copies_per_subscription);
        let budget = Budget::new(config.limits.held_bytes_per_shard_max, config.large_payloads.clone(), config.shards);
        Self {
            limits_rights: config.policy.limits_rights(),
            policy: Arc::clone(&config.policy),
            logins: authenticate::Logins::default(),
            tells_denial_at: Millis(0),
            connections: connection::Connections::default(),
            sessions: sessions::Sessions::new(seed),
            subscribers,
            interests: interest::Interests::default(),
            groups: group::Groups::default(),
            retained: retain::Retained::new(seed, budget.open()),
            searches: replay::Searches::default(),
            peers: mesh::Peers::new(config.shard, config.shards),
            timers: timers::Timers::new(),
            congestion: congestion::Congestion::default(),
            budget,
            counters: Counters::default(),
            subscriptions: (0, 0),
            ids_generated: 0,
            scratch: carrier::Scratch::default(),
            keep: keep::Keep::new(config.store),
            taps: tap::Taps::default(),
            config,
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Millis, input: Input, outbox: &mut Outbox) {
        self.budget.look(outbox.egress.unsent_bytes());
        match input {
            Input::Opened { connection, accepted_at, listener } => {
                self.open(connection, accepted_at, listener, outbox);
            }
            Input::Certified { connection, user } => self.certify(connection, user),
            Input::Verified { ticket, connection, verdict } => self.verified(ticket, connection, verdict, outbox),
            Input::Rules(policy) => self.replace_policy(now, policy, outbox),
            Input::Limits(limits) => self.config.limits = Limits::clone(&limits),
            Input::Closed { connection } => self.connection_lost(now, connection, outbox),
            Input::Drained { connection } => self.drained(now, connection, outbox),
            Input::Mesh { from, batch } => self.mesh_batch(now, from, batch, outbox),
            Input::Deadline => self.deadlines(now, outbox),
            Input::Stored { through, is_safe } => self.stored(now, through, is_safe, outbox),
            Input::Store(state) => self.keep.set_state(state),
            Input::Announce(message) => drop(self.route(now, &message.view(), None, None, outbox)),
            Input::Kick { client_id, ends_session } => self.kick(now, &client_id, ends_session, outbox),
            Input::Stop => self.stop(now, outbox),
        }
        self.finish_turn(now, outbox);
    }

    /// What was put off to the end of a turn.
    fn finish_turn(&mut self, now: Millis, outbox: &mut Outbox) {
        self.release_waiting(now, outbox);
        self.release_withheld(now, outbox);
    }

    /// When `Input::Deadline` is wanted.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.timers.next().into_iter().chain(self.searches.next()).min()
    }

    /// Whether a connection with `Next::AwaitMesh` may be offered its bytes again.
    pub fn takes_publishes(&self, outbox: &Outbox) -> bool {
        let limits = &self.config.limits;
        outbox
            .mesh
            .iter()
            .all(|batch| batch.publishes < limits.mesh_publishes_max && batch.publish_bytes < limits.mesh_bytes_max)
    }

    /// PUBLISH messages that may be given to every other shard now.
    fn mesh_room(&self, outbox: &Outbox) -> usize {
        let most = outbox.mesh.iter().map(|batch| batch.publishes).max().unwrap_or(0);
        self.config.limits.mesh_publishes_max.saturating_sub(most)
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections, sessions, subscriptions (own and for other shards) and retained messages, as they stand.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            connections: self.connections.len(),
            sessions: self.sessions.len(),
            subscriptions: self.subscribers.len(),
            retained_messages: self.retained.messages(),
            retained_tombstones: self.retained.tombstones(),
            queued_messages: self.sessions.queued_messages(),
            in_flight: self.sessions.in_flight(),
            held_bytes: self.budget.kept_bytes(),
            subacks_waiting: self.interests.waiting(),
            searches_waiting: self.searches.waiting(),
            acks_withheld: self.congestion.withheld(),
            acks_waiting: self.peers.waiting() + self.keep.waiting(),
            logins_waiting: self.logins.len(),
        }
    }

    /// How much the shard has now, without looking at each of what it has.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.connections.len(),
            connected: self.connections.admitted(),
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.0,
            shared_subscriptions: self.subscriptions.1,
            retained_messages: self.retained.messages(),
            queued_messages: self.counters.queued() as usize,
            in_flight: self.budget.in_flight(),
            held_bytes: self.budget.held_bytes(),
        }
    }

    /// Whether the session of a client id has a connection; `None`: there is no session.
    pub fn is_connected(&self, client_id: &str) -> Option<bool> {
        Some(self.sessions.get(self.sessions.by_client_id(client_id)?.slot)?.connection.is_some())
    }

    /// The user name of the session of a client id, and whether there is a session.
    pub fn session_user(&self, client_id: &str) -> Option<Option<&str>> {
        let session = self.sessions.get(self.sessions.by_client_id(client_id)?.slot)?;
        Some(session.user_name.as_deref())
    }

    fn id(&self) -> ShardId {
        self.config.shard
    }

    fn open(&mut self, id: ConnectionId, accepted_at: Millis, listener: u16, outbox: &mut Outbox) {
        outbox.egress.open(id.slot);
        let timeout_ms = self.config.limits.connect_timeout_ms;
        self.connections.insert(connection::Connection::new(id, accepted_at, timeout_ms, listener));
        self.look_at(id.slot, accepted_at, accepted_at.after_millis(timeout_ms));
        if self.connections.len() > self.config.limits.connections_per_shard_max {
            self.counters.refused_connections += 1;
            self.refuse_connection(id, ReasonCode::QuotaExceeded, "connections_per_shard_max is reached", outbox);
        }
    }

    fn connected_session(&mut self, id: ConnectionId) -> Option<SessionId> {
        self.connections.get_mut(id)?.session
    }
}

/// How much a shard has, as it can be asked for at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Network connections.
    pub connections: usize,
    /// Connected clients.
    pub connected: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions of its sessions, shared ones included.
    pub subscriptions: usize,
    /// Shared subscriptions of its sessions.
    pub shared_subscriptions: usize,
    /// Retained messages of the broker.
    pub retained_messages: usize,
    /// Messages that wait in queues.
    pub queued_messages: usize,
    /// Messages that were sent and are not acknowledged.
    pub in_flight: usize,
    /// Bytes held for clients, unsent ones included.
    pub held_bytes: usize,
}

/// How much a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Network connections.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Entries of the subscription trie: subscriptions, groups, interests of other shards.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Stamps kept of retained messages that were deleted or have expired.
    pub retained_tombstones: usize,
    /// Messages in the queues of sessions.
    pub queued_messages: usize,
    /// Messages in the windows of sessions.
    pub in_flight: usize,
    /// Bytes held for clients, of `held_bytes_per_shard_max`, without those unsent (`EgressTable::unsent_bytes`).
    pub held_bytes: usize,
    /// SUBACK packets, and barriers, that wait for other shards.
    pub subacks_waiting: usize,
    /// Sessions for which retained messages are still looked for (`retained_search_nodes_max`).
    pub searches_waiting: usize,
    /// Acknowledgements that wait for the queue of a subscriber to become shorter (`backpressure_ms_max`).
    pub acks_withheld: usize,
    /// Messages that other shards or the store have not yet acknowledged.
    pub acks_waiting: usize,
    /// Connections whose password is being checked, or that were asked for a proof.
    pub logins_waiting: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Connect, ProtocolVersion};

    fn shard(limits: Limits) -> Shard {
        Shard::new(ShardConfig {
            shard: ShardId(0),
            shards: 2,
            hash_seed: 1,
            id_seed: 1,
            secret: Secret::new([9; 32]),
            limits,
            large_payloads: LargePayloads::default(),
            is_faulty: false,
            store: None,
            policy: Arc::default(),
        })
    }

    /// Case X01: a batch that waits is filled up to its bounds, and no further.
    #[test]
    fn publishes_wait_when_a_batch_has_reached_a_bound() {
        let shard = shard(Limits { mesh_publishes_max: 2, mesh_bytes_max: 10, ..Limits::default() });
        let mut outbox = Outbox::new(2);
        for (publishes, bytes, takes) in [(1, 9, true), (2, 9, false), (1, 10, false)] {
            outbox.mesh[1].publishes = publishes;
            outbox.mesh[1].publish_bytes = bytes;
            assert_eq!(shard.takes_publishes(&outbox), takes, "{publishes} messages of {bytes} bytes");
        }
    }

    /// Case X05.
    #[test]
    fn each_connection_above_the_limit_is_refused_and_counted() {
        let mut shard = shard(Limits { connections_per_shard_max: 1, ..Limits::default() });
        let mut outbox = Outbox::new(2);
        for slot in 0..4 {
            let connection = ConnectionId { slot, generation: 0 };
            shard.handle(Millis(0), Input::Opened { connection, accepted_at: Millis(0), listener: 0 }, &mut outbox);
        }
        assert_eq!((shard.counters().refused_connections, shard.sizes().connections), (3, 1));
        assert_eq!(outbox.closes.len(), 3);
    }

    /// Cases S06 and R03: connections and sessions that come and go leave no timers behind them.
    #[test]
    fn the_wheel_does_not_fill_with_those_who_have_gone() {
        let mut shard = shard(Limits::default());
        let mut outbox = Outbox::new(2);
        let client_id = (0..).map(|number| format!("client-{number}")).find(|id| owner_of(id, 1, 2) == ShardId(0));
        let connect = Connect {
            session_expiry_secs: Some(3600),
            ..Connect::new(ProtocolVersion::V5, client_id.as_deref().expect("one of the first"))
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        for generation in 0..1000 {
            let connection = ConnectionId { slot: 0, generation };
            shard.handle(Millis(0), Input::Opened { connection, accepted_at: Millis(0), listener: 0 }, &mut outbox);
            shard.receive(Millis(0), connection, Received { bytes: &bytes, shared: None }, &mut outbox);
            shard.handle(Millis(0), Input::Closed { connection }, &mut outbox);
        }
        assert_eq!(shard.counters().connects, 1000);
        assert!(shard.timers.len() <= 4, "{} timers for one slot of each kind", shard.timers.len());
    }
}
