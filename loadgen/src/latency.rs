//! Latencies of one thread, from the intended send time to the receive call that brought the message: of the whole
//! window, and of each interval of it. Must not read a clock. Neighbours: `engine::score` records, `report` reads.

use std::ops::Range;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency kept apart, nanoseconds (100 s); longer ones count as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;

/// Steps of the percentile curve for each halving of the distance to 100 %.
const CURVE_STEPS: u32 = 5;

/// A histogram that takes runs of equal values in one step: messages stamped together arrive together.
pub struct LatencyRecorder {
    histogram: Histogram<u64>,
    /// One small histogram for each interval, two significant digits; memory that is never written costs nothing.
    intervals: Vec<Histogram<u64>>,
    interval_ns: u64,
    /// The end of the last interval.
    end_ns: u64,
    /// The interval of the last arrival, and when it begins and ends.
    current: usize,
    current_ns: Range<u64>,
    value_ns: u64,
    count: u64,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self {
            histogram: histogram(3),
            intervals: Vec::new(),
            interval_ns: 1,
            end_ns: 0,
            current: 0,
            current_ns: 0..u64::MAX,
            value_ns: 0,
            count: 0,
        }
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    // The constants satisfy the only conditions: low >= 1, high >= 2 * low, at most 5 digits.
    Histogram::new_with_bounds(64, LATENCY_NS_MAX, digits).expect("constant bounds are valid")
}

impl LatencyRecorder {
    /// Tells arrivals in `window_ns` apart by interval from now on: `intervals` of equal length, at least 1.
    pub fn divide(&mut self, window_ns: Range<u64>, intervals: usize) {
        self.intervals = (0..intervals).map(|_| histogram(2)).collect();
        self.interval_ns = ((window_ns.end - window_ns.start) / intervals as u64).max(1);
        self.end_ns = window_ns.end;
        // Before the first arrival in the window nothing belongs to any interval.
        (self.current, self.current_ns) = (intervals, 0..window_ns.start);
    }

