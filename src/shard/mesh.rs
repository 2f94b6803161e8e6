//! Batches from and to other shards.
//!
//! Duty: route each mesh message to its room; number what wants an acknowledgement; merge acknowledgements; keep the logical
//! clock. Must not: send (the outbox holds one batch per peer). Neighbours: `route`, `interest`, `group`, `retain`.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

use super::acknowledge::{StoreWait, Waiter};
use super::group::Forward;
use super::matches::{Subscriber, Wish};
use super::run::PlainRun;
use super::{Answer, MeshAck, MeshBatch, MeshMessage, Outbox, Outcome, Run, Shard, Stamp};
use crate::id::{GlobalSessionId, Millis, PublisherId, ShardId};
use crate::message::Message;
use crate::store::OperationId;
use crate::topic::{TopicFilter, TopicName};

/// What this shard and one other owe each other.
#[derive(Debug, Default)]
struct Peer {
    /// Number of the last message sent that wants an ack.
    sent: u64,
    /// Those that are not yet acknowledged, in order; the last has number `sent`.
    waiting: VecDeque<Waiter>,
    /// Number of the last message received that wants an ack.
    received: u64,
    /// The peer's logical clock as last heard.
    clock: u64,
}

/// The other shards.
#[derive(Debug)]
pub(super) struct Peers {
    own: ShardId,
    clock: u64,
    peers: Vec<Peer>,
    /// Messages for groups that were passed on by their first hop: (first hop, number).
    passed_on: BTreeMap<(ShardId, u64), Waiter>,
    /// Answers that came before the first hop said that it had passed on.
    taken_early: BTreeMap<(ShardId, u64), Outcome>,
}

impl Peers {
    pub(super) fn new(own: ShardId, shards: usize) -> Self {
        Self {
            own,
            clock: 0,
            peers: std::iter::repeat_with(Peer::default).take(shards).collect(),
            passed_on: BTreeMap::new(),
            taken_early: BTreeMap::new(),
        }
    }

    /// All shards but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let (own, shards) = (self.own, self.peers.len());
        (0..shards as u16).map(ShardId).filter(move |&shard| shard != own)
    }

    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    /// Advances the logical clock; the stamp of what happens now.
    pub(super) fn tick(&mut self) -> Stamp {
        self.clock += 1;
        Stamp { clock: self.clock, shard: self.own }
    }

    /// The clock that every other shard has reached.
    pub(super) fn passed_clock(&self) -> u64 {
        self.others().map(|peer| self.peers[peer.index()].clock).min().unwrap_or(u64::MAX)
    }

    /// Messages that other shards have not yet answered for.
    pub(super) fn waiting(&self) -> usize {
        let by_pair: usize = self.peers.iter().map(|peer| peer.waiting.len()).sum();
        by_pair + self.passed_on.len() + self.taken_early.len()
    }

    /// A session is relieved of which early answers say that it is congested.
    pub(super) fn relieve_early(&mut self, id: GlobalSessionId) {
        for outcome in self.taken_early.values_mut().filter(|outcome| **outcome == Outcome::Congested(id)) {
            *outcome = Outcome::Taken;
        }
    }

    /// Numbers a message that wants an ack.
    pub(super) fn expect_ack(&mut self, peer: ShardId, waiter: Waiter) -> u64 {
        let peer = &mut self.peers[peer.index()];
        peer.sent += 1;
        peer.waiting.push_back(waiter);
        peer.sent
    }
}

impl Shard {
    /// A batch from another shard.
    pub(super) fn mesh_batch(&mut self, now: Millis, from: ShardId, batch: MeshBatch, outbox: &mut Outbox) {
        self.peers.clock = self.peers.clock.max(batch.clock);
        self.peers.peers[from.index()].clock = batch.clock;
        if let Some(ack) = batch.ack {
            self.peer_acknowledged(now, from, ack, outbox);
        }
        for message in batch.messages {
            self.mesh_message(now, from, message, outbox);
        }
        self.free_tombstones();
    }

    fn mesh_message(&mut self, now: Millis, from: ShardId, message: MeshMessage, outbox: &mut Outbox) {
        match message {
            MeshMessage::Publish { message, answer } => self.published(now, from, (&message, None), answer, outbox),
            MeshMessage::Run(run) => self.published_run(now, from, &run, outbox),
            MeshMessage::Retain { message, stamp, answer } => {
                self.peers.clock = self.peers.clock.max(stamp.clock);
                self.published(now, from, (&message, Some(stamp)), answer, outbox);
            }
            MeshMessage::Interest { filter, is_wanted, ticket } => {
                self.peer_interest(from, &filter, is_wanted, ticket, outbox);
            }
            MeshMessage::Staged { operation, outcome } => self.staged(now, operation, outcome, outbox),
            MeshMessage::InterestAck { ticket } => self.interest_acknowledged(from, ticket),
            MeshMessage::GroupMember { group, session, change, ticket } => {
                self.change_member(&group, GlobalSessionId { shard: from, session }, change);
                if ticket > 0 {
                    self.send_mesh(from, MeshMessage::InterestAck { ticket }, outbox);
                }
            }
            MeshMessage::GroupPublish { message, group, member, tried, origin, operation, is_first_hop } => {
                let forward = Forward { message, group, member, tried, origin, operation, is_first_hop };
                self.group_publish(now, from, forward, outbox);
            }
            MeshMessage::Relieved { session } => self.peer_relieved(GlobalSessionId { shard: from, session }),
            MeshMessage::GroupTaken { first_hop, number, outcome } => {
                self.group_taken(now, first_hop, number, outcome, outbox);
            }
        }
    }

