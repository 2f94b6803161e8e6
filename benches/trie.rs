//! What one match costs: nanoseconds per match and bytes per filter, at three sizes and three mixes of filters, and
//! nanoseconds per validation of a topic name.
//!
//! Duty: print numbers to compare before and after a change. Must not: judge them. Neighbours: `src/topic`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use ringmq::topic::{SubscriptionTrie, TopicFilter, TopicLimits, TopicName};

const MATCHES: usize = 1_000_000;
const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

fn main() {
    measure_validation();
    println!(
        "{:>9} {:>6} {:>9} {:>9} {:>12} {:>12}",
        "filters", "mix", "ns/match", "ns/insert", "hits/match", "bytes/filter"
    );
    for filters in [1_000, 100_000, 1_000_000] {
        measure("exact", filters, |device| format!("site/{}/device/{device}/temperature", device % 100));
        measure("plus", filters, |device| format!("site/+/device/{device}/+"));
        measure("hash", filters, |device| format!("site/{}/device/{device}/#", device % 100));
        measure("mixed", filters, |device| match device % 10 {
            0 => format!("site/+/device/{device}/temperature"),
            1 => format!("site/{}/device/{device}/#", device % 100),
            _ => format!("site/{}/device/{device}/temperature", device % 100),
        });
    }
}

fn measure_validation() {
    for text in ["a/b", "site/42/device/1234567/temp", &"level-of-some-length/".repeat(10)] {
        let start = Instant::now();
        for _ in 0..MATCHES {
            let _ = black_box(TopicName::new(black_box(text), LIMITS));
        }
        println!("validate {} bytes: {:.1} ns", text.len(), nanos_each(start, MATCHES));
    }
}

fn measure(mix: &str, filters: usize, text_of: impl Fn(usize) -> String) {
    let texts: Vec<String> = (0..filters).map(text_of).collect();
    let topics: Vec<String> = (0..MATCHES)
        .map(|turn| turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % filters)
        .map(|device| format!("site/{}/device/{device}/temperature", device % 100))
        .collect();
    let bytes_before = resident_bytes();
    let mut trie = SubscriptionTrie::<u64, u32>::new(0x5EED);
    let start = Instant::now();
    for (device, text) in texts.iter().enumerate() {
        trie.insert(TopicFilter::trusted(text), device as u64, 0);
    }
    let ns_insert = nanos_each(start, filters);
    let bytes = resident_bytes().saturating_sub(bytes_before);
    let mut hits = 0_usize;
    let start = Instant::now();
    for topic in &topics {
        trie.for_each_match(TopicName::trusted(topic), |key, _| {
            black_box(key);
            hits += 1;
        });
    }
    let ns_match = nanos_each(start, MATCHES);
    let hits = hits as f64 / MATCHES as f64;
    println!("{filters:>9} {mix:>6} {ns_match:>9.0} {ns_insert:>9.0} {hits:>12.2} {:>12}", bytes / filters);
}

fn nanos_each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Resident memory of this process, bytes; 0 where the kernel does not say.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
