//! The ids by which rooms speak of shards, connections and sessions.
//!
//! Duty: newtypes, so that no slot is taken for another. Must not: hold state. Neighbours: everyone.

use std::num::NonZeroU64;

/// One shard of this broker: an index from 0 to the number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The index of the shard, for arrays with one place per shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One network connection of one shard. Slots are reused; the generation tells the users of a slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Index into the shard's connections.
    pub slot: u32,
    /// Which user of the slot.
    pub generation: u32,
}

/// One session of one shard. Slots are reused; the generation tells the users of a slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// Index into the shard's sessions.
    pub slot: u32,
    /// Which user of the slot.
    pub generation: u32,
}

/// A session and the shard on which it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GlobalSessionId {
    /// The shard on which the session lives.
    pub shard: ShardId,
    /// The session on that shard.
    pub session: SessionId,
}

/// A client as the publisher of messages: a hash of its id, the same on all shards, for as long as the broker runs. It
/// outlives sessions, as what is retained does (section 3.8.3.1, No Local).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublisherId(pub NonZeroU64);

/// A moment on the monotonic clock of the process, milliseconds. All shards share its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The end of time.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds later; saturates at the end of time.
    #[must_use]
    pub fn after_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment `secs` seconds later; saturates at the end of time.
    #[must_use]
    pub fn after_secs(self, secs: u64) -> Self {
        self.after_millis(secs.saturating_mul(1000))
    }
}
