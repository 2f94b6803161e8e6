//! Tracing: from what taps show to whoever watches.
//!
//! Duty: know the watchers of a shard, bring each what its tap shows, and end the tap when the watcher has gone. Must not: wait for a
//! watcher: what does not fit into its channel, or is too much to be kept for it, is counted. Neighbours: `shard::Tap`
//! shows, `looking` begins, `driver` brings.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clock::wall_nanos;
use crate::shard::{Outbox, Shard, Shown, Tap};

/// Bytes of packets that wait for a watcher on a shard; what is more is counted and lost.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Something that a watcher sees.
#[derive(Debug)]
pub struct Sight {
    /// When it was over, nanoseconds since 1970.
    pub at_unix_nanos: u64,
    /// How long the turn had taken until then, nanoseconds.
    pub turn_nanos: u64,
    /// The client.
    pub client_id: Box<str>,
    /// What.
    pub what: Shown,
    /// So many sights were lost before it.
    pub lost: u64,
    /// Its part of the bytes that may wait for the watcher.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The watchers of a shard.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    watchers: Vec<Watcher>,
    last: u32,
}

#[derive(Debug)]
struct Watcher {
    number: u32,
    sights: Sender<Sight>,
    room: Arc<Semaphore>,
    lost: u64,
}

impl Watcher {
    fn show(&mut self, at_unix_nanos: u64, turn_nanos: u64, client_id: Box<str>, what: Shown) {
        let room = match Arc::clone(&self.room).try_acquire_many_owned(bytes_of(&what)) {
            Ok(room) => Some(room),
            Err(_) => {
                self.lost += 1;
                return;
            }
        };
        let lost = self.lost;
        match self.sights.try_send(Sight { at_unix_nanos, turn_nanos, client_id, what, lost, room }) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_)) => self.lost += 1,
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

fn bytes_of(what: &Shown) -> u32 {
    let bytes = match what {
        Shown::Packets { bytes, .. } => bytes.len(),
        Shown::Message { topic, payload, .. } => topic.len() + payload.len(),
        Shown::Sampled { topic, .. } => topic.len(),
        Shown::Lost(_) => 0,
    };
    // A turn shows less than that.
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Tracing {
    /// Somebody watches from now on, until the other end of `sights` is dropped.
    pub(super) fn begin(&mut self, shard: &mut Shard, tap: Tap, sights: Sender<Sight>) {
        self.end_gone(shard);
        self.last += 1;
        shard.tap(self.last, tap);
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        self.watchers.push(Watcher { number: self.last, sights, room, lost: 0 });
    }

    /// Whether somebody watches.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Brings what this turn has shown; `turn_nanos` tells how long it has taken until now.
    pub(super) fn bring(&mut self, shard: &mut Shard, outbox: &mut Outbox, turn_nanos: impl FnOnce() -> u64) {
        shard.end_taps(outbox);
        let (at_unix_nanos, turn_nanos) = if outbox.tapped.is_empty() { (0, 0) } else { (wall_nanos(), turn_nanos()) };
        for tapped in outbox.tapped.drain(..) {
            let Some(watcher) = self.watchers.iter_mut().find(|watcher| watcher.number == tapped.tap) else { continue };
            if let Shown::Lost(lost) = tapped.what {
                watcher.lost += lost;
                continue;
            }
            watcher.show(at_unix_nanos, turn_nanos, tapped.client_id, tapped.what);
        }
        self.end_gone(shard);
    }

    fn end_gone(&mut self, shard: &mut Shard) {
        self.watchers.retain(|watcher| {
            let is_gone = watcher.sights.is_closed();
            if is_gone {
                shard.untap(watcher.number);
            }
            !is_gone
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::wire::ProtocolVersion;

    #[test]
    fn what_a_watcher_does_not_take_is_counted_and_its_memory_bounded() {
        let (sights, mut seen) = channel(8);
        let mut watcher = Watcher { number: 1, sights, room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)), lost: 0 };
        let mut show = |bytes: usize| {
            let what = Shown::Packets { is_sent: false, version: ProtocolVersion::V311, bytes: vec![0; bytes] };
            watcher.show(0, 0, "c".into(), what);
        };
        (0..5).for_each(|_| show(1 << 20));
        let first = seen.try_recv().unwrap();
        show(1 << 20);
        drop(first);
        show(1 << 20);
        (0..9).for_each(|_| show(0));
        let lost: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()).map(|sight| sight.lost).collect();
        assert_eq!(lost, [0, 0, 0, 2, 0, 0, 0, 0], "two were beyond the bytes");
        show(0);
        assert_eq!(seen.try_recv().unwrap().lost, 5, "and five beyond the number");
    }
}
