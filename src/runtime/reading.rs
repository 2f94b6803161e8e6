//! Reading: from received bytes to the shard.
//!
//! Duty: offer bytes to the shard in place, carry what it leaves, park what it cannot take now, and keep a receive operation
//! armed exactly while bytes are wanted. Must not: look into the bytes. Neighbours: `carry` keeps the rest; `Shard::receive`
//! says what comes next; `closing` ends what has ended.

use super::connection::{Connection, Pause, Phase, Receiving};
use super::driver::Driver;
use super::measure::IS_METERED;
use super::mesh::Handoff;
use super::operation::Operation;
use super::panic_policy;
use super::ring::{Completion, FirstBurst};
use crate::id::{ConnectionId, Millis, ShardId};
use crate::shard::{Next, Outbox, Received, Shard};

impl Driver {
    /// Takes the completion of a receive; returns the bytes received. `may_wait`: what its connection has too much in this
    /// turn is put off.
    pub(super) fn complete_receive(&mut self, id: ConnectionId, completion: Completion, may_wait: bool) -> usize {
        let received = usize::try_from(completion.result).unwrap_or(0);
        let Some(connection) = self.slots.get(id) else {
            debug_assert!(false, "a slot is kept until its last completion");
            return received;
        };
        if may_wait && connection.must_wait(self.turns as u32, received, self.bounds.turn_bytes_per_connection_max) {
            connection.put_off += 1;
            self.put_off.push_back(completion);
            return 0;
        }
        if !completion.has_more {
            connection.receiving = Receiving::Idle;
        } else if connection.first_burst.ends_unsure(completion.has_drained) && connection.receiving == Receiving::Many
        {
            connection.receiving = Receiving::Cancelled;
            self.ring.cancel(Operation::Receive(id));
        }
        if received > 0 {
            connection.feed(self.turns as u32, received);
            self.bytes_received += received as u64;
        }
        let is_wrapped = connection.transport().is_some();
        if is_wrapped && let Some(buffer) = completion.buffer {
            self.keep_raw(&buffer, received);
            self.ring.give_back(buffer);
            self.take_raw(id);
            return received;
        }
        let taken = match &completion.buffer {
            Some(buffer) => {
                let new = self.ring.received(buffer, received);
                let (shard, outbox, now) = (&mut self.shard, &mut self.outbox, self.now);
                panic_policy::catch(|| take_bytes(shard, outbox, now, id, connection, new))
            }
            None => Ok(Next::Read { needed: None }),
        };
        let next = self.next_or_contain(id, taken);
        if let Some(buffer) = completion.buffer {
            self.ring.give_back(buffer);
        }
        let is_passing = matches!(-completion.result, libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN);
        if completion.result <= 0 && !is_passing {
            self.end_reading(id);
        }
        self.follow(id, next);
        received
    }

    /// Offers a connection's unread bytes again, or for the first time on this shard.
    pub(super) fn offer_carried(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        if !connection.carry.is_empty() {
            connection.carry.set_ready();
        }
        let (shard, outbox, now) = (&mut self.shard, &mut self.outbox, self.now);
        let taken = panic_policy::catch(|| take_bytes(shard, outbox, now, id, connection, &[]));
        let next = self.next_or_contain(id, taken);
        self.follow(id, next);
    }

    /// Does what the shard wants after received bytes.
    pub(super) fn follow(&mut self, id: ConnectionId, next: Next) {
        match next {
            Next::Read { .. } => {}
            Next::AwaitMesh => self.pause(id, Pause::Mesh),
            Next::AwaitDrain => self.pause(id, Pause::Drain),
            Next::Handoff(to) => return self.hand_over(id, to),
            // It stands among the closes of the outbox.
            Next::Closed => return,
        }
        let Some(connection) = self.slots.get(id) else { return };
        if connection.has_ended && connection.phase == Phase::Open && connection.pause == Pause::None {
            return self.lose(id);
        }
        if connection.phase == Phase::Dead {
            return self.release_if_quiet(id);
        }
        let is_over = connection.transport().is_some_and(|transport| transport.is_over());
        if is_over && connection.phase == Phase::Open && connection.pause == Pause::None {
            return self.lose_politely(id);
        }
        self.want_bytes(id);
    }

    fn pause(&mut self, id: ConnectionId, pause: Pause) {
        let Some(connection) = self.slots.get(id) else { return };
        connection.pause = pause;
        if connection.receiving == Receiving::Many {
            connection.receiving = Receiving::Cancelled;
            self.ring.cancel(Operation::Receive(id));
        }
        match pause {
            Pause::Mesh => self.awaiting_mesh.push_back(id),
            // What the egress has reported before the pause is not reported again.
            Pause::Drain | Pause::Handshake | Pause::None => {}
        }
    }

    /// Tells the shard whose egress is low again, and lets go on reading who waited for that, for answers, or for the mesh.
    pub(super) fn resume_paused(&mut self) {
        for id in std::mem::take(&mut self.outbox.resumes) {
            self.resume(id, Pause::Drain);
        }
        for at in 0..self.drained.len() {
            let id = self.drained[at];
            self.tell_drained(id);
            self.resume(id, Pause::Drain);
        }
        self.drained.clear();
        for _ in 0..self.awaiting_mesh.len() {
            if !self.shard.takes_publishes(&self.outbox) {
                break;
            }
            let Some(id) = self.awaiting_mesh.pop_front() else { break };
            self.resume(id, Pause::Mesh);
        }
    }

