//! Alarm: at most one timer that matters per deadline of a slot.
//!
//! Duty: say whether a deadline needs a timer of its own, so that a client that comes and goes does not fill the wheel: a
//! timer that is set comes early at the worst, and is set again. Must not: know the wheel. Neighbours: `deadline` arms and
//! hears; `connection`, `sessions` and `congestion` keep one per slot or entry.

use crate::id::Millis;

/// The timer that is set for a deadline which may move.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    at: Option<Millis>,
}

impl Alarm {
    /// Whether a timer is to be set for `due`: not if one comes before it anyway.
    #[must_use]
    pub(super) fn arm(&mut self, due: Millis) -> bool {
        let is_needed = self.at.is_none_or(|at| at > due);
        if is_needed {
            self.at = Some(due);
        }
        is_needed
    }

    /// A timer has come at `now`.
    pub(super) fn hear(&mut self, now: Millis) {
        if self.at.is_some_and(|at| at <= now) {
            self.at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_on_needs_no_second_timer() {
        let mut alarm = Alarm::default();
        assert!(alarm.arm(Millis(100)));
        assert!(!alarm.arm(Millis(200)));
        assert!(!alarm.arm(Millis(100)));
        assert!(alarm.arm(Millis(50)));
        alarm.hear(Millis(49));
        assert!(!alarm.arm(Millis(60)));
        alarm.hear(Millis(50));
        assert!(alarm.arm(Millis(300)));
    }
}
