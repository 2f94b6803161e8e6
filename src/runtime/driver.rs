//! Driver: the loop that turns one shard.
//!
//! Duty: read the clock once per turn, let what has happened reach the shard, drain its outbox completely, wait. Must not:
//! know packets, or allocate per message. Neighbours: `Shard` below decides everything; `ring` and `mesh` are the world;
//! `reading`, `writing`, `closing` and `accepting` are the rooms of this loop.

use std::collections::VecDeque;
use std::hint;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::accepting::{Entrance, Listener, Waiting};
use super::address_rates::AddressRates;
use super::board::{Board, Figures, Order};
use super::changing::Change;
use super::clock::{Clock, millis_of};
use super::keeping::{Keeping, RESTORE_PAUSE_MILLIS};
use super::looking::Look;
use super::measure::{IS_METERED, Measure, sent_at_once};
use super::mesh::Mesh;
use super::news::News;
use super::operation::Operation;
use super::phrase::connection_of;
use super::report::Report;
use super::ring::{Completion, Ring};
use super::slots::Slots;
use super::spin::SpinRecord;
use super::tracing::Tracing;
use super::verifier::Asker;
use super::wrapping::Wrapping;
use crate::id::{ConnectionId, Millis, ShardId};
use crate::limits::{Limits, MESH_BATCHES_MAX};
use crate::shard::{Input, Outbox, Shard, ShardConfig, Verdict};

/// Received bytes after which a turn ends although more are there: what they cause is sent before more is read, and nobody
/// waits longer than this takes.
const TURN_BYTES_MAX: usize = 256 << 10;

/// How long to look for news before sleeping, while that finds some. A wakeup costs more than a message; this saves most of
/// them (docs: io-path).
const SPIN: Duration = Duration::from_micros(5);

/// Under load the executor gets a look at its own tasks this often. Nothing runs there yet; when something does, it must also
/// bound how long `wait` sleeps.
const YIELD_MILLIS: u64 = 10;

/// How long a stop waits for the clients to take their last bytes.
const STOP_MILLIS: u64 = 2_000;

/// What is too much, of the limits that the driver meets itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections that may be open at once.
    pub(super) connections_per_shard_max: usize,
    /// Connections that one turn opens.
    pub(super) accepts_per_turn_max: usize,
    /// Connections of one address in a second; 0 for any number.
    pub(super) accepts_per_address_per_sec_max: u32,
    /// Steps of TLS handshakes in one turn.
    pub(super) tls_handshakes_per_turn_max: usize,
    /// Received bytes of one connection in one turn, while others wait.
    pub(super) turn_bytes_per_connection_max: usize,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            connections_per_shard_max: limits.connections_per_shard_max,
            accepts_per_turn_max: limits.accepts_per_turn_max,
            accepts_per_address_per_sec_max: limits.accepts_per_address_per_sec_max,
            tls_handshakes_per_turn_max: limits.tls_handshakes_per_turn_max,
            turn_bytes_per_connection_max: limits.turn_bytes_per_connection_max,
        }
    }
}

/// What a driver is made of.
pub(super) struct Parts {
    /// Which shard it turns.
    pub(super) id: ShardId,
    /// The shard, to be made on its own thread.
    pub(super) config: ShardConfig,
    /// How many there are.
    pub(super) shards: usize,
    /// Where to accept, by index of listener.
    pub(super) entrances: Vec<Option<Entrance>>,
    /// What is too much.
    pub(super) bounds: Bounds,
    /// The way to the other shards.
    pub(super) mesh: Mesh,
    /// What changes of the listeners; a call to the mesh follows.
    pub(super) changes: Receiver<Change>,
    /// The clock of all shards.
    pub(super) clock: Clock,
    /// Seed of the table of addresses; secret.
    pub(super) address_seed: u64,
    /// Orders of the main thread, figures for it; a call to the mesh follows.
    pub(super) board: Arc<Board>,
    /// Raised when the broker stops; a call to the mesh follows.
    pub(super) is_stopping: Arc<AtomicBool>,
    /// What other threads tell this shard.
    pub(super) news: Receiver<News>,
    /// Who checks passwords.
    pub(super) asker: Asker,
    /// The store, if there is one.
    pub(super) keeping: Option<Keeping>,
    /// Where events go.
    pub(super) report: Report,
}