    fn published(
        &mut self,
        now: Millis,
        from: ShardId,
        (message, retained): (&Message, Option<Stamp>),
        answer: Answer,
        outbox: &mut Outbox,
    ) {
        let mut carrier = self.carrier_of(message);
        let matches = self.matches_of(TopicName::trusted(carrier.view().topic));
        let operation = match answer {
            Answer::Staged(number) => Some(OperationId { shard: from, number }),
            Answer::None | Answer::Ack => None,
        };
        let mut routed = self.route_here(now, &matches, &mut carrier, operation, outbox);
        if let Some(stamp) = retained {
            routed.needs_store |= self.set_retained(now, message, stamp, outbox);
        }
        self.give_back(carrier);
        match answer {
            Answer::None => {}
            Answer::Ack => self.peer_message_done(from, routed.outcome(), routed.needs_store, outbox),
            Answer::Staged(number) => {
                self.answer_staged(now, OperationId { shard: from, number }, routed.outcome(), outbox);
            }
        }
    }

    fn peer_interest(&mut self, from: ShardId, filter: &str, is_wanted: bool, ticket: u64, outbox: &mut Outbox) {
        let filter = TopicFilter::trusted(filter);
        if is_wanted {
            self.subscribers.insert(filter, Subscriber::Shard(from), Wish::ANY);
            self.send_mesh(from, MeshMessage::InterestAck { ticket }, outbox);
        } else {
            self.subscribers.remove(filter, Subscriber::Shard(from));
        }
    }

    /// A message from a peer is done here: acknowledged now, or when the store has it, in the order of arrival.
    pub(super) fn peer_message_done(
        &mut self,
        from: ShardId,
        outcome: Outcome,
        needs_store: bool,
        outbox: &mut Outbox,
    ) {
        let peer = &mut self.peers.peers[from.index()];
        peer.received += 1;
        let number = peer.received;
        if needs_store {
            self.await_ticket(StoreWait::Peer { from, number, outcome }, outbox);
        } else if !self.queue_behind_waits(from, number, outcome) {
            self.acknowledge_peer(from, number, outcome, outbox);
        }
    }

    /// Merges an acknowledgement into the batch for a peer.
    pub(super) fn acknowledge_peer(&mut self, peer: ShardId, number: u64, outcome: Outcome, outbox: &mut Outbox) {
        let outcome = self.told(peer, outcome);
        let batch = &mut outbox.mesh[peer.index()];
        batch.clock = self.peers.clock;
        let ack = batch.ack.get_or_insert_with(MeshAck::default);
        ack.through = number;
        if outcome != Outcome::Taken {
            ack.exceptions.push((number, outcome));
        }
    }

    fn peer_acknowledged(&mut self, now: Millis, from: ShardId, ack: MeshAck, outbox: &mut Outbox) {
        let mut exceptions = ack.exceptions.into_iter().peekable();
        loop {
            let peer = &mut self.peers.peers[from.index()];
            let number = peer.sent + 1 - peer.waiting.len() as u64;
            if number > ack.through {
                return;
            }
            let Some(waiter) = peer.waiting.pop_front() else { return };
            let exception = exceptions.next_if(|(excepted, _)| *excepted == number);
            match exception.map_or(Outcome::Taken, |(_, outcome)| outcome) {
                Outcome::PassedOn => match self.peers.taken_early.remove(&(from, number)) {
                    Some(outcome) => self.complete(now, waiter, outcome, outbox),
                    None => {
                        self.peers.passed_on.insert((from, number), waiter);
                    }
                },
                outcome => self.complete(now, waiter, outcome, outbox),
            }
        }
    }

    /// A message for a group that was passed on has found its end.
    pub(super) fn group_taken(
        &mut self,
        now: Millis,
        first_hop: ShardId,
        number: u64,
        outcome: Outcome,
        outbox: &mut Outbox,
    ) {
        match self.peers.passed_on.remove(&(first_hop, number)) {
            Some(waiter) => self.complete(now, waiter, outcome, outbox),
            None => {
                self.peers.taken_early.insert((first_hop, number), outcome);
            }
        }
    }

