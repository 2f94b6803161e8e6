//! Tracing: from what taps show to whoever watches.
//!
//! Duty: know the watchers of a shard, bring each what its tap shows, and end the tap when the watcher has gone. Must not: wait for a
//! watcher: what does not fit into its channel is counted. Neighbours: `shard::Tap` shows, `looking` begins, `driver` brings.

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::clock::wall_nanos;
use crate::shard::{Outbox, Shard, Shown, Tap};

/// Something that a watcher sees.
#[derive(Clone, Debug)]
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
    lost: u64,
}

impl Tracing {
    /// Somebody watches from now on, until the other end of `sights` is dropped.
    pub(super) fn begin(&mut self, shard: &mut Shard, tap: Tap, sights: Sender<Sight>) {
        self.end_gone(shard);
        self.last += 1;
        shard.tap(self.last, tap);
        self.watchers.push(Watcher { number: self.last, sights, lost: 0 });
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
            let (client_id, what, lost) = (tapped.client_id, tapped.what, watcher.lost);
            let sight = Sight { at_unix_nanos, turn_nanos, client_id, what, lost };
            match watcher.sights.try_send(sight) {
                Ok(()) => watcher.lost = 0,
                Err(TrySendError::Full(_)) => watcher.lost += 1,
                Err(TrySendError::Closed(_)) => {}
            }
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
