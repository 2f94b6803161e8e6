//! The wakeup protocol of the mesh under every interleaving and reordering that the memory model allows.
//!
//! X01 rests on it: a shard that sleeps, or that waits for room in a full channel, is woken. Remove either fence of `Flag`
//! and these tests fail.
#![cfg(feature = "runtime")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/runtime/flag.rs"]
#[allow(dead_code, reason = "the models use what they need of it")]
mod flag;

use flag::Flag;

/// A shard, as far as waking it goes. The channel is a counter with no more ordering than a channel gives.
struct Shard {
    queued: AtomicUsize,
    is_sleeping: Flag,
    is_rung: AtomicBool,
}

impl Shard {
    fn new() -> Self {
        Self { queued: AtomicUsize::new(0), is_sleeping: Flag::new(), is_rung: AtomicBool::new(false) }
    }

    fn wake(&self) {
        if self.is_sleeping.take() {
            self.is_rung.store(true, Ordering::Release);
        }
    }
}

#[test]
fn a_shard_that_goes_to_sleep_sees_the_batch_or_is_woken() {
    loom::model(|| {
        let shard = Arc::new(Shard::new());
        let sender = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || {
                shard.queued.store(1, Ordering::Release);
                shard.wake();
            })
        };
        shard.is_sleeping.raise();
        let sees_batch = shard.queued.load(Ordering::Acquire) > 0;
        sender.join().unwrap();
        assert!(sees_batch || shard.is_rung.load(Ordering::Acquire), "it would sleep for ever beside a batch");
    });
}

#[test]
fn of_two_senders_one_wakes_and_none_is_missed() {
    let mut model = loom::model::Builder::new();
    // Three threads have too many ways; losing a wakeup takes one switch.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shard = Arc::new(Shard::new());
        let rings = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (shard, rings) = (Arc::clone(&shard), Arc::clone(&rings));
                thread::spawn(move || {
                    shard.queued.fetch_add(1, Ordering::AcqRel);
                    if shard.is_sleeping.take() {
                        rings.fetch_add(1, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        shard.is_sleeping.raise();
        let seen = shard.queued.load(Ordering::Acquire);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let rings = rings.load(Ordering::Acquire);
        assert!(rings <= 1, "one ring is enough");
        assert!(seen == 2 || rings == 1, "a batch came after the last look, and nobody rang");
    });
}

/// The sender finds no room, says so, tries again and goes to sleep; the receiver makes room meanwhile.
#[test]
fn a_sender_that_waits_for_room_sees_the_room_or_is_woken() {
    loom::model(|| {
        let sender = Arc::new(Shard::new());
        let has_room = Arc::new(AtomicBool::new(false));
        let is_blocked = Arc::new(Flag::new());
        let receiver = {
            let (sender, has_room, is_blocked) = (Arc::clone(&sender), Arc::clone(&has_room), Arc::clone(&is_blocked));
            thread::spawn(move || {
                has_room.store(true, Ordering::Release);
                if is_blocked.take() {
                    sender.wake();
                }
            })
        };
        is_blocked.raise();
        let has_sent = has_room.load(Ordering::Acquire);
        let mut goes_on = has_sent;
        if !has_sent {
            sender.is_sleeping.raise();
            goes_on = !is_blocked.is_up();
        }
        receiver.join().unwrap();
        assert!(goes_on || sender.is_rung.load(Ordering::Acquire), "it would wait for ever beside an empty channel");
    });
}
