//! The driver of one shard in the simulation: what `runtime` does with sockets and a ring, done with lines.
//!
//! Duty: keep the contract of `shard::Input`: feed, drain the outbox, wait; slots are reused only when nothing of their
//! connection is left; refused batches stay. Must not: judge what the shard does. Neighbours: `world` turns it.

use std::collections::VecDeque;

use bytes::Bytes;
use ringmq::id::{ConnectionId, Millis, ShardId};
use ringmq::limits::Limits;
use ringmq::shard::{Cause, Event, Flush, Input, Next, Outbox, Received, Shard, ShardConfig, Sizes, StoreTerms};
use ringmq::store::record::Wall;
use ringmq::wire::ReasonCode;

use crate::line::Line;
use crate::mesh::Mesh;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::store::Store;

/// What the clock on the wall says when the broker's is at 0.
pub(crate) const WALL: Wall = Wall(1_700_000_000_000);

/// A socket on its way to a shard: new, or handed over by another one.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) line: usize,
    pub(crate) accepted_at: Millis,
    pub(crate) rest: Vec<u8>,
    pub(crate) ready_at: Millis,
}

/// What a connection is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Bytes,
    Mesh,
    Drain,
}

/// A connection as the driver knows it.
#[derive(Debug)]
struct User {
    id: ConnectionId,
    line: usize,
    rest: Vec<u8>,
    wait: Wait,
    flush: Vec<u8>,
    flush_sent: usize,
    is_closing: bool,
    is_drained: bool,
    accepted_at: Millis,
    /// When the shard last took a packet of it, or would not.
    heard_at: Millis,
    /// When its silence was last the broker's own.
    excused_at: Millis,
    /// From CONNECT on: silence that the shard must not bear, milliseconds.
    silence_millis_max: Option<u64>,
    is_admitted: bool,
}

/// The rest of the world, as a turn sees it.
pub(crate) struct Around<'a> {
    pub(crate) now: Millis,
    pub(crate) random: &'a mut Random,
    pub(crate) plan: &'a Plan,
    pub(crate) lines: &'a mut Vec<Line>,
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) store: &'a mut Store,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) hand_offs: &'a mut Vec<(ShardId, Arrival)>,
    /// Everything that can be done is done: no choice of "later".
    pub(crate) is_eager: bool,
}

/// One shard with its driver.
#[derive(Debug)]
pub(crate) struct Node {
    id: ShardId,
    pub(crate) shard: Shard,
    pub(crate) outbox: Outbox,
    users: Vec<Option<User>>,
    generations: Vec<u32>,
    arrivals: VecDeque<Arrival>,
    /// When the shard last looked at its deadlines.
    pub(crate) looked_at: Millis,
    pub(crate) is_stopped_until: Millis,
    /// Events so far.
    pub(crate) connects: u64,
    pub(crate) broker_closes: u64,
    limits: Limits,
}

impl Node {
    pub(crate) fn new(plan: &Plan, index: usize, first_number: u64) -> Self {
        let id = ShardId(u16::try_from(index).expect("few"));
        let config = ShardConfig {
            shard: id,
            shards: plan.shards,
            hash_seed: plan.seed,
            id_seed: plan.seed.wrapping_add(index as u64),
            secret: ringmq::auth::scram::Secret::new([9; 32]),
            limits: plan.limits.clone(),
            large_payloads: plan.large_payloads.clone(),
            is_faulty: false,
            store: plan.keeps.then_some(StoreTerms { wall: WALL, first_number }),
            policy: std::sync::Arc::default(),
        };
        Self {
            id,
            shard: Shard::new(config),
            outbox: Outbox::new(plan.shards),
            users: Vec::new(),
            generations: Vec::new(),
            arrivals: VecDeque::new(),
            looked_at: Millis(0),
            is_stopped_until: Millis(0),
            connects: 0,
            broker_closes: 0,
            limits: plan.limits.clone(),
        }
    }

    pub(crate) fn arrive(&mut self, arrival: Arrival) {
        self.arrivals.push_back(arrival);
    }

