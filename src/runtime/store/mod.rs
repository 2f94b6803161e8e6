//! What must outlive the process, on a disk: one directory with a database (fjall) in it, and one thread that writes to it.
//!
//! - `engine`: the narrow interface over the database. `opening`: how one is opened whatever state it is in, with `mending`,
//!   `journals`, `trees` and `archive`: what of its files is whole, and what is set aside; `rescue`: what can still be read.
//!   `directory`: lock, format, names.
//!   `space`: whether the file system has room.
//! - `writer`: the thread. It makes one commit of what all shards have sent and says to each how far it is.
//! - `snapshot`: all records of one moment, for who reads them beside the thread.
//! - `findings`: what an operator is told.

mod archive;
mod directory;
mod engine;
mod findings;
mod journals;
mod mending;
mod opening;
mod rescue;
mod snapshot;
mod space;
#[cfg(test)]
mod tests;
mod trees;
mod writer;

pub(in crate::runtime) use directory::{sync_folder, write_private};
pub use engine::{Engine, Terms};
pub use findings::{CommitError, Findings, SetAside, StoreFault};
pub use snapshot::{Snapshot, Taker};
pub(in crate::runtime) use space::{Room, Space as DiskSpace};
pub use writer::{State, Store, StoreView, Tally, Voice, WriterEnd, start};