    /// Whether somebody who has waited need not wait any longer.
    pub(super) fn can_resume(&self) -> bool {
        let is_mesh_free = !self.awaiting_mesh.is_empty() && self.shard.takes_publishes(&self.outbox);
        is_mesh_free || !self.drained.is_empty() || !self.outbox.resumes.is_empty()
    }

    fn resume(&mut self, id: ConnectionId, pause: Pause) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase == Phase::Open && connection.pause == pause {
            connection.pause = Pause::None;
            self.offer_carried(id);
            self.close_finished();
        }
    }

    fn hand_over(&mut self, id: ConnectionId, to: ShardId) {
        let close_by = self.close_by();
        let Some(connection) = self.slots.get(id) else { return };
        if connection.is_quiet() {
            return self.hand_over_now(id, to);
        }
        // The last bytes of a handshake are still being sent.
        connection.phase = Phase::Leaving;
        self.leaving.push((id, to));
        self.closing.push_back((close_by, id));
    }

    /// Nothing of a connection is in flight any more that belongs elsewhere.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        let Some(at) = self.leaving.iter().position(|(leaving, _)| *leaving == id) else { return };
        let (_, to) = self.leaving.swap_remove(at);
        self.hand_over_now(id, to);
    }

    fn hand_over_now(&mut self, id: ConnectionId, to: ShardId) {
        let Some(connection) = self.slots.close(id) else { return };
        let accepted_at = connection.accepted_at;
        let (socket, origin, unread) = connection.into_parts();
        self.mesh.hand_over(to, Handoff { socket, origin, accepted_at, unread });
    }

    /// Notes that a connection may need a receive operation at the end of the turn.
    pub(super) fn want_bytes(&mut self, id: ConnectionId) {
        let turn_number = self.turns as u32;
        let Some(connection) = self.slots.get(id) else { return };
        if connection.receiving != Receiving::Idle || connection.is_rearmed || !connection.wants_bytes() {
            return;
        }
        connection.is_rearmed = true;
        let list = if connection.fed_in_turn == turn_number { &mut self.fed } else { &mut self.hungry };
        list.push(id);
    }

    /// Arms what has to be armed. Who got nothing this turn comes first: so buffers go round among many fast publishers.
    pub(super) fn rearm_receives(&mut self) {
        let is_alone = self.mesh.is_alone();
        for list in [&mut self.hungry, &mut self.fed] {
            for id in list.drain(..) {
                let Some(connection) = self.slots.get(id) else { continue };
                connection.is_rearmed = false;
                if connection.receiving != Receiving::Idle || !connection.wants_bytes() {
                    continue;
                }
                // A connection that may still move to another shard must have nothing in flight after its bytes came.
                // A TLS handshake goes step by step, so that what is not its turn yet stays in the socket.
                let is_free = is_alone && !connection.transport().is_some_and(|transport| transport.is_handshaking());
                if connection.is_settled || is_free || connection.phase != Phase::Open {
                    self.ring.receive_many(id, connection.socket());
                    connection.receiving = Receiving::Many;
                    connection.first_burst = FirstBurst::default();
                } else {
                    self.ring.receive_once(id, connection.socket());
                    connection.receiving = Receiving::Once;
                }
            }
        }
    }
}

/// Offers the shard what a connection has, `new` last, until it wants something else than more bytes.
pub(super) fn take_bytes(
    shard: &mut Shard,
    outbox: &mut Outbox,
    now: Millis,
    id: ConnectionId,
    connection: &mut Connection,
    new: &[u8],
) -> Next {
    if connection.phase != Phase::Open {
        return Next::Read { needed: None };
    }
    if connection.pause != Pause::None {
        connection.carry.append(new);
        return Next::Read { needed: None };
    }
    let next = take_unpaused(shard, outbox, now, id, connection, new);
    if connection.carry.is_empty() {
        // Few connections have a part of a packet at any time.
        connection.carry.give_up();
    }
    next
}

fn take_unpaused(
    shard: &mut Shard,
    outbox: &mut Outbox,
    now: Millis,
    id: ConnectionId,
    connection: &mut Connection,
    mut new: &[u8],
) -> Next {
    let Connection { carry, is_settled, traffic, .. } = connection;
    while !new.is_empty() || carry.is_ready() {
        let is_in_place = carry.is_empty();
        let received = if is_in_place {
            Received { bytes: new, shared: None }
        } else {
            if !carry.is_ready() {
                let filled = carry.fill(new);
                new = &new[filled..];
            }
            if !carry.is_ready() {
                break;
            }
            carry.front()
        };
        let before = shard.counters().publishes_received.sum();
        let taken = shard.receive(now, id, received, outbox);
        if IS_METERED {
            let messages = shard.counters().publishes_received.sum() - before;
            traffic.messages_received = traffic.messages_received.wrapping_add(messages as u32);
        }
        *is_settled |= taken.consumed > 0;
        let needed = if let Next::Read { needed } = taken.next { needed } else { None };
        if is_in_place {
            if taken.consumed < new.len() {
                carry.keep(&new[taken.consumed..], needed);
            }
            new = &[];
        } else {
            carry.consume(taken.consumed, needed);
        }
        if !matches!(taken.next, Next::Read { .. }) {
            if !new.is_empty() || !carry.is_empty() {
                carry.append(new);
            }
            return taken.next;
        }
    }
    Next::Read { needed: None }
}