    /// Handle, drain, wait.
    pub(crate) fn turn(&mut self, around: &mut Around<'_>) {
        if self.is_stopped_until > around.now {
            return;
        }
        if self.shard.next_deadline().is_some_and(|due| due <= around.now) {
            self.looked_at = around.now;
            self.feed(Input::Deadline, around);
            self.check_silence(around.now);
        }
        let mut duties = [0, 1, 2, 3, 4];
        around.random.shuffle(&mut duties);
        for duty in duties {
            match duty {
                0 => self.take_arrivals(around),
                1 => self.take_batches(around),
                2 => self.read_lines(around),
                3 => self.answer_store(around),
                _ => self.report_drained(around),
            }
        }
        self.drain(around);
        self.write_lines(around);
    }

    fn feed(&mut self, input: Input, around: &mut Around<'_>) {
        self.shard.handle(around.now, input, &mut self.outbox);
        self.tell_events(around);
    }

    fn tell_events(&mut self, around: &mut Around<'_>) {
        for event in std::mem::take(&mut self.outbox.events) {
            let (Event::Connected { connection, .. }
            | Event::Disconnected { connection, .. }
            | Event::Stuck { connection, .. }
            | Event::Denied { connection, .. }
            | Event::Subscribed { connection, .. }
            | Event::Unsubscribed { connection, .. }
            | Event::Refused { connection, .. }) = &event;
            let user = self.users[connection.slot as usize].as_mut().expect("events tell of connections that are open");
            assert_eq!(user.id, *connection, "an event tells of a former user of the slot");
            if around.plan.traces {
                eprintln!("{:6} line {}: {event:?}", around.now.0, user.line);
            }
            match &event {
                Event::Connected { keep_alive_secs, .. } => {
                    self.connects += 1;
                    let is_endless = *keep_alive_secs == 0;
                    user.silence_millis_max = Some(u64::from(*keep_alive_secs) * 1500).filter(|_| !is_endless);
                    user.heard_at = around.now;
                    user.is_admitted = true;
                }
                Event::Stuck { .. } | Event::Subscribed { .. } | Event::Unsubscribed { .. } => continue,
                Event::Denied { .. } => panic!("everybody may do everything"),
                Event::Disconnected { cause, .. } | Event::Refused { cause, .. } => {
                    self.broker_closes += u64::from(matches!(cause, Cause::Broker(..)));
                    let is_refusal = matches!(event, Event::Refused { .. });
                    let sizes = is_refusal.then(|| self.shard.sizes());
                    check_truth(*cause, user, around.now, &self.limits, sizes);
                }
            }
            around.oracle.note_event(around.now, self.looked_at, user.line, &event, around.lines);
        }
    }

    fn take_arrivals(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        while let Some(arrival) = self.arrivals.pop_front_if(|arrival| arrival.ready_at <= now) {
            let slot = self.users.iter().position(Option::is_none).unwrap_or_else(|| {
                self.users.push(None);
                self.generations.push(0);
                self.users.len() - 1
            });
            self.generations[slot] += 1;
            let id = ConnectionId { slot: u32::try_from(slot).expect("few"), generation: self.generations[slot] };
            let Arrival { line, accepted_at, rest, .. } = arrival;
            self.users[slot] = Some(User {
                id,
                line,
                rest,
                wait: Wait::Bytes,
                flush: Vec::new(),
                flush_sent: 0,
                is_closing: false,
                is_drained: false,
                accepted_at,
                heard_at: around.now,
                excused_at: Millis(0),
                silence_millis_max: None,
                is_admitted: false,
            });
            self.feed(Input::Opened { connection: id, accepted_at, listener: 0 }, around);
            self.offer(slot, around);
        }
    }

    fn take_batches(&mut self, around: &mut Around<'_>) {
        let mut peers: Vec<usize> = (0..around.plan.shards).collect();
        around.random.shuffle(&mut peers);
        for peer in peers {
            while let Some(batch) = around.mesh.take(around.now, (peer, self.id.index())) {
                let from = ShardId(u16::try_from(peer).expect("few"));
                self.feed(Input::Mesh { from, batch }, around);
            }
        }
    }

