//! News: what reaches a shard from threads that are not shards.
//!
//! Duty: carry verdicts and new rules to a shard in order, and wake it. Must not: block, or know what the news means. Neighbours:
//! `verifier` and `start` tell; `driver` takes once per turn.

use std::sync::Arc;

use super::looking::Question;
use super::mesh::Caller;
use super::report::Tone;
use crate::auth::Policy;
use crate::id::{ConnectionId, ShardId};
use crate::limits::Limits;
use crate::shard::Verdict;
use crossbeam_channel::{Receiver, Sender, unbounded};

/// Something for a shard.
#[derive(Debug)]
pub(super) enum News {
    /// A password was checked. As many at once as questions may wait, and as shards were told before.
    Verdict {
        /// The question's number.
        ticket: u64,
        /// The question's connection.
        connection: ConnectionId,
        /// The answer.
        verdict: Verdict,
    },
    /// Rules and terms have changed.
    Rules(Arc<Policy>),
    /// Limits have changed, or what is told.
    Bounds(Arc<Limits>, Tone),
    /// Somebody wants to know something.
    Question(Question),
}

/// Where news for the shards is told.
#[derive(Clone, Debug)]
pub(super) struct NewsDesk {
    shards: Vec<Sender<News>>,
    caller: Caller,
}

/// A desk, and each shard's end of it.
pub(super) fn open_desk(shards: usize, caller: Caller) -> (NewsDesk, Vec<Receiver<News>>) {
    let (shards, ends) = (0..shards).map(|_| unbounded()).unzip();
    (NewsDesk { shards, caller }, ends)
}

impl NewsDesk {
    /// Tells one shard. One that has ended hears nothing.
    pub(super) fn tell(&self, shard: ShardId, news: News) {
        if self.shards[shard.index()].send(news).is_ok() {
            self.caller.call(shard);
        }
    }

    /// Tells all shards the same.
    pub(super) fn tell_all(&self, news: impl Fn() -> News) {
        (0..self.shards.len() as u16).for_each(|shard| self.tell(ShardId(shard), news()));
    }
}
