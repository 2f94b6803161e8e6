//! Latencies of one thread, from the intended send time to the receive call that brought the message.
//! Must not read a clock. Neighbours: `engine::subscriber` records, `report` reads percentiles.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency kept apart, nanoseconds (100 s); longer ones count as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;

/// A histogram that takes runs of equal values in one step: messages stamped together arrive together.
pub struct LatencyRecorder {
    histogram: Histogram<u64>,
    value_ns: u64,
    count: u64,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        // The constants satisfy the only conditions: low >= 1, high >= 2 * low, at most 5 digits.
        let histogram = Histogram::new_with_bounds(64, LATENCY_NS_MAX, 3).expect("constant bounds are valid");
        Self { histogram, value_ns: 0, count: 0 }
    }
}

impl LatencyRecorder {
    /// Records one message.
    #[inline]
    pub fn record(&mut self, latency_ns: u64) {
        if latency_ns != self.value_ns {
            self.flush();
            self.value_ns = latency_ns;
        }
        self.count += 1;
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.value_ns, self.count);
            self.count = 0;
        }
    }

    /// Adds all that another thread recorded.
    pub fn add(&mut self, mut other: Self) {
        other.flush();
        self.flush();
        // Both have the same bounds, so nothing can be out of range.
        self.histogram.add(&other.histogram).expect("equal bounds");
    }

    /// The percentiles; `None` when nothing was recorded.
    pub fn summary(&mut self) -> Option<LatencySummary> {
        self.flush();
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |percentile| us(self.histogram.value_at_percentile(percentile));
        (!self.histogram.is_empty()).then(|| LatencySummary {
            count: self.histogram.len(),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: us(self.histogram.max()),
        })
    }
}

/// Percentiles of end-to-end latency, microseconds, three significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Deliveries measured.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p99_9_us: f64,
    /// 99.99 %.
    pub p99_99_us: f64,
    /// Largest.
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_single_values_give_the_same_percentiles() {
        let mut one = LatencyRecorder::default();
        let mut two = LatencyRecorder::default();
        for value in [1_000, 1_000, 1_000, 9_000] {
            one.record(value);
        }
        for value in [1_000, 9_000, 1_000, 1_000] {
            two.record(value);
        }
        let summary = one.summary().expect("four values");
        assert_eq!(Some(summary), two.summary());
        assert_eq!((summary.count, summary.p50_us.round(), summary.max_us.round()), (4, 1.0, 9.0));
    }

    #[test]
    fn nothing_recorded_has_no_percentiles() {
        assert_eq!(LatencyRecorder::default().summary(), None);
    }

    #[test]
    fn threads_add_up() {
        let mut all = LatencyRecorder::default();
        for value in [2_000, 4_000] {
            let mut one = LatencyRecorder::default();
            one.record(value);
            all.add(one);
        }
        assert_eq!(all.summary().map(|summary| summary.count), Some(2));
    }
}