/// The loop that turns one shard.
pub(super) struct Driver {
    // Dropped first: its operations point into the connections.
    pub(super) ring: Ring,
    pub(super) slots: Slots,
    pub(super) shard: Shard,
    pub(super) outbox: Outbox,
    pub(super) mesh: Mesh,
    pub(super) listeners: Vec<Option<Listener>>,
    pub(super) changes: Receiver<Change>,
    pub(super) bounds: Bounds,
    pub(super) report: Report,
    /// The moment of this turn.
    pub(super) now: Millis,
    /// Turns so far, this one included.
    pub(super) turns: u64,
    /// Connections that wait for room in the mesh, longest first.
    pub(super) awaiting_mesh: VecDeque<ConnectionId>,
    /// Connections whose egress is low again.
    pub(super) drained: Vec<ConnectionId>,
    /// Connections to read from again: those that got nothing this turn, then the others.
    pub(super) hungry: Vec<ConnectionId>,
    pub(super) fed: Vec<ConnectionId>,
    /// Slots to send for at the end of the turn.
    pub(super) dirty: Vec<u32>,
    /// Slots whose send has completed while more was queued.
    pub(super) resend: Vec<u32>,
    /// Connections whose large sends wait for their turn.
    pub(super) large_sends: VecDeque<ConnectionId>,
    /// When to look which buffers for sending nobody has needed for a while.
    pub(super) cool_at: Option<Millis>,
    /// What wrapped connections need.
    pub(super) wrapping: Wrapping,
    /// Connections that go to another shard when their last bytes are sent.
    pub(super) leaving: Vec<(ConnectionId, ShardId)>,
    /// Connections being closed and when that has to end, soonest first.
    pub(super) closing: VecDeque<(Millis, ConnectionId)>,
    /// Connections that have ended, to be closed at the end of the turn.
    pub(super) dead: Vec<ConnectionId>,
    /// How often each address has come.
    pub(super) address_rates: AddressRates,
    /// Connections that were accepted and not yet opened, and how many this turn has opened.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) opened_in_turn: usize,
    /// Received bytes that wait because their connection had its part of the turn.
    pub(super) put_off: VecDeque<Completion>,
    /// When to accept again after descriptors ran out.
    pub(super) accept_at: Option<Millis>,
    spin_record: SpinRecord,
    clock: Clock,
    news: Receiver<News>,
    asker: Asker,
    keeping: Option<Keeping>,
    /// Whether nobody is let in yet, as not every shard is restored.
    pub(super) is_restoring: bool,
    is_stopping: Arc<AtomicBool>,
    stop_by: Option<Millis>,
    board: Arc<Board>,
    /// What of the board's news was seen.
    news_seen: u64,
    id: ShardId,
    measure: Measure,
    tracing: Tracing,
    /// Bytes of all packets.
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// Connections accepted.
    pub(super) accepted: u64,
}

