//! SECOND floor: what must outlive the process, as records.
//!
//! Duty: the records of sessions, subscriptions, messages and retained messages, their bytes, and what a set of them means. Must
//! not: know files, threads or a clock. Neighbours: `shard` writes batches of changes; `runtime/store` puts them on a disk.

mod batch;
mod group;
pub mod record;
mod stored;

pub use crate::limits::Level;
pub use batch::{Batch, Change, Changes, OperationId};
pub use group::Group;
pub use stored::{Charge, Reading, Stored, StoredState};

/// A kind of records. Each has its own table, so that a search of one does not walk over the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Facts about the store itself, by name.
    Meta = 0,
    /// Sessions, by their number.
    Session = 1,
    /// Subscriptions, by session and filter.
    Subscription = 2,
    /// What is queued for a session or on its way to it, by session and sequence number.
    Queue = 3,
    /// Messages that more than one session is to get, by their number.
    Message = 4,
    /// Packet ids of QoS 2 messages from a client, between PUBLISH and PUBREL, by session and packet id.
    Received = 5,
    /// Retained messages, by topic.
    Retained = 6,
    /// How far the sequence numbers of a session may have been given out, by session.
    Sequence = 7,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Meta,
        Self::Session,
        Self::Subscription,
        Self::Queue,
        Self::Message,
        Self::Received,
        Self::Retained,
        Self::Sequence,
    ];

    /// Its name, as a table is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Session => "session",
            Self::Subscription => "subscription",
            Self::Queue => "queue",
            Self::Message => "message",
            Self::Received => "received",
            Self::Retained => "retained",
            Self::Sequence => "sequence",
        }
    }
}
