//! The measured window in steps: how many there are, and what happened in each.
//! Must not sleep or read clocks; `engine::run` samples. Neighbours: `score` divides its latencies alike, `outcome`.

use super::outcome::Interval;
use crate::latency::IntervalLatency;

/// Most steps of a window: what a chart can show and a table can hold.
const INTERVALS_MAX: u64 = 100;

/// Shortest step, nanoseconds: below it the scheduler's statistics of the broker are coarse. A shorter window is one step.
const INTERVAL_NS_MIN: u64 = 100_000_000;

/// Number of steps of a window of this length.
pub(super) fn intervals(window_ns: u64) -> usize {
    (window_ns / INTERVAL_NS_MIN).clamp(1, INTERVALS_MAX) as usize
}

/// The counters at the edge of two steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) at_ns: u64,
    pub(super) delivered: u64,
    pub(super) published: u64,
    /// CPU time, nanoseconds, and resident set, bytes, of the broker.
    pub(super) broker: Option<(u64, u64)>,
}

/// The steps between the edges, each with its latency.
pub(super) fn steps(edges: &[Edge], latencies: &[Option<IntervalLatency>]) -> Vec<Interval> {
    let step = |(number, pair): (usize, &[Edge])| Interval {
        from_ns: pair[0].at_ns,
        to_ns: pair[1].at_ns,
        delivered: pair[1].delivered - pair[0].delivered,
        published: pair[1].published - pair[0].published,
        latency: latencies.get(number).copied().flatten(),
        // A thread that ends takes its CPU time along; a sum that has shrunk says nothing, least of all 0.
        broker_cpu_ns: pair[0].broker.zip(pair[1].broker).and_then(|(from, to)| to.0.checked_sub(from.0)),
        broker_rss_bytes: pair[1].broker.map(|(_, rss_bytes)| rss_bytes),
    };
    edges.windows(2).enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_step_per_100_ms_and_at_most_100() {
        let cases = [(1, 1), (80, 1), (199, 1), (200, 2), (3_000, 30), (10_000, 100), (60_000, 100)];
        for (window_ms, count) in cases {
            assert_eq!(intervals(window_ms * 1_000_000), count, "{window_ms} ms");
        }
    }

    #[test]
    fn cpu_time_that_shrank_is_unknown_and_not_zero() {
        let edge = |cpu_ns| Edge { at_ns: 0, delivered: 0, published: 0, broker: Some((cpu_ns, 1)) };
        let cpu = |from, to| steps(&[edge(from), edge(to)], &[])[0].broker_cpu_ns;
        assert_eq!((cpu(5, 3), cpu(5, 5), cpu(5, 8)), (None, Some(0), Some(3)));
    }

    #[test]
    fn steps_are_differences_of_edges() {
        let edge = |number: u64| Edge {
            at_ns: number * 100,
            delivered: number * number,
            published: number,
            broker: (number > 0).then_some((number * 7, number * 1024)),
        };
        let latency = IntervalLatency { count: 3, p50_us: 1.0, p99_us: 2.0, max_us: 3.0 };
        let steps = steps(&[edge(0), edge(1), edge(2)], &[None, Some(latency)]);
        assert_eq!(steps.iter().map(|step| step.delivered).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(steps.iter().map(|step| step.broker_cpu_ns).collect::<Vec<_>>(), [None, Some(7)]);
        assert_eq!((steps[0].latency, steps[1].latency), (None, Some(latency)));
        assert_eq!((steps[1].from_ns, steps[1].to_ns, steps[1].broker_rss_bytes), (100, 200, Some(2048)));
    }
}
