//! Announcer: `$SYS` at its interval.
//!
//! Duty: ask the shards for their figures, wait for all answers, have shard 0 publish what has changed, retained. Must not:
//! block the main thread, whose waits it only shortens. Neighbours: `serving` calls it; `sys` knows names and texts; `board` carries.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::{Board, Order};
use super::mesh::Caller;
use super::sys::Sys;
use crate::message::{Message, MessageView};
use crate::wire::QoS;

/// How soon to look for answers after asking, and again if some are missing.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);

const PAGE_BYTES: u64 = 4096;

/// Publishes `$SYS` at its interval.
#[derive(Debug)]
pub(super) struct Announcer {
    board: Arc<Board>,
    caller: Caller,
    sys: Sys,
    interval: Duration,
    started: Instant,
    published: Instant,
    next: Instant,
    is_asking: bool,
    heap_most: u64,
}

impl Announcer {
    /// An announcer that begins now.
    pub(super) fn new(board: Arc<Board>, caller: Caller, interval_secs: u32) -> Self {
        let now = Instant::now();
        let interval = Duration::from_secs(interval_secs.into());
        Self {
            board,
            caller,
            sys: Sys::default(),
            interval,
            started: now,
            published: now,
            next: now,
            is_asking: false,
            heap_most: 0,
        }
    }

    /// When to call [`Self::act`].
    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// Asks, or publishes what was answered.
    pub(super) fn act(&mut self, now: Instant) {
        if !self.is_asking {
            self.is_asking = true;
            self.board.tell(0, []);
            self.caller.call_all();
        } else if let Some(figures) = self.board.figures() {
            self.is_asking = false;
            let elapsed_secs = (now - self.published).as_secs_f64();
            self.published = now;
            let heap = self.heap();
            let changed = self.sys.changed(&figures, (now - self.started).as_secs(), elapsed_secs, heap);
            self.board.tell(0, changed.iter().map(|(topic, text)| Order::Announce(message_of(topic, text))));
            self.caller.call_all();
            self.next = now + self.interval;
            return;
        }
        self.next = now + ANSWER_PAUSE;
    }

    /// Resident memory now, and the most that was seen, bytes.
    fn heap(&mut self) -> Option<(u64, u64)> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?;
        let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
        let bytes = resident * PAGE_BYTES;
        self.heap_most = self.heap_most.max(bytes);
        Some((bytes, self.heap_most))
    }
}

/// Retained, so that who subscribes hears it at once.
fn message_of(topic: &str, text: &str) -> Message {
    Message::new(&MessageView {
        topic,
        properties: &[],
        payload: text.as_bytes(),
        shared_payload: None,
        qos: QoS::AtMostOnce,
        retain: true,
        expires_at: None,
        publisher: None,
    })
}
