//! Shared subscriptions (section 4.8.2) over all shards.
//!
//! Duty: the same ordered list of members on every shard, one cursor for all of them, so that messages go round strictly in
//! the order of subscription wherever members and publishers live; online members before offline ones; pass on what a
//! member cannot take. Must not: deliver itself. Neighbours: `subscribe` joins and leaves, `route` publishes, `mesh` carries.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::acknowledge::{StoreWait, Waiter};
use super::carrier::{Carrier, Manner};
use super::deliver::Delivered;
use super::interest::PendingSuback;
use super::matches::{Delivery, Own, Subscriber, Wish};
use super::route::Routed;
use super::{Cursor, DropReason, GroupOrigin, MemberChange, MeshMessage, Outbox, Outcome, Shard, Stamp};
use crate::id::{GlobalSessionId, Millis, SessionId, ShardId};
use crate::message::Message;
use crate::session::SubscriptionIds;
use crate::store::OperationId;
use crate::topic::SubscriptionFilter;
use crate::wire::QoS;

#[derive(Debug)]
struct Member {
    since: Stamp,
    id: GlobalSessionId,
    is_online: bool,
    /// The cursor that it brought.
    cursor: Cursor,
}

/// One `$share/group/filter`.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    /// In the order of subscription.
    members: Vec<Member>,
    /// The members among whom messages go round now: those online or, if there are none, all.
    eligible: Vec<GlobalSessionId>,
    /// The oldest that a member brought. Two shards may found a group at once, so that there are two: as each goes with the
    /// members that know it, all shards agree again as soon as they know the same members.
    cursor: Cursor,
}

impl Group {
    fn find(&mut self, id: GlobalSessionId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn refresh(&mut self) {
        self.eligible.clear();
        self.eligible.extend(self.members.iter().filter(|member| member.is_online).map(|member| member.id));
        if self.eligible.is_empty() {
            self.eligible.extend(self.members.iter().map(|member| member.id));
        }
        if let Some(oldest) = self.members.iter().min_by_key(|member| member.cursor.made) {
            self.cursor = oldest.cursor.clone();
        }
    }

    /// The member whose turn it is.
    fn next(&self) -> Option<GlobalSessionId> {
        let turn = self.cursor.next.fetch_add(1, Ordering::Relaxed);
        let place = turn.checked_rem(self.eligible.len() as u64)?;
        Some(self.eligible[place as usize])
    }

    /// Somebody who was not tried, online members first.
    fn next_untried(&self, tried: &[GlobalSessionId]) -> Option<GlobalSessionId> {
        let mut all = self.eligible.iter().copied().chain(self.members.iter().map(|member| member.id));
        all.find(|id| !tried.contains(id))
    }
}

/// The parts of a `MeshMessage::GroupPublish`.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) message: Message,
    pub(super) group: Arc<str>,
    pub(super) member: SessionId,
    pub(super) tried: Vec<GlobalSessionId>,
    pub(super) origin: Option<GroupOrigin>,
    pub(super) operation: Option<OperationId>,
    pub(super) is_first_hop: bool,
}

/// The shared subscriptions of the whole broker, as this shard knows them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Option<Group>>,
    free: Vec<u32>,
    by_name: BTreeMap<Arc<str>, u32>,
}

impl Groups {
    fn get_mut(&mut self, name: &str) -> Option<&mut Group> {
        let slot = *self.by_name.get(name)?;
        self.slots[slot as usize].as_mut()
    }

    /// The name of a group, and how many members it has in the broker.
    pub(super) fn described(&self, slot: u32) -> Option<(Box<str>, usize)> {
        let group = self.slots.get(slot as usize)?.as_ref()?;
        Some(((*group.name).into(), group.members.len()))
    }

    fn insert(&mut self, group: Group) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer groups than 2^32")
        });
        self.by_name.insert(Arc::clone(&group.name), slot);
        self.slots[slot as usize] = Some(group);
        slot
    }

    fn remove(&mut self, name: &str) -> Option<u32> {
        let slot = self.by_name.remove(name)?;
        self.slots[slot as usize] = None;
        self.free.push(slot);
        Some(slot)
    }
}

impl Shard {
    /// A session of this shard subscribes to a group.
    pub(super) fn join_group(
        &mut self,
        name: &Arc<str>,
        session: SessionId,
        is_new: bool,
        pending: &mut PendingSuback,
        outbox: &mut Outbox,
    ) {
        let id = GlobalSessionId { shard: self.id(), session };
        let known = self
            .groups
            .get_mut(name)
            .and_then(|group| group.find(id).map(|member| (member.since, member.cursor.clone())));
        let (since, cursor) = known.filter(|_| !is_new).unwrap_or_else(|| {
            let since = self.peers.tick();
            let made = || Cursor { made: since, next: Arc::new(AtomicU64::new(0)) };
            (since, self.groups.get_mut(name).map_or_else(made, |group| group.cursor.clone()))
        });
        let change = MemberChange::Joined { since, is_online: true, cursor };
        self.change_member(name, id, change.clone());
        if self.config.shards > 1 {
            let ticket = self.interests.raise_barrier(&self.peers);
            self.interests.wait(ticket, pending);
            self.tell_member(name, session, &change, ticket, outbox);
        }
    }