    fn answer_store(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        while let Some(through) = around.store.answer(now, self.id.index()) {
            for user in self.users.iter_mut().flatten() {
                user.excused_at = if self.outbox.egress.is_holding(user.id.slot) { now } else { user.excused_at };
            }
            self.feed(Input::Stored { through, is_safe: true }, around);
        }
    }

    fn report_drained(&mut self, around: &mut Around<'_>) {
        for slot in 0..self.users.len() {
            let Some(user) = self.users[slot].as_mut().filter(|user| user.is_drained) else { continue };
            user.is_drained = false;
            if user.is_closing {
                continue;
            }
            let connection = user.id;
            let waited = user.wait == Wait::Drain;
            self.feed(Input::Drained { connection }, around);
            if waited {
                self.offer(slot, around);
            }
        }
        for id in std::mem::take(&mut self.outbox.resumes) {
            let slot = id.slot as usize;
            let waits = |user: &&User| user.id == id && user.wait == Wait::Drain && !user.is_closing;
            if self.users[slot].as_ref().is_some_and(|user| waits(&user)) {
                self.offer(slot, around);
            }
        }
    }

    fn read_lines(&mut self, around: &mut Around<'_>) {
        let is_refused = self.outbox.mesh.iter().any(|batch| !batch.is_empty());
        for slot in 0..self.users.len() {
            let Some(user) = self.users[slot].as_mut().filter(|user| !user.is_closing) else { continue };
            match user.wait {
                Wait::Drain => {}
                Wait::Mesh => {
                    if !is_refused && self.shard.takes_publishes(&self.outbox) {
                        self.offer(slot, around);
                    }
                }
                Wait::Bytes => {
                    if around.is_eager || around.random.chance(60) {
                        self.read(slot, around);
                    }
                }
            }
        }
    }

    fn read(&mut self, slot: usize, around: &mut Around<'_>) {
        let Some(user) = self.users[slot].as_mut().filter(|user| !self.outbox.closes.contains(&user.id)) else {
            return;
        };
        let line = &mut around.lines[user.line];
        if line.to_server.is_empty() {
            if line.is_closed_by_client {
                let connection = user.id;
                around.oracle.checks.torn += u64::from(!user.rest.is_empty());
                self.feed(Input::Closed { connection }, around);
                self.users[slot] = None;
                self.outbox.egress.close(slot as u32);
            }
            return;
        }
        let most = if around.is_eager { line.to_server.len() } else { around.random.pick(&[1, 7, 60, 10_000]) };
        let count = line.to_server.len().min(most);
        user.rest.extend(line.to_server.drain(..count));
        self.offer(slot, around);
    }

    /// Offers what was received and is not used up.
    fn offer(&mut self, slot: usize, around: &mut Around<'_>) {
        let Some(user) = self.users[slot].as_mut() else { return };
        let id = user.id;
        let bytes = Bytes::from(std::mem::take(&mut user.rest));
        let shared = around.random.chance(50).then_some(&bytes);
        let received = Received { bytes: &bytes, shared };
        let taken = self.shard.receive(around.now, id, received, &mut self.outbox);
        self.tell_events(around);
        let Some(user) = self.users[slot].as_mut() else { return };
        user.rest = bytes[taken.consumed..].to_vec();
        if taken.consumed > 0 || matches!(taken.next, Next::AwaitMesh | Next::AwaitDrain) {
            user.heard_at = around.now;
        }
        match taken.next {
            Next::Read { .. } => user.wait = Wait::Bytes,
            Next::AwaitMesh => user.wait = Wait::Mesh,
            Next::AwaitDrain => user.wait = Wait::Drain,
            Next::Closed => assert!(self.outbox.closes.contains(&id), "a connection that is over stands in closes"),
            Next::Handoff(owner) => {
                assert_eq!(taken.consumed, 0, "nothing is consumed before a hand-off");
                assert_ne!(owner, self.id, "a hand-off to itself");
                let delay_millis = around.random.between(0, around.plan.mesh_delay_millis_max);
                let arrival = Arrival {
                    line: user.line,
                    accepted_at: user.accepted_at,
                    rest: std::mem::take(&mut user.rest),
                    ready_at: around.now.after_millis(delay_millis),
                };
                around.hand_offs.push((owner, arrival));
                self.users[slot] = None;
            }
        }
    }

