//! Spin: whether looking for news a little longer is worth more than sleeping at once.
//!
//! Duty: remember what became of the last spins, and advise for or against the next. Must not: read a clock, or look for
//! news. Neighbours: `driver` asks before it sleeps, and tells.
//!
//! A wakeup costs more than a message, so a spin that finds news saves CPU time and latency; one that finds none costs all of
//! its time. Which of the two it is going to be, the clients decide: who waits for an answer and goes on comes back within
//! microseconds, who publishes at a pace of its own does not.

/// Spins are worth their time while at least so many of the last eight found news.
const HITS_MIN: u32 = 3;

/// Otherwise one sleep in so many is preceded by a spin, to see whether that has changed.
const PROBE_EVERY: u8 = 32;

/// What became of the last spins.
#[derive(Debug)]
pub(super) struct SpinRecord {
    /// One bit per spin, the last one lowest: whether it found news.
    hits: u8,
    /// Sleeps without a spin since the last spin.
    skipped: u8,
}

impl SpinRecord {
    /// As if spins had been worth their time.
    pub(super) fn new() -> Self {
        Self { hits: u8::MAX, skipped: 0 }
    }

    /// Whether to spin before the sleep that is due now.
    pub(super) fn advise(&mut self) -> bool {
        self.skipped = self.skipped.saturating_add(1);
        self.hits.count_ones() >= HITS_MIN || self.skipped >= PROBE_EVERY
    }

    /// Notes whether a spin has found news.
    pub(super) fn note(&mut self, is_hit: bool) {
        self.hits = self.hits << 1 | u8::from(is_hit);
        self.skipped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `sleeps` sleeps were preceded by a spin.
    fn spins(record: &mut SpinRecord, sleeps: usize, is_hit: bool) -> usize {
        let mut spins = 0;
        for _ in 0..sleeps {
            if record.advise() {
                record.note(is_hit);
                spins += 1;
            }
        }
        spins
    }

    #[test]
    fn spins_that_find_nothing_become_rare_and_those_that_find_news_frequent_again() {
        let mut record = SpinRecord::new();
        assert_eq!(spins(&mut record, 100, true), 100);
        assert_eq!(spins(&mut record, 6, false), 6, "until too few of the last eight were hits");
        assert_eq!(spins(&mut record, 320, false), 10);
        assert_eq!(spins(&mut record, 3 * 32, true), 3, "three probes that find news are enough");
        assert_eq!(spins(&mut record, 100, true), 100);
    }

    /// News may come between the advice and the spin.
    #[test]
    fn advice_that_is_not_taken_stands() {
        let mut record = SpinRecord::new();
        assert_eq!(spins(&mut record, 6, false), 6);
        assert_eq!((0..1000).filter(|_| record.advise()).count(), 1000 - 31);
    }
}
