//! The load: topics, what each message is, and how far every topic is.
//!
//! Duty: names and payloads by number; the figures that publishers and subscribers share. Must not: know a socket. Neighbours: all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Publishers; those from [`QOS_2_FROM`] on send QoS 2.
pub(crate) const PUBLISHERS: usize = 8;
pub(crate) const QOS_2_FROM: usize = 5;

/// Topics of each; those from [`RETAINED_FROM`] on are retained.
pub(crate) const TOPICS: usize = 8;
pub(crate) const RETAINED_FROM: usize = 6;

pub(crate) const TOPICS_IN_ALL: usize = PUBLISHERS * TOPICS;

/// One in so many messages is larger than what a broker may copy lightly.
const LARGE_EVERY: u64 = 2048;
const LARGE_BYTES: usize = 5000;

/// The name of a topic: `k/PUBLISHER/TOPIC`, or `r/..` for one that is retained.
pub(crate) fn name(topic: usize) -> String {
    let letter = if is_retained(topic) { 'r' } else { 'k' };
    format!("{letter}/{:02}/{:02}", topic / TOPICS, topic % TOPICS)
}

pub(crate) fn is_retained(topic: usize) -> bool {
    topic % TOPICS >= RETAINED_FROM
}

/// The topic of such a name.
pub(crate) fn topic_of(name: &[u8]) -> Option<usize> {
    let number = |tens: u8, ones: u8| usize::from(tens.wrapping_sub(b'0')) * 10 + usize::from(ones.wrapping_sub(b'0'));
    let &[b'k' | b'r', b'/', a, b, b'/', c, d] = name else { return None };
    let topic = number(a, b) * TOPICS + number(c, d);
    (topic < TOPICS_IN_ALL).then_some(topic)
}

/// Writes the payload of a message into `out`: its number, and bytes that follow from it.
pub(crate) fn put_payload(sequence: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&sequence.to_be_bytes());
    let bytes = if sequence.is_multiple_of(LARGE_EVERY) { LARGE_BYTES } else { 16 + sequence as usize % 64 };
    out.resize(bytes, sequence as u8);
}

/// The number of a message; `None` if its payload is not the one that was sent.
pub(crate) fn sequence_of(payload: &[u8], spare: &mut Vec<u8>) -> Option<u64> {
    let sequence = u64::from_be_bytes(*payload.first_chunk()?);
    put_payload(sequence, spare);
    (spare == payload).then_some(sequence)
}

/// What all threads see. Topics by number; messages of a topic count from 1.
pub(crate) struct Board {
    /// The last message of each topic that was given to a socket.
    pub(crate) sent: Vec<AtomicU64>,
    /// The last that was acknowledged: PUBACK or PUBREC.
    pub(crate) acknowledged: Vec<AtomicU64>,
    /// No publisher begins a new message.
    pub(crate) is_ending: AtomicBool,
    /// No publisher has anything left.
    pub(crate) is_all_sent: AtomicBool,
    /// How long what does not come is waited for.
    pub(crate) patience: Duration,
}

impl Board {
    pub(crate) fn new(patience: Duration) -> Self {
        let zeros = || std::iter::repeat_with(AtomicU64::default).take(TOPICS_IN_ALL).collect();
        Self {
            sent: zeros(),
            acknowledged: zeros(),
            is_ending: AtomicBool::new(false),
            is_all_sent: AtomicBool::new(false),
            patience,
        }
    }

    pub(crate) fn acknowledged_in_all(&self) -> u64 {
        self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A sequence of numbers from a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