impl Driver {
    /// A driver on the calling thread, ready to turn: everything is armed with the first turn's system call.
    ///
    /// # Errors
    /// The kernel refuses the ring.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let mut driver = Self {
            ring: Ring::new()?,
            slots: Slots::default(),
            shard: Shard::new(parts.config),
            outbox: Outbox::new(parts.shards),
            mesh: parts.mesh,
            listeners: parts.entrances.into_iter().map(|entrance| entrance.map(Listener::new)).collect(),
            changes: parts.changes,
            bounds: parts.bounds,
            report: parts.report,
            now: parts.clock.now(),
            turns: 0,
            awaiting_mesh: VecDeque::new(),
            drained: Vec::new(),
            hungry: Vec::new(),
            fed: Vec::new(),
            dirty: Vec::new(),
            resend: Vec::new(),
            large_sends: VecDeque::new(),
            cool_at: None,
            wrapping: Wrapping::default(),
            leaving: Vec::new(),
            closing: VecDeque::new(),
            dead: Vec::new(),
            address_rates: AddressRates::new(parts.bounds.accepts_per_address_per_sec_max, parts.address_seed),
            waiting: VecDeque::new(),
            opened_in_turn: 0,
            put_off: VecDeque::new(),
            accept_at: None,
            spin_record: SpinRecord::new(),
            clock: parts.clock,
            news: parts.news,
            asker: parts.asker,
            is_restoring: parts.keeping.is_some(),
            keeping: parts.keeping,
            is_stopping: parts.is_stopping,
            stop_by: None,
            board: parts.board,
            news_seen: 0,
            id: parts.id,
            measure: Measure::default(),
            tracing: Tracing::default(),
            bytes_received: 0,
            bytes_sent: 0,
            accepted: 0,
        };
        if let Some(keeping) = &mut driver.keeping {
            keeping.restore(driver.now, &mut driver.shard, &mut driver.outbox);
        }
        driver.ring.await_wake(driver.mesh.eventfd().as_fd());
        driver.arm_listeners();
        driver.ring.submit()?;
        Ok(driver)
    }

    /// Turns until the broker stops. `ready`: is called once, when clients may come.
    ///
    /// # Errors
    /// The ring has become unusable.
    pub(super) async fn run(mut self, ready: impl FnOnce()) -> io::Result<()> {
        while self.is_restoring && !self.is_over() {
            self.turn();
            self.end_restoring();
            if self.is_restoring {
                self.wait(false)?;
            }
        }
        ready();
        let mut yielded_at = self.now;
        while !self.is_over() {
            let had_work = self.turn();
            let has_slept = self.wait(had_work)?;
            if has_slept {
                yielded_at = self.now;
            } else if self.now.0 - yielded_at.0 >= YIELD_MILLIS {
                glommio::executor().yield_task_queue_now().await;
                yielded_at = self.now;
            }
        }
        self.report.sum_up(self.shard.counters());
        Ok(())
    }

    /// Handles what is there and drains the outbox. Whether there was anything.
    fn turn(&mut self) -> bool {
        let nanos = self.clock.nanos();
        self.now = millis_of(nanos);
        self.measure.begin(nanos);
        self.turns += 1;
        self.open_waiting();
        let had_completions = self.complete_operations();
        self.step_handshakes();
        let had_mesh = self.take_mesh();
        self.take_news();
        self.take_store_answers();
        self.pass_deadlines();
        self.read_board();
        self.resume_paused();
        self.ask_checks();
        self.close_finished();
        // Before the mesh, so that who hears of a message may rely on it.
        if let Some(keeping) = &self.keeping {
            keeping.send(&mut self.outbox);
        }
        // Before the sends, so that the other shards begin while this one is in the kernel.
        self.mesh.push(&mut self.outbox.mesh, self.measure.began());
        if self.flush_egress() && IS_METERED {
            self.measure.end(self.clock.nanos(), self.shard.counters());
        }
        if self.tracing.is_on() {
            let turn_nanos = || self.clock.nanos() - self.measure.began();
            self.tracing.bring(&mut self.shard, &mut self.outbox, turn_nanos);
        }
        self.rearm_receives();
        self.report_events();
        self.release_slots();
        had_completions || had_mesh
    }

    /// Lets clients in once every shard is restored.
    fn end_restoring(&mut self) {
        if self.keeping.as_mut().is_none_or(|keeping| keeping.are_all_restored(&self.shard)) {
            self.is_restoring = false;
            self.arm_listeners();
        }
    }

    fn complete_operations(&mut self) -> bool {
        let mut received = 0;
        let mut had_any = false;
        let mut served_others = false;
        // Who waits from the last turn has a part of this one, and all that the others leave.
        let is_waiting = !self.put_off.is_empty();
        let reserved = if is_waiting { self.bounds.turn_bytes_per_connection_max.min(TURN_BYTES_MAX / 2) } else { 0 };
        while received < TURN_BYTES_MAX - reserved
            && let Some(completion) = self.ring.next_completion()
        {
            had_any = true;
            let has_put_off = !self.put_off.is_empty();
            let taken = self.complete(completion);
            received += taken;
            served_others |= has_put_off && taken > 0;
        }
        while received < TURN_BYTES_MAX
            && let Some(completion) = self.put_off.pop_front()
        {
            had_any = true;
            received += self.complete_put_off(completion);
        }
        self.report.tally.turns_over_budget += u64::from(served_others && !self.put_off.is_empty());
        had_any
    }

    /// Routes a completion to its room; returns the bytes received.
    fn complete(&mut self, completion: Completion) -> usize {
        let mut received = 0;
        match completion.operation {
            Operation::Receive(id) => received = self.complete_receive(id, completion, true),
            Operation::Send(id) => self.complete_send(id, completion.result),
            Operation::Accept(listener) => self.complete_accept(listener, completion.result, completion.has_more),
            Operation::Wake => {
                self.ring.await_wake(self.mesh.eventfd().as_fd());
                self.take_changes();
            }
            Operation::Cancel => {}
        }
        // At once: what comes next of a connection that the shard has ended is not for the shard any more.
        self.close_finished();
        received
    }

    /// Takes received bytes that had to wait; returns how many.
    fn complete_put_off(&mut self, completion: Completion) -> usize {
        let Operation::Receive(id) = completion.operation else { return 0 };
        if let Some(connection) = self.slots.get(id) {
            connection.put_off -= 1;
        }
        let received = self.complete_receive(id, completion, false);
        self.close_finished();
        received
    }

    fn take_mesh(&mut self) -> bool {
        let mut had_any = false;
        for from in 0..self.outbox.mesh.len() {
            let mut has_taken = false;
            for _ in 0..MESH_BATCHES_MAX {
                let Some(item) = self.mesh.take(from) else { break };
                has_taken = true;
                let from = ShardId(from as u16);
                if !item.batch.is_empty() {
                    let before = sent_at_once(self.shard.counters());
                    self.shard.handle(self.now, Input::Mesh { from, batch: item.batch }, &mut self.outbox);
                    self.measure.note_crossed(item.since, before, sent_at_once(self.shard.counters()));
                }
                item.handoffs.into_iter().for_each(|handoff| self.take_over(handoff));
                self.close_finished();
            }
            if has_taken {
                self.mesh.unblock(from);
                had_any = true;
            }
        }
        had_any
    }

    fn pass_deadlines(&mut self) {
        let now = self.now;
        let is_due = |at: Option<Millis>| at.is_some_and(|at| at <= now);
        if is_due(self.shard.next_deadline()) && !self.is_restoring {
            self.shard.handle(now, Input::Deadline, &mut self.outbox);
        }
        if is_due(self.accept_at) {
            self.accept_at = None;
            self.arm_listeners();
        }
        if is_due(self.cool_at) {
            self.cool_down();
        }
        self.expire_closing();
        if self.stop_by.is_none() && self.is_stopping.load(Ordering::Acquire) {
            self.stop_by = Some(now.after_millis(STOP_MILLIS));
            self.stop_accepting();
            self.shard.handle(now, Input::Stop, &mut self.outbox);
        }
        self.close_finished();
    }

    /// Does what the main thread wants, if it wants anything.
    fn read_board(&mut self) {
        let news = self.board.news();
        if news == self.news_seen {
            return;
        }
        self.news_seen = news;
        let figures = self.figures();
        for order in self.board.exchange(self.id.index(), news, figures) {
            match order {
                Order::Announce(message) => {
                    self.shard.handle(self.now, Input::Announce(message), &mut self.outbox);
                }
            }
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            counters: *self.shard.counters(),
            gauges: self.shard.gauges(),
            control_packets_sent: self.outbox.egress.control_packets(),
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            accepted: self.accepted,
            tally: self.report.tally,
            turns: self.turns,
            batches_received: self.mesh.taken,
            batches_sent: self.mesh.sent,
            batches_waiting: self.mesh.waiting(),
        }
    }

    /// Whoever tells something has rung, so that this shard is awake.
    fn take_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            let input = match news {
                News::Verdict { ticket, connection, verdict } => Input::Verified { ticket, connection, verdict },
                News::Rules(policy) => Input::Rules(policy),
                News::Bounds(limits, tone) => {
                    self.bounds = Bounds::from(&*limits);
                    self.address_rates.change(limits.accepts_per_address_per_sec_max);
                    self.report.change(tone);
                    Input::Limits(limits)
                }
                News::Question(question) => {
                    let figures = self.figures();
                    let (shard, outbox, slots) = (&mut self.shard, &mut self.outbox, &mut self.slots);
                    let (latency, tracing) = (&self.measure.latency, &mut self.tracing);
                    question.ask(&mut Look { shard, outbox, slots, tracing, now: self.now, figures, latency });
                    self.close_finished();
                    continue;
                }
            };
            self.shard.handle(self.now, input, &mut self.outbox);
            self.close_finished();
        }
    }

    /// Lets passwords be checked; who comes when too many wait is told so.
    fn ask_checks(&mut self) {
        for check in std::mem::take(&mut self.outbox.checks) {
            let (ticket, connection) = (check.ticket, check.connection);
            let address = self.slots.get(connection).and_then(|connection| connection.peer().ip());
            if !self.asker.ask(check, address) {
                let verdict = Verdict::Busy;
                self.shard.handle(self.now, Input::Verified { ticket, connection, verdict }, &mut self.outbox);
            }
        }
    }

    fn take_store_answers(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.take_answers(self.now, &mut self.shard, &mut self.outbox);
            self.close_finished();
        }
    }

    fn report_events(&mut self) {
        if !self.outbox.events.is_empty() {
            for event in self.outbox.events.drain(..) {
                let peer = self.slots.get(connection_of(&event)).map(|connection| connection.peer());
                self.report.event(self.now, &event, peer);
            }
        }
        self.report.overflows(self.now, self.ring.overflows());
        self.report.flush(self.now);
    }

    /// Whether the broker stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    fn is_over(&self) -> bool {
        self.stop_by.is_some_and(|by| by <= self.now || (self.slots.used() == 0 && !self.mesh.is_full()))
    }

    /// Submits what the turn has queued and waits for news. Whether it has slept.
    fn wait(&mut self, had_work: bool) -> io::Result<bool> {
        let deadline = self.next_deadline();
        if self.has_news() || deadline.is_some_and(|at| at <= self.now) || self.is_over() {
            self.ring.submit()?;
            return Ok(false);
        }
        if had_work && self.spin_record.advise() {
            self.ring.submit()?;
            // What the submission itself brings says nothing about spins.
            if self.has_news() || self.spin() {
                return Ok(false);
            }
        }
        if !self.mesh.lie_down() {
            self.ring.submit()?;
            return Ok(false);
        }
        let timeout = deadline.map(|at| Duration::from_millis(at.0 - self.now.0));
        // One system call that submits and waits.
        let waited = self.ring.wait(timeout);
        self.mesh.rise();
        waited.map(|()| true)
    }

    fn has_news(&mut self) -> bool {
        let is_waiting = !self.waiting.is_empty() || !self.put_off.is_empty() || !self.large_sends.is_empty();
        let is_waiting = is_waiting || self.wrapping.has_handshakes();
        is_waiting || self.ring.has_news() || self.mesh.has_news() || self.can_resume()
    }

    fn spin(&mut self) -> bool {
        let until = Instant::now() + SPIN;
        let mut is_hit = false;
        while !is_hit && Instant::now() < until {
            hint::spin_loop();
            is_hit = self.ring.has_news() || self.mesh.has_news();
        }
        self.spin_record.note(is_hit);
        is_hit
    }

    fn next_deadline(&self) -> Option<Millis> {
        let closing = self.closing.front().map(|(by, _)| *by);
        if self.is_restoring {
            return Some(self.now.after_millis(RESTORE_PAUSE_MILLIS));
        }
        [self.shard.next_deadline(), closing, self.accept_at, self.cool_at, self.report.deadline(), self.stop_by]
            .into_iter()
            .flatten()
            .min()
    }
}