    /// A session of this shard leaves a group.
    pub(super) fn leave_group(&mut self, name: &str, session: SessionId, outbox: &mut Outbox) {
        let id = GlobalSessionId { shard: self.id(), session };
        self.change_member(name, id, MemberChange::Left);
        self.tell_member(&Arc::from(name), session, &MemberChange::Left, 0, outbox);
    }

    /// The client of a session came or went.
    pub(super) fn groups_of_session_online(&mut self, session_id: SessionId, is_online: bool, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        if session.subscriptions.is_empty() {
            return;
        }
        // '0' follows '/', so the range is all that begins with "$share/".
        let shared = session.subscriptions.range::<str, _>((Included("$share/"), Excluded("$share0")));
        let names: Vec<Arc<str>> = shared.map(|(name, _)| Arc::clone(name)).collect();
        let id = GlobalSessionId { shard: self.id(), session: session_id };
        for name in names {
            self.change_member(&name, id, MemberChange::Online(is_online));
            self.tell_member(&name, session_id, &MemberChange::Online(is_online), 0, outbox);
        }
    }

    fn tell_member(
        &mut self,
        name: &Arc<str>,
        session: SessionId,
        change: &MemberChange,
        ticket: u64,
        outbox: &mut Outbox,
    ) {
        for peer in self.peers.others() {
            let group = Arc::clone(name);
            let message = MeshMessage::GroupMember { group, session, change: change.clone(), ticket };
            self.send_mesh(peer, message, outbox);
        }
    }

    /// Applies a change of membership, own or told by another shard.
    pub(super) fn change_member(&mut self, name: &str, id: GlobalSessionId, change: MemberChange) {
        match change {
            MemberChange::Joined { since, is_online, cursor } => {
                self.add_member(name, Member { since, id, is_online, cursor });
            }
            MemberChange::Left => self.remove_member(name, id),
            MemberChange::Online(is_online) => {
                if let Some(group) = self.groups.get_mut(name) {
                    if let Some(member) = group.find(id) {
                        member.is_online = is_online;
                    }
                    group.refresh();
                }
            }
        }
    }

    fn add_member(&mut self, name: &str, member: Member) {
        if self.groups.get_mut(name).is_none() {
            let cursor = member.cursor.clone();
            let group = Group { name: Arc::from(name), members: Vec::new(), eligible: Vec::new(), cursor };
            let slot = self.groups.insert(group);
            let filter = SubscriptionFilter::trusted(name).filter();
            self.subscribers.insert(filter, Subscriber::Group(slot), Wish::ANY);
        }
        let Some(group) = self.groups.get_mut(name) else { return };
        group.members.retain(|known| known.id != member.id);
        let place = group.members.partition_point(|known| known.since < member.since);
        group.members.insert(place, member);
        group.refresh();
    }

