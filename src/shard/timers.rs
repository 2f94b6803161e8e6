//! A coarse timing wheel: deadlines as data.
//!
//! Duty: keep deadlines, say when the next is, give back those that have come, at most one slot late. Must not: read a
//! clock, or know whether a deadline still matters: whoever set it checks when it comes, so none is ever cancelled.
//! Neighbours: `deadline` acts on them.

use crate::id::{Millis, SessionId};

/// A moment as coarse as the wheel, in half the bytes; after eight years there is only [`Tick::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u32);

impl Tick {
    /// Later than every deadline.
    pub(super) const NEVER: Self = Self(u32::MAX);

    /// The first tick that is not before `due`: a deadline never comes early.
    pub(super) fn of(due: Millis) -> Self {
        Self(u32::try_from(due.0.div_ceil(SLOT_MILLIS)).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }

    /// Whether it has come.
    pub(super) fn has_come(self, now: Millis) -> bool {
        u64::from(self.0) <= now.0 / SLOT_MILLIS
    }
}

/// Width of a slot, milliseconds: how late a deadline may come.
const SLOT_MILLIS: u64 = 64;
/// Slots; a deadline beyond the horizon is looked at once per round.
const SLOTS: usize = 2048;
const WORDS: usize = SLOTS / 64;

/// What a deadline is about.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// The connection that has this slot must have said something.
    Silence(u32),
    /// The disconnected session that has this slot ends.
    SessionExpiry(u32),
    /// The delayed will of the session that has this slot is published.
    WillDelay(u32),
    /// Publishers have waited long enough for a session with a long queue.
    Backpressure(SessionId),
    /// The retained message of a topic ends. The timer outlives it, so it must not hold the message.
    RetainedSweep,
}

/// The wheel.
#[derive(Debug)]
pub(super) struct Timers {
    slots: Vec<Vec<(Tick, Timer)>>,
    /// One bit per slot that holds something.
    filled: [u64; WORDS],
    /// Slot number (not index) that is looked at next.
    at: u64,
}

impl Timers {
    pub(super) fn new() -> Self {
        Self { slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(), filled: [0; WORDS], at: 0 }
    }

    /// Sets a deadline. One in the past comes with the next look.
    pub(super) fn set(&mut self, due: Millis, timer: Timer) {
        if due.0 == u64::MAX {
            return;
        }
        self.place(Tick::of(due), timer);
    }

    fn place(&mut self, due: Tick, timer: Timer) {
        let index = slot_index(u64::from(due.0).max(self.at));
        self.slots[index].push((due, timer));
        self.filled[index / 64] |= 1 << (index % 64);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.iter().map(Vec::len).sum()
    }

    /// When to look again, if anything is set.
    pub(super) fn next(&self) -> Option<Millis> {
        let start = slot_index(self.at);
        (0..=WORDS).find_map(|step| {
            let word_index = (start / 64 + step) % WORDS;
            let mut word = self.filled[word_index];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            } else if step == WORDS {
                word &= !(u64::MAX << (start % 64));
            }
            if word == 0 {
                return None;
            }
            let index = word_index * 64 + word.trailing_zeros() as usize;
            let ahead = (index + SLOTS - start) % SLOTS;
            Some(Millis((self.at + ahead as u64) * SLOT_MILLIS))
        })
    }

    /// Moves what has come by `now` into `due`.
    pub(super) fn advance(&mut self, now: Millis, due: &mut Vec<Timer>) {
        let until = now.0 / SLOT_MILLIS;
        if until < self.at {
            return;
        }
        let passed = usize::try_from(until - self.at + 1).unwrap_or(SLOTS).min(SLOTS);
        let first = self.at;
        self.at = until + 1;
        for number in first..first + passed as u64 {
            let index = slot_index(number);
            if self.filled[index / 64] & (1 << (index % 64)) == 0 {
                continue;
            }
            self.filled[index / 64] &= !(1 << (index % 64));
            for (deadline, timer) in std::mem::take(&mut self.slots[index]) {
                if deadline.has_come(now) {
                    due.push(timer);
                } else {
                    self.place(deadline, timer);
                }
            }
        }
    }
}

fn slot_index(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timer(slot: u32) -> Timer {
        Timer::Silence(slot)
    }

    fn slot(timer: &Timer) -> u32 {
        match timer {
            Timer::Silence(slot) => *slot,
            _ => unreachable!("only keep alives are set here"),
        }
    }

    #[test]
    fn an_empty_wheel_wants_no_look() {
        assert_eq!(Timers::new().next(), None);
    }

    /// Nobody wakes for nothing: a deadline is looked at when it has come, and once per round before.
    #[test]
    fn a_deadline_is_looked_at_once_per_round() {
        for (due, looks) in [(10_000, vec![10_048]), (200_000, vec![68_928, 200_000])] {
            let mut timers = Timers::new();
            timers.set(Millis(due), timer(1));
            let mut looked = Vec::new();
            while let Some(Millis(now)) = timers.next() {
                looked.push(now);
                timers.advance(Millis(now), &mut Vec::new());
            }
            assert_eq!(looked, looks);
        }
    }

    proptest! {
        /// Each deadline comes once, never early, and at most one slot late if the wheel is looked at when it says.
        #[test]
        fn deadlines_come_once_and_in_time(dues in proptest::collection::vec(0_u64..400_000, 1..60)) {
            let mut timers = Timers::new();
            for (index, &due) in dues.iter().enumerate() {
                timers.set(Millis(due), timer(u32::try_from(index).expect("few")));
            }
            let mut came = Vec::new();
            while let Some(now) = timers.next() {
                let mut due = Vec::new();
                timers.advance(now, &mut due);
                for timer in due {
                    let index = slot(&timer);
                    let deadline = dues[index as usize];
                    prop_assert!(deadline <= now.0 && now.0 < deadline + SLOT_MILLIS);
                    came.push(index);
                }
            }
            came.sort_unstable();
            prop_assert_eq!(came, (0..u32::try_from(dues.len()).expect("few")).collect::<Vec<_>>());
        }
    }
}
