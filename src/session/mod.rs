//! SECOND floor: what one client owes and is owed, whether it is connected or not.
//!
//! Duty: the state that MQTT calls Session (section 4.1): subscriptions, messages on their way in both directions, the will.
//! Must not: encode, send, route, read a clock. Neighbours: `shard` owns the sessions and acts on what they say.

mod account;
mod inbound;
mod inflight;
mod outbound;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use account::{Account, Budget, LargePayloads, cost_of};
pub use inbound::{Inbound, Owed};
pub use inflight::{AckError, Inflight, Sent, Stage};
pub use outbound::{Admission, Outbound, Pressure, Queued, SubscriptionIds};
pub use replay::{NextReplay, Replays, Search};

use crate::id::{ConnectionId, Millis};
use crate::limits::Limits;
use crate::message::Message;
use crate::seldom::Seldom;
use crate::wire::SubscriptionOptions;

/// The state of one client. There may be a million that own and are owed nothing, so it is small.
#[derive(Debug)]
pub struct Session {
    /// Client id; unique in the broker.
    pub client_id: Box<str>,
    /// User name of its last CONNECT, as claimed.
    pub user_name: Option<Arc<str>>,
    /// The network connection, while there is one.
    pub connection: Option<ConnectionId>,
    /// Session Expiry Interval, seconds; 0 ends the session with its connection, `u32::MAX` never (section 3.1.2.11.2).
    pub expiry_secs: u32,
    /// When the disconnected session ends; [`Millis::NEVER`] while it is connected.
    pub ends_at: Millis,
    /// By topic filter as the client wrote it, `$share/...` included.
    pub subscriptions: Seldom<BTreeMap<Arc<str>, Subscription>>,
    /// What the client sent and is not yet answered.
    pub inbound: Inbound,
    /// What the client is to get.
    pub outbound: Outbound,
    /// What is published if the client does not say goodbye (section 3.1.2.5).
    pub last_will: Option<Box<LastWill>>,
}

/// One subscription of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// What the client asked for; `qos` is the granted one.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, if it has one.
    pub subscription_id: Option<u32>,
}

/// A will that waits.
#[derive(Debug)]
pub struct LastWill {
    /// What it costs; given back with it.
    pub account: Account,
    /// The message to publish.
    pub message: Message,
    /// Lifetime of the message from its publication, seconds.
    pub expiry_secs: Option<u32>,
    /// Will Delay Interval, seconds (section 3.1.3.2.2).
    pub delay_secs: u32,
    /// When a delayed will is published; set when the connection ends.
    pub due_at: Option<Millis>,
}

impl Session {
    /// A session with no past.
    pub fn new(client_id: Box<str>, limits: &Limits, budget: &Budget) -> Self {
        Self {
            client_id,
            user_name: None,
            connection: None,
            expiry_secs: 0,
            ends_at: Millis::NEVER,
            subscriptions: Seldom::new(),
            inbound: Inbound::default(),
            outbound: Outbound::new(limits, budget),
            last_will: None,
        }
    }

    /// Whether the session outlives its connection, so that what it is owed must be kept.
    pub fn is_persistent(&self) -> bool {
        self.expiry_secs > 0
    }
}
