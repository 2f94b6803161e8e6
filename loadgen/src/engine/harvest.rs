//! The end of a run: everything drained, every connection asked, every count brought home.
//! Must not publish. Neighbours: `worker` calls it, `outcome` carries what it finds, `integrity` and `group` judge.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use mio::Events;

use super::client::{Client, Stage};
use super::outcome::Harvest;
use super::worker::Worker;
use crate::group::Board;
use crate::integrity::Tally;
use crate::plan::Plan;

/// A stalled subscriber that reads again and misses messages cannot know that none will come; it waits this long.
const STALLED_PATIENCE: Duration = Duration::from_secs(1);

/// The shared subscriptions of all threads, merged as the threads end.
#[derive(Debug)]
pub(super) struct Boards {
    boards: Vec<Board>,
    threads_left: usize,
}

impl Boards {
    pub(super) fn new(plan: &Plan) -> Self {
        let boards = plan.shares.iter().map(|topics| Board::new(topics)).collect();
        Self { boards, threads_left: plan.flags.threads }
    }

    /// Adds one thread's boards; gives the duplicates that only now show and, with the last thread, what was lost.
    fn merge(&mut self, boards: &[Board], plan: &Plan, sent: impl Fn(u32) -> u64) -> (u64, u64) {
        let duplicated = self.boards.iter_mut().zip(boards).map(|(all, board)| all.merge(board)).sum();
        self.threads_left -= 1;
        if self.threads_left > 0 {
            return (duplicated, 0);
        }
        let lost = self.boards.iter().zip(&plan.shares).map(|(board, topics)| board.lost(topics, &sent)).sum();
        (duplicated, lost)
    }
}

impl Worker<'_> {
    /// Turns until everything has arrived and is acknowledged, or until nothing has come for too long.
    pub(super) fn drain(&mut self, events: &mut Events) {
        self.deaf = false;
        self.lively.extend((0..self.clients.len()).filter(|&slot| self.clients[slot].is_stalled()));
        let mut expected = None;
        self.wait(events, self.shared.plan.flags.patience, |worker| {
            if worker.shared.sending.load(Acquire) > 0 {
                return false;
            }
            // Which thread gets a message of a shared subscription is the broker's choice, so all threads are asked.
            let expected = *expected.get_or_insert_with(|| worker.expected_by_all());
            let arrived: u64 = worker.shared.meters.iter().map(|meter| meter.delivered.load(Relaxed)).sum();
            arrived >= expected && worker.clients.iter().all(|client| client.is_stalled() || client.is_settled())
        });
        let patience = self.shared.plan.flags.patience.min(STALLED_PATIENCE);
        self.wait(events, patience, |worker| {
            let complete = |client: &Client| {
                let arrived = client.subscriber().map_or(0, |subscriber| subscriber.late_arrivals);
                client.is_settled() && arrived >= worker.expected_by(client)
            };
            let stalled = || worker.clients.iter().filter(|client| client.is_stalled());
            stalled().all(|client| client.stage == Stage::Lost || complete(client))
        });
    }

    /// A PINGREQ on every connection: what the broker still had for it comes before the answer, duplicates too.
    pub(super) fn say_farewell(&mut self, events: &mut Events) {
        for slot in 0..self.clients.len() {
            self.clients[slot].leave();
            let _ = self.serve(slot, false, false, false);
        }
        let gone = |client: &Client| matches!(client.stage, Stage::Done | Stage::Lost);
        self.wait(events, self.shared.plan.flags.patience, |worker| worker.clients.iter().all(gone));
        let silent = self.clients.iter().filter(|client| !gone(client)).count() as u64;
        if silent > 0 {
            self.score.tally.connections_lost += silent;
            self.score.note(format!("{silent} connections did not answer the last PINGREQ"));
        }
        for client in self.clients.iter_mut().filter(|client| client.stage == Stage::Done) {
            client.disconnect(self.shared.plan);
            // The run is judged; a socket that takes no more bytes is closed all the same.
            let _ = client.link.flush();
        }
    }

    fn sent_on(&self, topic: u32) -> u64 {
        self.shared.sent[topic as usize].load(Relaxed)
    }

    fn expected_by_all(&self) -> u64 {
        (0..).zip(&self.shared.plan.fans).map(|(topic, &fan)| self.sent_on(topic) * u64::from(fan)).sum()
    }

    /// What this client alone has to get, which of a member of a group is not known.
    fn expected_by(&self, client: &Client) -> u64 {
        let alone = client.subscriber().filter(|subscriber| !subscriber.is_member());
        alone.map_or(0, |subscriber| subscriber.ledger.topics().map(|topic| self.sent_on(topic)).sum())
    }

    /// Everything counted; the handshakes as they stood at the farewell.
    pub(super) fn harvest(mut self, unsent: u64, unacknowledged: u64) -> Harvest {
        let mut tally = std::mem::take(&mut self.score.tally);
        tally.unacknowledged += unacknowledged;
        let (mut expected, mut stalled_missed) = (0, 0);
        for client in &self.clients {
            let Some(subscriber) = client.subscriber().filter(|subscriber| !subscriber.is_member()) else { continue };
            let lost = subscriber.ledger.lost(|topic| self.sent_on(topic));
            if subscriber.stalled {
                stalled_missed += lost;
            } else {
                tally.lost += lost;
                expected += self.expected_by(client);
            }
        }
        let (shared_expected, repeated) = self.harvest_shares(&mut tally);
        let sent = (0..self.clients.len()).map(|slot| self.sent_by(slot)).sum();
        let arrived = self.score.arrivals.saturating_sub(repeated);
        Harvest {
            tally,
            sent,
            expected: expected + shared_expected,
            arrived,
            unsent,
            reconnects: self.reconnects,
            stalled_missed,
            stalled_closed: self.stalled_closed,
            latency: self.score.latency,
            notes: self.score.notes,
        }
    }

    /// Judges shared subscriptions; gives the deliveries expected, with the last thread, and those that were repeated.
    fn harvest_shares(&mut self, tally: &mut Tally) -> (u64, u64) {
        let plan = self.shared.plan;
        let sent = |topic| self.sent_on(topic);
        // A thread that panicked with the lock ends the whole run when it is joined.
        let mut boards = self.shared.boards.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (duplicated, lost) = boards.merge(&self.score.boards, plan, sent);
        let last = boards.threads_left == 0;
        drop(boards);
        tally.duplicated += duplicated;
        tally.lost += lost;
        let expected = plan.shares.iter().flatten().map(|&topic| sent(topic)).sum();
        if duplicated > 0 {
            self.score.note(format!("{duplicated} messages of shared subscriptions arrived at several members"));
        }
        (if last { expected } else { 0 }, duplicated)
    }

    fn sent_by(&mut self, slot: usize) -> u64 {
        self.clients[slot].publisher_mut().map_or(0, |publisher| publisher.sequence)
    }

    /// Handshakes that are not complete; a stalled subscriber whose connection is gone has none to complete.
    pub(super) fn unacknowledged(&self) -> u64 {
        let closed = |client: &&Client| client.is_stalled() && client.stage == Stage::Lost;
        self.clients.iter().filter(|client| !closed(client)).map(Client::unacknowledged).sum()
    }
}