    /// Adds a message to the batch for a peer; for messages that a full queue does not refuse.
    pub(super) fn send_mesh(&mut self, peer: ShardId, message: MeshMessage, outbox: &mut Outbox) {
        let batch = &mut outbox.mesh[peer.index()];
        batch.clock = self.peers.clock;
        batch.messages.push(message);
    }

    /// Adds a published message to the batch for a peer; counted, as a full queue refuses further ones.
    pub(super) fn send_mesh_publish(&mut self, peer: ShardId, message: MeshMessage, bytes: usize, outbox: &mut Outbox) {
        self.counters.mesh_publishes += 1;
        let batch = &mut outbox.mesh[peer.index()];
        batch.publishes += 1;
        batch.publish_bytes += bytes;
        self.send_mesh(peer, message, outbox);
    }

    /// What a peer is to answer to a message of an operation, or to one that somebody waits for.
    fn answer_wanted(&mut self, peer: ShardId, (waiter, operation): (Option<Waiter>, Option<NonZeroU64>)) -> Answer {
        match (waiter, operation) {
            (_, Some(number)) => Answer::Staged(number.get()),
            (Some(waiter), None) => {
                self.peers.expect_ack(peer, waiter);
                Answer::Ack
            }
            (None, None) => Answer::None,
        }
    }

    pub(super) fn send_publish(
        &mut self,
        peer: ShardId,
        message: &Message,
        wanted: (Option<Waiter>, Option<NonZeroU64>),
        outbox: &mut Outbox,
    ) {
        let forward = MeshMessage::Publish { message: message.clone(), answer: self.answer_wanted(peer, wanted) };
        self.send_mesh_publish(peer, forward, message.counted_bytes(), outbox);
    }

    /// Adds packets that are plain and of one topic to the batch for a peer: to the last message there, if they go on with it.
    pub(super) fn send_packets(
        &mut self,
        peer: ShardId,
        packets: &PlainRun<'_>,
        publisher: Option<PublisherId>,
        waiter: Option<Waiter>,
        outbox: &mut Outbox,
    ) {
        let is_acked = waiter.map(|waiter| self.peers.expect_ack(peer, waiter)).is_some();
        self.counters.mesh_publishes += packets.count as u64;
        let batch = &mut outbox.mesh[peer.index()];
        batch.clock = self.peers.clock;
        batch.publishes += packets.count;
        batch.publish_bytes += packets.bytes.len();
        if let Some(MeshMessage::Run(run)) = batch.messages.last_mut()
            && (run.publisher, run.version, run.is_acked) == (publisher, packets.version, is_acked)
            && packets.goes_on_with(&run.packets)
        {
            run.packets.extend_from_slice(packets.bytes);
            run.count += packets.count as u32;
            return;
        }
        batch.messages.push(MeshMessage::Run(Run {
            packets: packets.bytes.to_vec(),
            count: packets.count as u32,
            version: packets.version,
            publisher,
            is_acked,
        }));
    }

    pub(super) fn send_retain(
        &mut self,
        peer: ShardId,
        message: &Message,
        stamp: Stamp,
        wanted: (Option<Waiter>, Option<NonZeroU64>),
        outbox: &mut Outbox,
    ) {
        let answer = self.answer_wanted(peer, wanted);
        let forward = MeshMessage::Retain { message: message.clone(), stamp, answer };
        self.send_mesh_publish(peer, forward, message.counted_bytes(), outbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::limits::Limits;
    use crate::session::LargePayloads;
    use crate::shard::{Input, MemberChange, ShardConfig};

    /// What nobody waits for is not answered: such a change has no ticket.
    #[test]
    fn a_change_is_answered_where_it_has_a_ticket() {
        let mut shard = Shard::new(ShardConfig {
            shard: ShardId(0),
            shards: 2,
            hash_seed: 1,
            id_seed: 1,
            secret: crate::auth::scram::Secret::new([9; 32]),
            limits: Limits::default(),
            large_payloads: LargePayloads::default(),
            is_faulty: false,
            store: None,
            policy: std::sync::Arc::default(),
        });
        let member = |change, ticket| MeshMessage::GroupMember {
            group: "$share/g/a".into(),
            session: SessionId { slot: 0, generation: 0 },
            change,
            ticket,
        };
        let interest = |is_wanted, ticket| MeshMessage::Interest { filter: "a".into(), is_wanted, ticket };
        let mut outbox = Outbox::new(2);
        let messages = vec![
            member(MemberChange::Online(true), 0),
            member(MemberChange::Left, 0),
            interest(true, 7),
            interest(false, 0),
            member(MemberChange::Left, 8),
        ];
        let batch = MeshBatch { messages, ..MeshBatch::default() };
        shard.handle(Millis(0), Input::Mesh { from: ShardId(1), batch }, &mut outbox);
        let answered = outbox.mesh[1].messages.iter().map(|message| match message {
            MeshMessage::InterestAck { ticket } => *ticket,
            other => panic!("{other:?}"),
        });
        assert_eq!(answered.collect::<Vec<_>>(), [7, 8]);
    }
}
