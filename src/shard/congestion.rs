//! Back-pressure: acknowledgements withheld while the queue of a subscriber is long.
//!
//! Duty: know which sessions of this shard are congested and which shards were told so, which acknowledgements of this
//! shard's publishers wait for which session, and let them go when it is relieved. Must not: stop reading from anybody (two
//! clients that publish to each other would wait for ever). Neighbours: `deliver` queues and pumps, `acknowledge` withholds,
//! `mesh` brings the news from other shards, `deadline` ends what takes too long.
//!
//! A session with a connection is congested from when its queue is above a quarter of a bound until it is below an eighth of
//! all, or the connection ends. After `backpressure_ms_max` it is stuck: nobody waits for it any more until it was below an
//! eighth once, and a full queue answers by its policy.

use std::collections::BTreeMap;

use super::acknowledge::Waiter;
use super::alarm::Alarm;
use super::timers::Timer;
use super::{Event, MeshMessage, Outbox, Outcome, Shard};
use crate::id::{GlobalSessionId, Millis, SessionId, ShardId};
use crate::session::Pressure;

/// A queue above one of that many parts of a bound is congested.
const CONGESTED_PART: usize = 4;
/// A queue below one of that many parts of all bounds is not congested any more.
const RELIEVED_PART: usize = 8;

/// The congested sessions of a shard, and who waits.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    /// Sessions of this shard that are congested, or were not long ago.
    sessions: BTreeMap<SessionId, Congested>,
    /// Publishers of this shard, by the session that they wait for, which may be of any shard.
    withheld: BTreeMap<GlobalSessionId, Vec<Waiter>>,
    /// Sessions that are relieved; whoever waits for them is told at the end of the turn.
    relieved: Vec<GlobalSessionId>,
}

#[derive(Debug)]
struct Congested {
    /// Since when; `None`: not any more.
    since: Option<Millis>,
    /// One bit per shard whose publishers wait.
    told: u128,
    alarm: Alarm,
}

impl Congestion {
    /// Acknowledgements that are withheld.
    pub(super) fn withheld(&self) -> usize {
        self.withheld.values().map(Vec::len).sum()
    }
}

impl Shard {
    /// What is said of a message that a session has queued.
    pub(super) fn outcome_of_queued(&mut self, now: Millis, id: SessionId) -> Outcome {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(id) else { return Outcome::Taken };
        if session.connection.is_none() || limits.backpressure_ms_max == 0 {
            return Outcome::Taken;
        }
        match session.outbound.pressure {
            Pressure::Stuck => return Outcome::Taken,
            Pressure::None if !session.outbound.is_above(CONGESTED_PART, limits) => return Outcome::Taken,
            Pressure::None => {
                session.outbound.pressure = Pressure::Congested;
                self.counters.sessions_congested += 1;
                let due = now.after_millis(limits.backpressure_ms_max);
                let fresh = || Congested { since: None, told: 0, alarm: Alarm::default() };
                let congested = self.congestion.sessions.entry(id).or_insert_with(fresh);
                congested.since = Some(now);
                if congested.alarm.arm(due) {
                    self.timers.set(due, Timer::Backpressure(id));
                }
            }
            Pressure::Congested => {}
        }
        Outcome::Congested(GlobalSessionId { shard: self.id(), session: id })
    }

    /// A session has sent something of its queue.
    pub(super) fn queue_shrank(&mut self, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.outbound.pressure != Pressure::None && !session.outbound.is_above(RELIEVED_PART, &self.config.limits)
        {
            session.outbound.pressure = Pressure::None;
            self.relieve(id, outbox);
        }
    }

    /// The connection of a session has ended: nobody waits for who is not there.
    pub(super) fn end_congestion(&mut self, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if std::mem::take(&mut session.outbound.pressure) != Pressure::None {
            self.relieve(id, outbox);
        }
    }

    /// A client is not read until it is owed less: as it cannot acknowledge either, nobody waits for it until its queue is short
    /// again. Else two clients might wait for each other.
    pub(super) fn wait_for_nobody_who_waits(&mut self, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if std::mem::replace(&mut session.outbound.pressure, Pressure::Stuck) == Pressure::Congested {
            self.relieve(id, outbox);
        }
    }

    fn relieve(&mut self, id: SessionId, outbox: &mut Outbox) {
        let Some(congested) = self.congestion.sessions.get_mut(&id) else { return };
        congested.since = None;
        let mut told = std::mem::take(&mut congested.told);
        while told != 0 {
            let shard = ShardId(told.trailing_zeros() as u16);
            told &= told - 1;
            if shard == self.id() {
                self.congestion.relieved.push(GlobalSessionId { shard, session: id });
            } else {
                self.send_mesh(shard, MeshMessage::Relieved { session: id }, outbox);
            }
        }
    }

    /// The timer of a congested session has come.
    pub(super) fn backpressure_over(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let Some(congested) = self.congestion.sessions.get_mut(&id) else { return };
        congested.alarm.hear(now);
        let due = congested.since.map(|since| since.after_millis(self.config.limits.backpressure_ms_max));
        match due {
            Some(due) if due > now => {
                if congested.alarm.arm(due) {
                    self.timers.set(due, Timer::Backpressure(id));
                }
                return;
            }
            Some(_) => {
                if let Some(session) = self.sessions.get_mut(id)
                    && let Some(connection) = session.connection
                {
                    session.outbound.pressure = Pressure::Stuck;
                    self.counters.sessions_stuck += 1;
                    let (client_id, queued) = ((*session.client_id).into(), session.outbound.queued());
                    outbox.events.push(Event::Stuck { connection, client_id, queued });
                }
                self.relieve(id, outbox);
            }
            None => {}
        }
        self.congestion.sessions.remove(&id);
    }

    /// What `shard` is told of a message now: a session of this shard that was congested may be so no longer. It is told
    /// when that has changed.
    pub(super) fn told(&mut self, shard: ShardId, outcome: Outcome) -> Outcome {
        let Outcome::Congested(id) = outcome else { return outcome };
        if id.shard != self.id() {
            return outcome;
        }
        match self.congestion.sessions.get_mut(&id.session).filter(|congested| congested.since.is_some()) {
            Some(congested) => {
                congested.told |= 1 << shard.index();
                outcome
            }
            None => Outcome::Taken,
        }
    }

    /// A publisher of this shard waits for a congested session.
    pub(super) fn withhold(&mut self, waiter: Waiter, id: GlobalSessionId) {
        self.counters.acks_withheld += 1;
        self.congestion.withheld.entry(id).or_default().push(waiter);
    }

    /// A session of another shard is relieved. An answer for a shared subscription that is here too early speaks of it still.
    pub(super) fn peer_relieved(&mut self, id: GlobalSessionId) {
        self.peers.relieve_early(id);
        self.congestion.relieved.push(id);
    }

    /// Lets go what was withheld because of sessions that are relieved.
    pub(super) fn release_withheld(&mut self, now: Millis, outbox: &mut Outbox) {
        while let Some(id) = self.congestion.relieved.pop() {
            for waiter in self.congestion.withheld.remove(&id).unwrap_or_default() {
                if let Some(session) = self.sessions.get_mut(waiter.session) {
                    session.inbound.relieve(waiter.number, id);
                    self.answer_complete(now, waiter.session, outbox);
                }
            }
        }
    }
}
