//! The wakeup protocol of the mesh under every interleaving and reordering that the memory model allows.
//!
//! X01 rests on it: a shard that sleeps, or that waits for room in a full channel, is woken. Remove either fence of `Flag`
//! and these tests fail. The other atomic that shards share is the cursor of a shared subscription; it is modelled too: each
//! turn is taken once, and shards that founded a group at once end with one cursor (`oldest wins`).
#![cfg(feature = "runtime")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

/// The cursor of a shared subscription, as `shard::Cursor` has it: when it was made, and the messages handed out so far.
#[derive(Clone)]
struct Cursor {
    made: (u64, usize),
    next: Arc<AtomicU64>,
}

impl Cursor {
    fn new(clock: u64, shard: usize) -> Self {
        Self { made: (clock, shard), next: Arc::new(AtomicU64::new(0)) }
    }

    /// As `Group::next`: nothing but the number itself is shared, so no stronger ordering is needed.
    fn take_turn(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// A shard's knowledge of one group: the cursors that its members brought.
struct Group {
    known: Vec<Cursor>,
}

impl Group {
    /// As `Group::refresh`: the oldest cursor of all members.
    fn cursor(&self) -> &Cursor {
        self.known.iter().min_by_key(|cursor| cursor.made).expect("a group has members")
    }
}

#[test]
fn shards_that_publish_at_once_take_every_turn_once() {
    loom::model(|| {
        let cursor = Cursor::new(1, 0);
        let publisher = {
            let cursor = cursor.clone();
            thread::spawn(move || [cursor.take_turn(), cursor.take_turn()])
        };
        let mut turns = vec![cursor.take_turn(), cursor.take_turn()];
        turns.extend(publisher.join().unwrap());
        assert!(turns[0] < turns[1] && turns[2] < turns[3], "the turns of one shard rise");
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2, 3], "no member is passed over, none is asked twice");
    });
}

/// Two shards found the group at once, each with a cursor of its own, and tell each other. Whoever has heard of both uses the
/// older; when both have, they take turns from one, whatever was handed out before.
#[test]
fn shards_that_found_a_group_at_once_end_with_the_oldest_cursor() {
    loom::model(|| {
        let inboxes = [0, 1].map(|_| Arc::new(loom::sync::Mutex::new(None::<Cursor>)));
        let shard = |own: usize, inboxes: [Arc<loom::sync::Mutex<Option<Cursor>>>; 2]| {
            let mut group = Group { known: vec![Cursor::new(5, own)] };
            *inboxes[1 - own].lock().unwrap() = Some(group.known[0].clone());
            // A message before the other's news has come, or after it.
            let heard = inboxes[own].lock().unwrap().take();
            group.known.extend(heard);
            let early = (group.cursor().made, group.cursor().take_turn());
            (group, early)
        };
        let other = {
            let inboxes = inboxes.clone();
            thread::spawn(move || shard(1, inboxes))
        };
        let (mut ours, our_turn) = shard(0, inboxes.clone());
        let (mut theirs, their_turn) = other.join().unwrap();
        assert_ne!(our_turn, their_turn, "no turn of one cursor is taken twice");
        ours.known.extend(inboxes[0].lock().unwrap().take());
        theirs.known.extend(inboxes[1].lock().unwrap().take());
        assert_eq!(ours.cursor().made, (5, 0), "the oldest wins");
        assert!(Arc::ptr_eq(&ours.cursor().next, &theirs.cursor().next), "on every shard");
        let turns = [ours.cursor().take_turn(), theirs.cursor().take_turn()];
        assert_eq!(turns[1], turns[0] + 1, "from now on messages go round strictly");
    });
}
