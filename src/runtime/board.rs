//! Board: what the main thread and the shards tell each other, seldom.
//!
//! Duty: orders from the main thread to one shard, and figures of each shard when they are asked for. Must not: be looked at
//! per message: a turn reads one number. Neighbours: `start` and `sys` tell and ask, and wake the shards by the mesh's `Caller`;
//! `driver` answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::report::Tally;
use crate::message::Message;
use crate::shard::{Counters, Gauges};

/// What a shard is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Publish this in the broker's own name.
    Announce(Message),
}

/// What a shard and its driver have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Of the shard.
    pub counters: Counters,
    /// Of the shard.
    pub gauges: Gauges,
    /// Packets other than PUBLISH that were sent.
    pub control_packets_sent: u64,
    /// Bytes of all packets received.
    pub bytes_received: u64,
    /// Bytes of all packets sent.
    pub bytes_sent: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// How often the driver met a bound.
    pub tally: Tally,
    /// Turns.
    pub turns: u64,
    /// Batches from other shards.
    pub batches_received: u64,
    /// Batches to other shards.
    pub batches_sent: u64,
    /// Batches from other shards that wait to be taken.
    pub batches_waiting: usize,
}

/// The places of all shards.
#[derive(Debug)]
pub(super) struct Board {
    /// Rises whenever somebody is to look.
    news: AtomicU64,
    places: Box<[Mutex<Place>]>,
}

#[derive(Debug, Default)]
struct Place {
    orders: Vec<Order>,
    figures: Figures,
    /// The news that the figures answer.
    answers: u64,
}

impl Board {
    /// A board for so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { news: AtomicU64::new(0), places: std::iter::repeat_with(Mutex::default).take(shards).collect() }
    }

    /// How much has been told and asked so far.
    pub(super) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// Gives a shard its orders, and asks all of them for their figures. Whoever calls wakes the shards after it.
    pub(super) fn tell(&self, shard: usize, orders: impl IntoIterator<Item = Order>) {
        self.place(shard).orders.extend(orders);
        self.news.fetch_add(1, Ordering::Release);
    }

    /// The orders for a shard, which leaves its figures in exchange. `news` is what [`Self::news`] has said.
    pub(super) fn exchange(&self, shard: usize, news: u64, figures: Figures) -> Vec<Order> {
        let mut place = self.place(shard);
        place.figures = figures;
        place.answers = news;
        std::mem::take(&mut place.orders)
    }

    /// The figures of all shards, if all have answered what was told last.
    pub(super) fn figures(&self) -> Option<Vec<Figures>> {
        let news = self.news();
        let of_shard = |shard| {
            let place = self.place(shard);
            (place.answers == news).then_some(place.figures)
        };
        (0..self.places.len()).map(of_shard).collect()
    }

    /// Nothing is half-written when a thread panics here.
    fn place(&self, shard: usize) -> MutexGuard<'_, Place> {
        self.places[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_there_when_every_shard_has_answered() {
        let board = Board::new(2);
        board.tell(0, []);
        let news = board.news();
        let figures = |accepted| Figures { accepted, ..Figures::default() };
        board.exchange(0, news, figures(1));
        assert!(board.figures().is_none());
        board.exchange(1, news, figures(2));
        let answers = board.figures().expect("both have answered");
        assert_eq!(answers.iter().map(|figures| figures.accepted).collect::<Vec<_>>(), [1, 2]);
        board.tell(1, []);
        assert!(board.figures().is_none(), "old answers do not count");
    }
}