    fn drain(&mut self, around: &mut Around<'_>) {
        // Before the mesh: who hears of a message may rely on it.
        if let Some(batch) = self.outbox.take_records() {
            let delay_millis = around.random.between(0, around.plan.store_delay_millis_max);
            let due = around.now.after_millis(delay_millis);
            around.store.send(due, self.id.index(), batch, around.oracle.moment);
        }
        for (peer, batch) in self.outbox.mesh.iter_mut().enumerate() {
            assert!(peer != self.id.index() || batch.is_empty(), "a batch to itself");
            if !batch.is_empty() {
                around.mesh.send(around.now, (self.id.index(), peer), batch, around.plan, around.random);
            }
        }
        for id in std::mem::take(&mut self.outbox.closes) {
            let user = self.users[id.slot as usize].as_mut().filter(|user| user.id == id);
            let user = user.expect("only connections that are open are closed");
            assert!(!user.is_closing, "a connection is closed once");
            user.is_closing = true;
        }
    }

    /// Sends what is queued, as far as sockets take it.
    fn write_lines(&mut self, around: &mut Around<'_>) {
        let mut dirty = Vec::new();
        self.outbox.egress.take_dirty(&mut dirty);
        for slot in 0..self.users.len() {
            let Some(user) = self.users[slot].as_mut() else { continue };
            let line = &mut around.lines[user.line];
            let egress_slot = user.id.slot;
            assert!(
                !self.outbox.egress.at(egress_slot).has_queued()
                    || !user.flush.is_empty()
                    || dirty.contains(&user.id.slot),
                "queued bytes of a connection that is not listed as dirty"
            );
            loop {
                let egress = self.outbox.egress.at(egress_slot);
                if user.flush.is_empty() && egress.has_queued() {
                    let mut flush = Flush::default();
                    egress.take(&mut flush);
                    user.flush = flush.pieces().collect::<Vec<_>>().concat();
                    assert_eq!(user.flush.len(), flush.len(), "the pieces are the flush");
                    user.flush_sent = 0;
                }
                let left = user.flush.len() - user.flush_sent;
                if left == 0 {
                    break;
                }
                let room = around.plan.line_bytes_max.saturating_sub(line.to_client.len());
                let room = if line.is_closed_by_client { left } else { room };
                let most = if around.is_eager { left } else { around.random.pick(&[1, 30, 10_000]) };
                let count = left.min(room).min(most);
                if count == 0 {
                    break;
                }
                if !line.is_closed_by_client {
                    line.to_client.extend(&user.flush[user.flush_sent..user.flush_sent + count]);
                }
                user.flush_sent += count;
                user.is_drained |= self.outbox.egress.sent(egress_slot, count);
                if user.flush_sent < user.flush.len() {
                    break;
                }
                user.flush.clear();
                user.flush_sent = 0;
            }
            // Who takes nothing any more is given up by the driver, after a while.
            if user.is_closing && (user.flush.is_empty() || line.is_half_open) {
                line.is_closed_by_server = true;
                self.users[slot] = None;
                self.outbox.egress.close(egress_slot);
            }
        }
    }

    /// Whether nothing is left to do but what only time brings.
    pub(crate) fn is_quiet(&self, lines: &[Line], store: &Store) -> bool {
        let is_user_quiet = |user: &User| {
            let line = &lines[user.line];
            let has_input = !line.to_server.is_empty() || line.is_closed_by_client;
            let is_stuck = line.is_half_open && !user.is_closing && (!has_input || user.wait == Wait::Drain);
            let is_idle = user.wait == Wait::Bytes && user.flush.is_empty() && !user.is_drained && !user.is_closing;
            is_stuck || (!has_input && is_idle)
        };
        self.arrivals.is_empty()
            && self.shard.sizes().searches_waiting == 0
            && store.is_quiet(self.id.index())
            && self.outbox.mesh.iter().all(|batch| batch.is_empty())
            && self.users.iter().flatten().all(is_user_quiet)
    }