    /// Records one message that arrived at `now_ns`; each call's is at least as late as the one's before.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, now_ns: u64) {
        if latency_ns != self.value_ns || now_ns >= self.current_ns.end {
            self.flush();
            self.value_ns = latency_ns;
            if now_ns >= self.current_ns.end {
                self.advance(now_ns);
            }
        }
        self.count += 1;
    }

    /// Finds the interval of `now_ns`; behind the window there is none.
    #[cold]
    fn advance(&mut self, now_ns: u64) {
        let begin_ns = self.end_ns - self.interval_ns * self.intervals.len() as u64;
        let last = self.intervals.len().saturating_sub(1);
        if now_ns >= self.end_ns {
            (self.current, self.current_ns) = (self.intervals.len(), self.end_ns..u64::MAX);
            return;
        }
        // The remainder of the division, less than one nanosecond per interval, goes to the first interval.
        self.current = ((now_ns.saturating_sub(begin_ns) / self.interval_ns) as usize).min(last);
        let from_ns = begin_ns + self.current as u64 * self.interval_ns;
        self.current_ns = from_ns..from_ns + self.interval_ns;
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.value_ns, self.count);
            if let Some(interval) = self.intervals.get_mut(self.current) {
                interval.saturating_record_n(self.value_ns, self.count);
            }
            self.count = 0;
        }
    }

    /// Adds all that another thread recorded; both were divided alike, or one of them not at all.
    pub fn add(&mut self, mut other: Self) {
        other.flush();
        self.flush();
        // Both have the same bounds, so nothing can be out of range.
        self.histogram.add(&other.histogram).expect("equal bounds");
        let known = self.intervals.len().min(other.intervals.len());
        let rest = other.intervals.split_off(known);
        for (mine, other) in self.intervals.iter_mut().zip(&other.intervals) {
            mine.add(other).expect("equal bounds");
        }
        self.intervals.extend(rest);
    }

    /// The percentiles; `None` when nothing was recorded.
    pub fn summary(&mut self) -> Option<LatencySummary> {
        self.flush();
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

    /// The percentile curve, ascending, with more points towards 100 %; empty when nothing was recorded.
    pub fn curve(&mut self) -> Vec<CurvePoint> {
        self.flush();
        let steps = self.histogram.iter_quantiles(CURVE_STEPS);
        let points = steps.map(|step| CurvePoint {
            percentile: step.quantile_iterated_to() * 1e2,
            latency_us: us(step.value_iterated_to().min(self.histogram.max())),
        });
        if self.histogram.is_empty() { Vec::new() } else { points.collect() }
    }

    /// For each interval its percentiles; `None` where nothing was recorded.
    pub fn intervals(&mut self) -> Vec<Option<IntervalLatency>> {
        self.flush();
        let summary = |interval: &Histogram<u64>| IntervalLatency {
            count: interval.len(),
            p50_us: us(interval.value_at_percentile(50.0)),
            p99_us: us(interval.value_at_percentile(99.0)),
            max_us: us(interval.max()),
        };
        self.intervals.iter().map(|interval| (!interval.is_empty()).then(|| summary(interval))).collect()
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// A point of the percentile curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share of the deliveries that were at most as late, 0 to 100 %.
    pub percentile: f64,
    /// Their latency, microseconds.
    pub latency_us: f64,
}

/// Latency of what arrived in one interval, microseconds, two significant digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalLatency {
    /// Deliveries measured.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// Largest.
    pub max_us: f64,
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_and_single_values_give_the_same_percentiles() {
        let mut one = LatencyRecorder::default();
        let mut two = LatencyRecorder::default();
        for value in [1_000, 1_000, 1_000, 9_000] {
            one.record(value, 0);
        }
        for value in [1_000, 9_000, 1_000, 1_000] {
            two.record(value, 0);
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
            one.record(value, 0);
            all.add(one);
        }
        assert_eq!(all.summary().map(|summary| summary.count), Some(2));
    }

    #[test]
    fn a_value_counts_in_the_interval_of_its_arrival_and_once_in_the_whole() {
        let mut recorder = LatencyRecorder::default();
        recorder.divide(1_000..5_000, 4);
        // Equal values in a row, across the edges: before the window, first, first, third, behind it.
        for now_ns in [999, 1_000, 1_999, 3_000, 5_000] {
            recorder.record(640, now_ns);
        }
        let counts: Vec<_> = recorder.intervals().iter().map(|interval| interval.map_or(0, |it| it.count)).collect();
        assert_eq!(counts, [2, 0, 1, 0]);
        assert_eq!(recorder.summary().map(|summary| summary.count), Some(5));
    }

    #[test]
    fn a_recorder_that_is_not_divided_has_no_intervals_and_takes_those_of_others() {
        let (mut all, mut one) = (LatencyRecorder::default(), LatencyRecorder::default());
        assert_eq!(all.intervals(), []);
        one.divide(0..10, 2);
        one.record(5_000, 7);
        all.add(one);
        let latency = all.intervals()[1].expect("one value");
        assert_eq!((latency.count, latency.max_us.round()), (1, 5.0));
    }

    #[test]
    fn the_curve_ascends_to_100_percent_and_the_largest_value() {
        let mut recorder = LatencyRecorder::default();
        assert_eq!(recorder.curve(), []);
        (1..=1_000).for_each(|value| recorder.record(value * 1_000, 0));
        let curve = recorder.curve();
        assert!(curve.is_sorted_by(|a, b| a.percentile <= b.percentile && a.latency_us <= b.latency_us));
        let max_us = recorder.summary().map(|summary| summary.max_us);
        assert_eq!(curve.last().map(|point| (point.percentile, Some(point.latency_us))), Some((100.0, max_us)));
    }

    proptest! {
        /// Whatever arrives when, over however many threads: each interval counts exactly what arrived in it.
        #[test]
        fn intervals_of_all_threads_equal_a_naive_count(
            threads in proptest::collection::vec(proptest::collection::vec((0u64..700, 0u64..5), 0..50), 1..4),
            intervals in 1usize..7,
        ) {
            let window_ns = 100..541;
            let interval_ns = 441 / intervals as u64;
            let begin_ns = 541 - interval_ns * intervals as u64;
            let mut naive = vec![0; intervals];
            let mut all = LatencyRecorder::default();
            for mut arrivals in threads {
                arrivals.sort_by_key(|arrival| arrival.0);
                let mut one = LatencyRecorder::default();
                one.divide(window_ns.clone(), intervals);
                for (now_ns, latency) in arrivals {
                    one.record(latency * 1_000, now_ns);
                    if window_ns.contains(&now_ns) {
                        naive[(now_ns.saturating_sub(begin_ns) / interval_ns) as usize] += 1;
                    }
                }
                all.add(one);
            }
            let counts: Vec<_> = all.intervals().iter().map(|interval| interval.map_or(0, |it| it.count)).collect();
            prop_assert_eq!(counts, naive);
        }
    }
}
