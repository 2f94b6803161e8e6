//! What the store held is put back, before anybody connects.
//!
//! Duty: make sessions, subscriptions, queues and windows of what `store` has read. Must not: send, or publish a will: that is for
//! when every shard is restored. Neighbours: the driver calls before its first turn; `keep` has written it.
//!
//! What was on its way to a client may have reached it, so it is sent again with DUP, under its original packet id.

use std::sync::Arc;

use super::interest::PendingSuback;
use super::timers::Timer;
use super::{Outbox, Shard, Stamp};
use crate::id::{Millis, SessionId, ShardId};
use crate::message::Message;
use crate::session::{Kept, LastWill, Queued, RESERVED_AT_ONCE, Sent, Session, Stage, Subscription, SubscriptionIds};
use crate::store::record::{self, What};
use crate::store::{Space, StoredState};
use crate::topic::{SubscriptionFilter, TopicLimits};

impl Shard {
    /// Puts back a session of this shard. Its interests go to the other shards; see [`Self::is_restored`].
    pub fn restore(&mut self, now: Millis, state: StoredState, outbox: &mut Outbox) {
        let StoredState { number, session: stored, subscriptions, queue, received, reserved } = state;
        let was_connected = stored.ends_at.is_none();
        if was_connected && stored.expiry_secs == 0 || self.sessions.by_client_id(&stored.client_id).is_some() {
            // It was to end with its connection.
            outbox.records.changes.delete(Space::Session, &record::key_of(number));
            return;
        }
        let mut session = Session::new(stored.client_id, &self.config.limits, &self.budget);
        (session.is_user_proven, session.is_certified) = (stored.is_user_proven, stored.is_certified);
        // A listener that is no more has left its clients to the first.
        session.listener = if usize::from(stored.listener) < self.policy.listeners.len() { stored.listener } else { 0 };
        session.expiry_secs = stored.expiry_secs;
        // What was sent at QoS 1 and not yet safe has had packet ids, which its client may still acknowledge.
        let in_use = if was_connected { reserved.max(RESERVED_AT_ONCE) } else { 0 };
        let last_stored = queue.last().map_or(0, |(sequence, _)| *sequence);
        let last_sequence = last_stored.max(stored.last_sequence).max(in_use);
        session.kept = Some(Box::new(Kept::new(number, last_sequence, reserved)));
        session.ends_at = match stored.ends_at {
            Some(ends_at) => ends_at,
            None if stored.expiry_secs == u32::MAX => Millis::NEVER,
            None => now.after_secs(u64::from(stored.expiry_secs)),
        };
        received.into_iter().for_each(|packet_id| session.inbound.restore(packet_id));
        restore_queue(&mut session, queue, stored.sent_through.unwrap_or(u64::MAX));
        if self.limits_rights {
            session.outbound.doubt();
        }
        session.last_will = stored.last_will.map(|will| {
            let mut account = self.budget.open();
            account.charge(256 + will.message.counted_bytes());
            let due_at = will.due_at.unwrap_or(now.after_secs(u64::from(will.delay_secs)));
            let (expiry_secs, delay_secs) = (will.expiry_secs, will.delay_secs);
            Box::new(LastWill { account, message: will.message, expiry_secs, delay_secs, due_at: Some(due_at) })
        });
        // As for all that was put into a queue: the ledger of matches adds up.
        self.counters.matches += session.outbound.queued() as u64;
        let (ends_at, due_at) = (session.ends_at, session.last_will.as_ref().and_then(|will| will.due_at));
        self.logins.has_owners |= session.is_user_proven;
        let client_id = session.client_id.clone();
        let (id, _) = self.sessions.obtain(&client_id, || session);
        self.sessions.set_user(id, stored.user_name.as_deref());
        if ends_at != Millis::NEVER {
            self.await_end(id.slot, ends_at);
        }
        if let Some(due_at) = due_at {
            self.await_will(id.slot, due_at);
        }
        for (filter, options, subscription_id) in subscriptions {
            self.restore_subscription(id, &filter, Subscription { options, subscription_id }, outbox);
        }
        if was_connected {
            self.keep_session(now, id, outbox);
        }
        // Before its client is sent anything, as its CONNACK waits for what is written here.
        self.reserve(id, outbox);
    }

    fn restore_subscription(&mut self, id: SessionId, text: &str, subscription: Subscription, outbox: &mut Outbox) {
        let Ok(filter) = SubscriptionFilter::new(text, TopicLimits::from(&self.config.limits)) else {
            // The limits were wider when it was made.
            return self.keep_subscription(id, text, None, outbox);
        };
        let name: Arc<str> = Arc::from(text);
        let mut nobody = PendingSuback::of_nobody(id);
        self.enlist(id, &name, filter, subscription, &mut nobody, outbox);
    }

    /// Puts back a retained message; every shard is given all of them.
    pub fn restore_retained(&mut self, now: Millis, message: &Message, outbox: &mut Outbox) {
        let view = message.view();
        if view.is_expired(now) {
            self.keep_retained(now, message, false, outbox);
            return;
        }
        // Older than all that is published from now on.
        let stamp = Stamp { clock: 0, shard: ShardId(0) };
        self.retained.restore(message, stamp);
        self.await_sweep(now);
    }

    /// Whether all other shards know the interests of the sessions that were put back, so that clients may come.
    pub fn is_restored(&self) -> bool {
        self.interests.waiting() == 0
    }

    /// Sets the next look at retained messages that end, if there are any.
    pub(super) fn await_sweep(&mut self, now: Millis) {
        if self.retained.wants_sweep() {
            self.timers.set(now.after_millis(super::retain::SWEEP_MILLIS), Timer::RetainedSweep);
        }
    }
}

/// What may have been sent goes into the window again, as far as there is room, and what comes after it into the queue.
fn restore_queue(session: &mut Session, queue: Vec<(u64, record::Queued)>, sent_through: u64) {
    let mut is_window_full = false;
    for (sequence, queued) in queue {
        let place = Kept::place_of(sequence, true);
        let (retain, subscription_ids) = (queued.retain, SubscriptionIds::new(&queued.subscription_ids));
        let message = match queued.what {
            What::Message(message) => message,
            What::Released => {
                let stage = Stage::AwaitPubcomp;
                session.outbound.inflight.restore(Sent { message: None, retain, subscription_ids, stage, place });
                continue;
            }
            What::Shared(_) => unreachable!("a stored session has its messages"),
        };
        let sent = || Sent {
            message: Some(message.clone()),
            retain,
            subscription_ids: subscription_ids.clone(),
            stage: Stage::of_sent(queued.qos),
            place,
        };
        let dup = sequence <= sent_through;
        is_window_full = is_window_full || !dup || !session.outbound.inflight.restore(sent());
        if is_window_full {
            session.outbound.restore(Queued { message, qos: queued.qos, retain, subscription_ids, place, dup });
        }
    }
}