    /// What is not quiet, for the message of a failure.
    pub(crate) fn describe(&mut self, lines: &[Line]) -> String {
        let mut text = format!(
            "shard {}: {} arrivals, takes publishes {}, ",
            self.id.0,
            self.arrivals.len(),
            self.shard.takes_publishes(&self.outbox)
        );
        for (peer, batch) in self.outbox.mesh.iter().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            text += &format!("for {peer}: {:?}, ack {:?}, ", batch.messages, batch.ack);
        }
        for user in self.users.iter().flatten() {
            let line = &lines[user.line];
            let egress = self.outbox.egress.at(user.id.slot);
            text += &format!(
                "line {}: {:?}, rest {}, unread {}, flush {}, backlog {}, control {}; ",
                user.line,
                user.wait,
                user.rest.len(),
                line.to_server.len(),
                user.flush.len() - user.flush_sent,
                egress.backlog_bytes(),
                egress.control_backlog_bytes()
            );
        }
        text
    }

    /// Connections that the shard must know.
    pub(crate) fn open_connections(&self) -> usize {
        self.users.iter().flatten().filter(|user| !user.is_closing).count()
    }

    /// The slots of connections whose lines fit.
    pub(crate) fn slots_of(&self, fits: impl Fn(usize) -> bool) -> Vec<u32> {
        self.users.iter().flatten().filter(|user| fits(user.line)).map(|user| user.id.slot).collect()
    }

    /// Whoever was silent for one and a half times its keep alive [MQTT-3.1.2-22], or did not send CONNECT in time, is gone.
    fn check_silence(&mut self, now: Millis) {
        const SLOT_MILLIS: u64 = 64;
        for user in self.users.iter_mut().flatten().filter(|user| user.wait == Wait::Bytes) {
            if self.outbox.egress.is_holding(user.id.slot) {
                // What it waits for is not safe yet: its silence is the broker's.
                user.excused_at = now;
            }
            let heard_at = user.heard_at.max(user.excused_at);
            let connect_due = user.accepted_at.after_millis(self.limits.connect_timeout_ms);
            let due = match user.silence_millis_max {
                Some(millis) => heard_at.after_millis(millis),
                None if user.is_admitted => continue,
                // A deadline that was over when the connection came here is seen one slot later.
                None => connect_due.max(user.heard_at).after_millis(SLOT_MILLIS),
            };
            let due = due.0.div_ceil(SLOT_MILLIS) * SLOT_MILLIS;
            let is_gone =
                user.is_closing || self.outbox.egress.is_holding(user.id.slot) || self.outbox.closes.contains(&user.id);
            assert!(is_gone || due > now.0, "silence: line {} said nothing until {now:?}, due {due}", user.line);
        }
    }

    /// Control bytes, whole backlog: the largest of all connections.
    pub(crate) fn largest_backlog_bytes(&mut self) -> usize {
        let slots: Vec<u32> = self.users.iter().flatten().map(|user| user.id.slot).collect();
        slots.into_iter().map(|slot| self.outbox.egress.at(slot).backlog_bytes()).max().unwrap_or(0)
    }
}

/// The broker closes for a reason that is true. `sizes`: of a shard that refuses.
fn check_truth(cause: Cause, user: &User, now: Millis, limits: &Limits, sizes: Option<Sizes>) {
    match cause {
        Cause::Broker(ReasonCode::KeepAliveTimeout, what) => {
            let due = user.silence_millis_max.map(|millis| user.heard_at.after_millis(millis));
            assert!(due.is_some_and(|due| due <= now), "{what}: due {due:?}, now {now:?}, line {}", user.line);
        }
        Cause::Broker(ReasonCode::QuotaExceeded, what) => {
            let Some(sizes) = sizes else { return };
            let is_full = sizes.connections >= limits.connections_per_shard_max;
            let has_no_session_left = sizes.sessions >= limits.sessions_per_shard_max;
            assert!(is_full || has_no_session_left, "{what}: {sizes:?}");
        }
        _ => {}
    }
}