    fn remove_member(&mut self, name: &str, id: GlobalSessionId) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.members.retain(|member| member.id != id);
        group.refresh();
        if group.members.is_empty()
            && let Some(slot) = self.groups.remove(name)
        {
            let filter = SubscriptionFilter::trusted(name).filter();
            self.subscribers.remove(filter, Subscriber::Group(slot));
        }
    }

    /// Gives a message that was published here to one member of a group. `PassedOn`: another shard will answer the waiter.
    pub(super) fn deliver_to_group(
        &mut self,
        now: Millis,
        slot: u32,
        carrier: &mut Carrier<'_>,
        waiter: Option<Waiter>,
        routed: &mut Routed,
        outbox: &mut Outbox,
    ) -> Outcome {
        let Some(group) = &self.groups.slots[slot as usize] else { return Outcome::NoMatch };
        let name = Arc::clone(&group.name);
        let mut next = group.next();
        let mut tried = Vec::new();
        let mut outcome = Outcome::NoMatch;
        while let Some(member) = next {
            if member.shard != self.id() {
                let wanted = (waiter, routed.operation);
                self.forward_first(&name, member, tried, carrier.message().clone(), wanted, outbox);
                return if waiter.is_some() { Outcome::PassedOn } else { Outcome::Taken };
            }
            let delivered = self.deliver_to_member(now, &name, member.session, carrier, outbox);
            routed.needs_store |= delivered.needs_store;
            outcome = delivered.outcome;
            if matches!(outcome, Outcome::Taken | Outcome::Congested(_)) {
                return outcome;
            }
            tried.push(member);
            next = self.groups.get_mut(&name).and_then(|group| group.next_untried(&tried));
        }
        self.miss_group(&name, outcome);
        outcome
    }

    /// Counts that no member of a group could take a message, if it has any.
    fn miss_group(&mut self, name: &str, outcome: Outcome) {
        if outcome == Outcome::Refused {
            self.counters.miss(DropReason::QueueFull);
        } else if self.groups.get_mut(name).is_some() {
            self.counters.miss(DropReason::Offline);
        }
    }

    fn forward_first(
        &mut self,
        name: &Arc<str>,
        member: GlobalSessionId,
        tried: Vec<GlobalSessionId>,
        message: Message,
        (waiter, operation): (Option<Waiter>, Option<NonZeroU64>),
        outbox: &mut Outbox,
    ) {
        self.counters.group_forwards += 1;
        let operation = operation.map(|number| OperationId { shard: self.id(), number: number.get() });
        let number = waiter.filter(|_| operation.is_none()).map(|waiter| self.peers.expect_ack(member.shard, waiter));
        let origin = number.map(|number| GroupOrigin { shard: self.id(), first_hop: member.shard, number });
        let bytes = message.counted_bytes();
        let group = Arc::clone(name);
        let forward = MeshMessage::GroupPublish {
            message,
            group,
            member: member.session,
            tried,
            origin,
            operation,
            is_first_hop: true,
        };
        self.send_mesh_publish(member.shard, forward, bytes, outbox);
    }

    fn deliver_to_member(
        &mut self,
        now: Millis,
        name: &str,
        session_id: SessionId,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Delivered {
        let gone = Delivered { outcome: Outcome::NoMatch, needs_store: false };
        let Some(session) = self.sessions.get_mut(session_id) else { return gone };
        let is_away = session.connection.is_none();
        let Some(subscription) = session.subscriptions.get(name) else { return gone };
        let delivery = Delivery {
            session: session_id.slot,
            qos: subscription.options.qos,
            retain_as_published: subscription.options.retain_as_published,
            subscription_ids: SubscriptionIds::new(subscription.subscription_id.as_slice()),
            own: Own::Same,
        };
        let manner = Manner::of(&delivery, carrier.view());
        // Case A06: somebody who has the right may.
        if self.limits_rights && !self.may_receive(session_id, carrier.view().topic) {
            return gone;
        }
        // A member that is away cannot take QoS 0 [section 4.8.2]: somebody else may.
        if is_away && manner.qos == QoS::AtMostOnce {
            return gone;
        }
        match self.deliver_plainly(&delivery, carrier, outbox) {
            Some(delivered) => delivered,
            None => self.give(now, session_id, manner, carrier, outbox),
        }
    }

    /// A message for a member of this shard, chosen elsewhere.
    pub(super) fn group_publish(&mut self, now: Millis, from: ShardId, forward: Forward, outbox: &mut Outbox) {
        let Forward { message, group, member, mut tried, origin, operation, is_first_hop } = forward;
        let mut next = Some(GlobalSessionId { shard: self.id(), session: member });
        let mut outcome = Outcome::NoMatch;
        let mut needs_store = false;
        let mut carrier = self.carrier_of(&message);
        let from_taken = self.keep.taken();
        while let Some(member) = next {
            if member.shard != self.id() {
                let (message, group) = (message.clone(), Arc::clone(&group));
                let onward = MeshMessage::GroupPublish {
                    message,
                    group,
                    member: member.session,
                    tried: std::mem::take(&mut tried),
                    origin,
                    operation,
                    is_first_hop: false,
                };
                // Passed on above the limit of the queue: bounded by the members of the group.
                self.send_mesh(member.shard, onward, outbox);
                outcome = Outcome::PassedOn;
                break;
            }
            let delivered = self.deliver_to_member(now, &group, member.session, &mut carrier, outbox);
            needs_store |= delivered.needs_store;
            outcome = delivered.outcome;
            if matches!(outcome, Outcome::Taken | Outcome::Congested(_)) {
                break;
            }
            tried.push(member);
            next = self.groups.get_mut(&group).and_then(|group| group.next_untried(&tried));
        }
        if matches!(outcome, Outcome::NoMatch | Outcome::Refused) {
            self.miss_group(&group, outcome);
        }
        self.keep_message(now, from_taken, &mut carrier, operation, outbox);
        self.give_back(carrier);
        if let Some(operation) = operation.filter(|_| outcome != Outcome::PassedOn) {
            self.answer_staged(now, operation, outcome, outbox);
        }
        let Some(origin) = origin else { return };
        if is_first_hop {
            self.peer_message_done(from, outcome, needs_store, outbox);
        } else if needs_store {
            self.await_ticket(StoreWait::PassedOn { origin, outcome }, outbox);
        } else if outcome != Outcome::PassedOn {
            self.tell_taken(now, origin, outcome, outbox);
        }
    }

    /// Tells the publisher's shard what became of a message that was passed on.
    pub(super) fn tell_taken(&mut self, now: Millis, origin: GroupOrigin, outcome: Outcome, outbox: &mut Outbox) {
        let GroupOrigin { shard, first_hop, number } = origin;
        if shard == self.id() {
            self.group_taken(now, first_hop, number, outcome, outbox);
        } else {
            let outcome = self.told(shard, outcome);
            self.send_mesh(shard, MeshMessage::GroupTaken { first_hop, number, outcome }, outbox);
        }
    }
}
