//! SECOND floor: what one client owes and is owed, whether it is connected or not.
//!
//! Duty: the state that MQTT calls Session (section 4.1): subscriptions, messages on their way in both directions, the will.
//! Must not: encode, send, route, read a clock. Neighbours: `shard` owns the sessions and acts on what they say.

mod account;
mod inbound;
mod inflight;
mod kept;
mod outbound;
mod replay;
mod user_name;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use account::{Account, Budget, LargePayloads, cost_of};
pub use inbound::{Inbound, Owed, Receipt};
pub use inflight::{AckError, Inflight, Sent, Stage};
pub use kept::{Kept, Place, RESERVED_AT_ONCE};
pub use outbound::{Admission, Outbound, Pressure, Queued, SubscriptionIds};
pub use replay::{NextReplay, Replays, Search};
pub use user_name::UserName;

use crate::id::{ConnectionId, Millis};
use crate::limits::Limits;
use crate::message::Message;
use crate::seldom::Seldom;
use crate::wire::{QoS, SubscriptionOptions};

/// Acknowledgements that may be owed to one client whatever is left of its shard's budget.
const OWED_ACKS_MIN: usize = 64;

/// The state of one client. There may be a million that own and are owed nothing, so it is small.
#[derive(Debug)]
pub struct Session {
    /// Client id; unique in the broker.
    pub client_id: Box<str>,
    /// User name of its last CONNECT.
    pub user_name: Option<UserName>,
    /// Whether a password or a certificate has proved that name: then the session is that user's alone.
    pub is_user_proven: bool,
    /// Whether it was a certificate.
    pub is_certified: bool,
    /// By which listener the client came last.
    pub listener: u16,
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
    /// Where it stands in the store, if it is kept there.
    pub kept: Option<Box<Kept>>,
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
            is_user_proven: false,
            is_certified: false,
            listener: 0,
            connection: None,
            expiry_secs: 0,
            ends_at: Millis::NEVER,
            subscriptions: Seldom::new(),
            inbound: Inbound::default(),
            outbound: Outbound::new(limits, budget),
            last_will: None,
            kept: None,
        }
    }

    /// Registers an acknowledgement that is owed; returns its number.
    pub fn owe(&mut self, owed: Owed) -> u64 {
        self.outbound.account().charge(size_of::<Owed>());
        self.inbound.owe(owed)
    }

    /// A repeated PUBLISH joins the acknowledgement that is still owed for its packet id ([`Inbound::join`]).
    pub fn join(&mut self, packet_id: u16, qos: QoS) -> bool {
        let before = self.inbound.owed();
        let is_joined = self.inbound.join(packet_id, qos);
        self.charge_owed_since(before);
        is_joined
    }

    /// Uses up a number that a panic left without an acknowledgement ([`Inbound::void_number`]).
    pub fn void_number(&mut self) {
        let before = self.inbound.owed();
        self.inbound.void_number();
        self.charge_owed_since(before);
    }

    /// Takes the first acknowledgement that is owed if nothing is missing for it.
    pub fn pop_complete(&mut self) -> Option<Owed> {
        let owed = self.inbound.pop_complete()?;
        self.outbound.account().release(size_of::<Owed>());
        Some(owed)
    }

    /// What is owed costs the session what it takes.
    fn charge_owed_since(&mut self, before: usize) {
        let more = self.inbound.owed() - before;
        self.outbound.account().charge(more * size_of::<Owed>());
    }

    /// Whether so many acknowledgements are owed that no more may be: `owed_acks_max`, or a few if the session has more than is
    /// left of the shard's budget.
    pub fn owes_too_much(&self, limits: &Limits) -> bool {
        let owed = self.inbound.owed();
        owed >= limits.owed_acks_max || owed >= OWED_ACKS_MIN && !self.outbound.inflight.account.admits(0)
    }

    /// Whether so few acknowledgements are owed that who was stopped by them may go on.
    pub fn owes_little(&self, limits: &Limits) -> bool {
        let owed = self.inbound.owed();
        owed == 0
            || owed <= limits.owed_acks_max / 2 && (owed < OWED_ACKS_MIN || self.outbound.inflight.account.admits(0))
    }

    /// Whether the session outlives its connection, so that what it is owed must be kept.
    pub fn is_persistent(&self) -> bool {
        self.expiry_secs > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed() -> Owed {
        Owed { packet_id: 1, is_taken: true, is_awaited: true, ..Owed::NOTHING }
    }

    /// Whatever is owed is charged, and given back; a repetition that waits behind others is owed once more.
    #[test]
    fn what_is_owed_costs_as_long_as_it_is_owed() {
        let limits = Limits::default();
        let budget = Budget::new(1 << 20, LargePayloads::default(), 1);
        let mut session = Session::new("client".into(), &limits, &budget);
        session.owe(owed());
        session.inbound.disconnect();
        session.owe(Owed { packet_id: 2, ..owed() });
        assert!(session.join(1, QoS::AtLeastOnce));
        session.void_number();
        assert_eq!(budget.held_bytes(), 4 * size_of::<Owed>());
        assert!(size_of::<Owed>() <= 48, "{}", size_of::<Owed>());
        for left in [3, 2, 1, 0] {
            assert!(session.pop_complete().is_some());
            assert_eq!(budget.held_bytes(), left * size_of::<Owed>());
        }
        assert_eq!(session.pop_complete(), None);
    }

    /// As many as `owed_acks_max`; fewer, but some, if the session has more of the budget than is left for all.
    #[test]
    fn a_session_is_owed_so_much_and_no_more() {
        let limits = Limits { owed_acks_max: 100, ..Limits::default() };
        for (bytes_max, most, little) in [(1 << 20, 100, 50), (0, 64, 50), (60 * size_of::<Owed>(), 64, 50)] {
            let budget = Budget::new(bytes_max, LargePayloads::default(), 1);
            let mut session = Session::new("client".into(), &limits, &budget);
            while !session.owes_too_much(&limits) {
                session.owe(owed());
            }
            assert_eq!(session.inbound.owed(), most, "of {bytes_max} bytes");
            while !session.owes_little(&limits) {
                session.pop_complete().expect("there are some");
            }
            assert_eq!(session.inbound.owed(), little, "of {bytes_max} bytes");
        }
        // Where half of the bound is more than a few.
        let limits = Limits { owed_acks_max: 1000, ..limits };
        let budget = Budget::new(600 * size_of::<Owed>(), LargePayloads::default(), 1);
        let mut session = Session::new("client".into(), &limits, &budget);
        for _ in 0..400 {
            session.owe(owed());
        }
        assert!(session.owes_too_much(&limits) && !session.owes_little(&limits));
        for _ in 0..101 {
            session.pop_complete();
        }
        assert!(!session.owes_too_much(&limits) && session.owes_little(&limits));
        // Where it is the few that stop it, one less lets it go on.
        let mut session = Session::new("client".into(), &limits, &Budget::new(0, LargePayloads::default(), 1));
        while !session.owes_too_much(&limits) {
            session.owe(owed());
        }
        assert!(!session.owes_little(&limits));
        session.pop_complete();
        assert!(session.owes_little(&limits) && session.inbound.owed() == OWED_ACKS_MIN - 1);
        // One may always be owed, and none is always little.
        let session = Session::new("client".into(), &limits, &Budget::new(0, LargePayloads::default(), 1));
        let limits = Limits { owed_acks_max: 1, ..limits };
        assert!(!session.owes_too_much(&limits) && session.owes_little(&limits));
    }
}
