//! Account: the bytes that one holder has of its shard's budget.
//!
//! Duty: charge and release, say what is left, and whether a holder may have more. Must not: decide what happens to a holder
//! that may not (its room does, and counts it). Neighbours: `outbound` and `inflight` charge messages, `shard` subscriptions,
//! wills, announced packets and retained messages.
//!
//! A holder may grow while it has no more than what is left for all (a dynamic threshold): with n holders that want without
//! end, each gets 1/(n+1) of the budget and 1/(n+1) stays free for the others. So the one that holds most is the first that
//! is stopped, and nobody has to look for it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::message::{Message, MessageView};

/// What a message costs beside its bytes: allocations, the place in a queue, bytes.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// Bytes of payloads of `SHARED_PAYLOAD_BYTES_MIN` and more that the broker holds, each counted once however many hold it.
/// They are let go on whatever shard the last holder is, so this one count is shared by all shards.
#[derive(Clone, Debug, Default)]
pub struct LargePayloads(Arc<AtomicUsize>);

impl LargePayloads {
    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The payload, counted until the last reference to it is gone.
    pub fn charge(&self, payload: Bytes) -> Bytes {
        self.0.fetch_add(payload.len(), Ordering::Relaxed);
        Bytes::from_owner(Charged { payload, count: self.clone() })
    }
}

/// A payload that is counted.
struct Charged {
    payload: Bytes,
    count: LargePayloads,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.count.0.fetch_sub(self.payload.len(), Ordering::Relaxed);
    }
}

/// The bytes that one shard may hold for its clients (`held_bytes_per_shard_max`).
#[derive(Clone, Debug)]
pub struct Budget(Rc<Parts>);

#[derive(Debug)]
struct Parts {
    bytes_max: usize,
    /// Charged to accounts.
    charged: Cell<usize>,
    /// Unsent on connections, and this shard's part of the large payloads, as of the last look.
    elsewhere: Cell<usize>,
    /// Messages in all windows.
    in_flight: Cell<usize>,
    large: LargePayloads,
    /// Shards among which large payloads are divided.
    shards: usize,
}

impl Budget {
    /// A budget of which nothing is held.
    pub fn new(bytes_max: usize, large: LargePayloads, shards: usize) -> Self {
        let parts = Parts {
            bytes_max,
            charged: Cell::new(0),
            elsewhere: Cell::new(0),
            in_flight: Cell::new(0),
            large,
            shards: shards.max(1),
        };
        Self(Rc::new(parts))
    }

    /// Bytes held in accounts, and this shard's part of the large payloads.
    pub fn kept_bytes(&self) -> usize {
        self.0.charged.get() + self.large_bytes()
    }

    /// Bytes held in all, unsent ones included.
    pub fn held_bytes(&self) -> usize {
        self.0.charged.get() + self.0.elsewhere.get()
    }

    /// Bytes left.
    pub fn free_bytes(&self) -> usize {
        self.0.bytes_max.saturating_sub(self.held_bytes())
    }

    /// Looks at what is held outside of accounts: `unsent_bytes` on all connections, and large payloads.
    pub fn look(&self, unsent_bytes: usize) {
        self.0.elsewhere.set(unsent_bytes + self.large_bytes());
    }

    fn large_bytes(&self) -> usize {
        match self.0.large.bytes() {
            0 => 0,
            bytes => bytes / self.0.shards,
        }
    }

    /// Messages that were sent and are not yet acknowledged, of all clients.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.get()
    }

    /// The count of large payloads.
    pub fn large_payloads(&self) -> &LargePayloads {
        &self.0.large
    }

    /// An account of which nothing is charged yet.
    pub fn open(&self) -> Account {
        Account { budget: self.clone(), charged: 0, large: 0 }
    }
}

/// What one holder has. Dropping it gives everything back.
#[derive(Debug)]
pub struct Account {
    budget: Budget,
    /// Bytes that count against the budget: all but large payloads.
    charged: usize,
    /// Bytes of large payloads, which count once for the broker, but in full against this holder.
    large: usize,
}

impl Account {
    /// Whether the holder may have `bytes` more.
    pub fn admits(&self, bytes: usize) -> bool {
        self.weight() + bytes <= self.budget.free_bytes()
    }

    /// Bytes that count against this holder.
    pub fn weight(&self) -> usize {
        self.charged + self.large
    }

    /// Takes plain bytes; the caller has asked whether they are admitted, or must have them.
    pub fn charge(&mut self, bytes: usize) {
        self.charged += bytes;
        let charged = &self.budget.0.charged;
        charged.set(charged.get() + bytes);
    }

