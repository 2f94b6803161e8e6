//! Alarm: at most one timer that matters per deadline of a slot.
//!
//! Duty: say whether a deadline needs a timer of its own, so that a client that comes and goes does not fill the wheel: a
//! timer that is set comes early at the worst, and is set again. Must not: set timers. Neighbours: `deadline` arms and
//! hears; `connection`, `sessions` and `congestion` keep one per slot or entry.

use super::timers::Tick;
use crate::id::Millis;

/// The timer that is set for a deadline which may move.
#[derive(Debug)]
pub(super) struct Alarm {
    at: Tick,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { at: Tick::NEVER }
    }
}

impl Alarm {
    /// Whether a timer is to be set for `due`: not if one comes before it anyway.
    #[must_use]
    pub(super) fn arm(&mut self, due: Millis) -> bool {
        let due = Tick::of(due);
        let is_needed = due < self.at;
        if is_needed {
            self.at = due;
        }
        is_needed
    }

    /// A timer has come at `now`.
    pub(super) fn hear(&mut self, now: Millis) {
        if self.at.has_come(now) {
            self.at = Tick::NEVER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_on_needs_no_second_timer() {
        let mut alarm = Alarm::default();
        assert!(alarm.arm(Millis(10_000)));
        assert!(!alarm.arm(Millis(20_000)));
        assert!(!alarm.arm(Millis(10_000)));
        assert!(alarm.arm(Millis(5_000)));
        alarm.hear(Millis(4_900));
        assert!(!alarm.arm(Millis(6_000)));
        alarm.hear(Millis(5_064));
        assert!(alarm.arm(Millis(30_000)));
        assert!(!alarm.arm(Millis(u64::MAX)));
    }
}
