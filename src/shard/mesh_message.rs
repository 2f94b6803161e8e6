//! What one shard sends another.
//!
//! Duty: the words of the mesh, as data. Must not: carry sockets (the runtime moves those beside a batch) or decide
//! anything. Neighbours: the shard's rooms fill and read batches; `runtime` and the simulation carry them, in order.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::id::{GlobalSessionId, PublisherId, SessionId, ShardId};
use crate::message::Message;
use crate::store::OperationId;
use crate::wire::ProtocolVersion;

/// All that one shard has to say to another after one turn. Batches of a pair never overtake each other.
#[derive(Debug, Default)]
pub struct MeshBatch {
    /// The sender's logical clock.
    pub clock: u64,
    /// Acknowledges messages that the receiver of this batch has sent.
    pub ack: Option<MeshAck>,
    /// Messages in order.
    pub messages: Vec<MeshMessage>,
    /// Whether the clock itself is news that the receiver waits for.
    pub(super) is_clock_owed: bool,
    /// PUBLISH messages among `messages`; bounded by `mesh_publishes_max`.
    pub(super) publishes: usize,
    /// Their bytes; bounded by `mesh_bytes_max`.
    pub(super) publish_bytes: usize,
}

impl MeshBatch {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.ack.is_none() && !self.is_clock_owed
    }
}

/// Acknowledges every acknowledged message of the pair up to `through`; merged, so of constant size but for exceptions.
#[derive(Debug, Default)]
pub struct MeshAck {
    /// Number of the last message acknowledged; messages that want an ack are counted from 1 per pair.
    pub through: u64,
    /// Messages at or before `through` that were not simply delivered or queued.
    pub exceptions: Vec<(u64, Outcome)>,
}

/// What became of a message at a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered or queued for somebody.
    Taken,
    /// Queued for somebody whose queue is long, and taken by nobody else here: [`MeshMessage::Relieved`] will follow.
    Congested(GlobalSessionId),
    /// No subscription matched (0x10 if everywhere so).
    NoMatch,
    /// Every matching session refused it (0x97 if everywhere so).
    Refused,
    /// Taken, and then the store failed: it must not be acknowledged as safe.
    Failed,
    /// A member of a shared subscription was gone; another one has been asked and acknowledges by [`MeshMessage::GroupTaken`].
    PassedOn,
}

/// Orders retained messages of all shards: logical clock, then shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Logical clock of the publisher's shard.
    pub clock: u64,
    /// The publisher's shard.
    pub shard: ShardId,
}

/// The cursor that all shards of a shared subscription advance, and when it was made: the oldest wins.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// When it was made.
    pub made: Stamp,
    /// Messages handed out so far.
    pub next: Arc<AtomicU64>,
}

/// A change in the membership of a shared subscription.
#[derive(Clone, Debug)]
pub enum MemberChange {
    /// A session subscribed.
    Joined {
        /// Orders the members.
        since: Stamp,
        /// Whether its client is connected.
        is_online: bool,
        /// The group's cursor as the member's shard knows it.
        cursor: Cursor,
    },
    /// A session unsubscribed or ended.
    Left,
    /// Its client connected (true) or disconnected (false).
    Online(bool),
}

/// What a shard waits for that has sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// A [`MeshAck`], when the message is safe.
    Ack,
    /// [`MeshMessage::Staged`], at once: what must be stored is part of that operation, which the sender closes.
    Staged(u64),
}

/// One message of the mesh.
#[derive(Debug)]
pub enum MeshMessage {
    /// Deliver to your subscribers; never forwarded again.
    Publish {
        /// The message.
        message: Message,
        /// What the sender waits for.
        answer: Answer,
    },
    /// Deliver each to your subscribers, as with `Publish`.
    Run(Run),
    /// Set (or, with an empty payload, clear) the retained message and deliver to your subscribers.
    Retain {
        /// The message.
        message: Message,
        /// Its place among the retained messages of its topic.
        stamp: Stamp,
        /// What the sender waits for.
        answer: Answer,
    },
    /// The sender has done its part of an operation of the receiver's: what it must store is on its way to the store.
    Staged {
        /// Number of the operation.
        operation: u64,
        /// What became of the message there.
        outcome: Outcome,
    },
    /// The sender has (or no longer has) a subscriber of this filter. Answered by `InterestAck` if wanted.
    Interest {
        /// Topic filter.
        filter: Arc<str>,
        /// Whether messages are wanted.
        is_wanted: bool,
        /// Names this change to the sender; 0 if no answer is wanted.
        ticket: u64,
    },
    /// The interest or membership of that ticket is installed.
    InterestAck {
        /// The ticket of the change.
        ticket: u64,
    },
    /// A change in a shared subscription. `Joined` is answered by `InterestAck`.
    GroupMember {
        /// The whole `$share/group/filter`.
        group: Arc<str>,
        /// The member, on the sender's shard.
        session: SessionId,
        /// What changed.
        change: MemberChange,
        /// Names this change to the sender; 0 if no answer is wanted.
        ticket: u64,
    },
    /// Give to this member of a shared subscription, or pass on.
    GroupPublish {
        /// The message.
        message: Message,
        /// The whole `$share/group/filter`.
        group: Arc<str>,
        /// The chosen member, on the receiver's shard.
        member: SessionId,
        /// Members that could not take it.
        tried: Vec<GlobalSessionId>,
        /// Who waits for the ack, and the number of the message in the pair of its first hop.
        origin: Option<GroupOrigin>,
        /// The operation that it is part of, whose shard is answered by [`MeshMessage::Staged`] instead.
        operation: Option<OperationId>,
        /// Whether the sender is the publisher's shard, so that the receiver answers by its `MeshAck`.
        is_first_hop: bool,
    },
    /// The queue of a session of the sender that was named by [`Outcome::Congested`] is not long any more.
    Relieved {
        /// The session, on the sender's shard.
        session: SessionId,
    },
    /// A message that was passed on has found its end. To the shard of its origin.
    GroupTaken {
        /// The shard of the first hop.
        first_hop: ShardId,
        /// Number of the message in the pair of its first hop.
        number: u64,
        /// Anything but `PassedOn`.
        outcome: Outcome,
    },
}

/// Messages of one publisher to one topic, in the packets in which they came: cheaper than a [`Message`] each.
#[derive(Debug)]
pub struct Run {
    /// PUBLISH packets that are plain ([`crate::wire::PlainPublish`]), side by side.
    pub packets: Vec<u8>,
    /// How many.
    pub count: u32,
    /// The dialect they are written in.
    pub version: ProtocolVersion,
    /// Who published them.
    pub publisher: Option<PublisherId>,
    /// Whether the sender waits for an ack for each.
    pub is_acked: bool,
}

/// Where the acknowledgement of a message for a shared subscription is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOrigin {
    /// The publisher's shard.
    pub shard: ShardId,
    /// The shard that was asked first.
    pub first_hop: ShardId,
    /// Number of the message in the pair (shard, first hop).
    pub number: u64,
}