    /// Gives plain bytes back.
    pub fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
        let charged = &self.budget.0.charged;
        charged.set(charged.get() - bytes);
    }

    /// One more message is in flight.
    #[inline]
    pub(super) fn enter_flight(&self) {
        if !cfg!(feature = "unmetered") {
            let in_flight = &self.budget.0.in_flight;
            in_flight.set(in_flight.get() + 1);
        }
    }

    /// So many are in flight no more.
    #[inline]
    pub(super) fn leave_flight(&self, messages: usize) {
        if !cfg!(feature = "unmetered") {
            let in_flight = &self.budget.0.in_flight;
            in_flight.set(in_flight.get() - messages);
        }
    }

    /// Takes a message.
    pub fn charge_message(&mut self, message: &Message) {
        let (own, large) = message.held_bytes();
        self.large += large;
        self.charge(own + MESSAGE_OVERHEAD_BYTES);
    }

    /// Gives a message back.
    pub fn release_message(&mut self, message: &Message) {
        let (own, large) = message.held_bytes();
        self.large -= large;
        self.release(own + MESSAGE_OVERHEAD_BYTES);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.release(self.charged);
    }
}

/// What a message costs its holder, bytes.
pub fn cost_of(view: &MessageView<'_>) -> usize {
    view.counted_bytes() + MESSAGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::QoS;

    fn budget(bytes_max: usize) -> Budget {
        Budget::new(bytes_max, LargePayloads::default(), 1)
    }

    #[test]
    fn a_dropped_account_gives_everything_back() {
        let budget = budget(1000);
        let mut account = budget.open();
        account.charge(600);
        account.release(100);
        assert_eq!((account.weight(), budget.held_bytes(), budget.free_bytes()), (500, 500, 500));
        drop(account);
        assert_eq!(budget.held_bytes(), 0);
    }

    /// What a message costs is what it is charged with, and all of it is given back; a large payload weighs in full.
    #[test]
    fn a_message_is_given_back_as_it_was_charged() {
        for payload_len in [10, 10_000] {
            let budget = budget(1 << 20);
            let payload = budget.large_payloads().charge(Bytes::from(vec![0; payload_len]));
            let view = MessageView {
                topic: "topic",
                properties: &[1, 2, 3],
                payload: &payload,
                shared_payload: Some(&payload),
                qos: QoS::AtLeastOnce,
                retain: false,
                expires_at: None,
                publisher: None,
            };
            let message = Message::new(&view);
            let mut account = budget.open();
            account.charge_message(&message);
            account.charge_message(&message);
            assert_eq!(account.weight(), 2 * cost_of(&view));
            assert_eq!(cost_of(&view), 5 + 3 + payload_len + MESSAGE_OVERHEAD_BYTES);
            account.release_message(&message);
            assert_eq!(account.weight(), cost_of(&view));
            account.release_message(&message);
            assert_eq!((account.weight(), budget.held_bytes()), (0, 0));
        }
    }

    /// Case R17: a large payload counts once, however many hold it, until the last of them lets go.
    #[test]
    fn a_large_payload_is_counted_once_and_as_long_as_anybody_holds_it() {
        let budget = budget(1 << 20);
        let payload = budget.large_payloads().charge(Bytes::from(vec![0; 10_000]));
        let copies = vec![payload.clone(); 100];
        drop(payload);
        assert_eq!(budget.kept_bytes(), 10_000);
        drop(copies);
        assert_eq!(budget.kept_bytes(), 0);
    }

    #[test]
    fn unsent_bytes_count() {
        let budget = budget(1000);
        budget.look(900);
        assert!(budget.open().admits(100) && !budget.open().admits(101));
    }

    proptest! {
        /// Guilty first: whoever has no more than 1/(n+1) of the budget is never refused because of n greedy others.
        #[test]
        fn a_small_holder_is_not_refused_because_of_greedy_ones(
            greedy in 1_usize..20,
            piece in 1_usize..500,
            rounds in 1_usize..400,
        ) {
            let bytes_max = 100_000;
            let budget = budget(bytes_max);
            let mut accounts: Vec<_> = (0..greedy).map(|_| budget.open()).collect();
            for round in 0..rounds * greedy {
                let account = &mut accounts[round % greedy];
                if account.admits(piece) {
                    account.charge(piece);
                }
            }
            let small = budget.open();
            prop_assert!(small.admits((bytes_max / (greedy + 1)).saturating_sub(piece)));
            prop_assert!(budget.held_bytes() <= bytes_max);
        }
    }
}
