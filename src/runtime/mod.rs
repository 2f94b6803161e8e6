//! FOURTH floor: the only room that knows glommio, io_uring, sockets, threads and the clock.
//!
//! One thread per shard, pinned to a cpu, with a glommio executor whose one task is the driver. The driver sleeps in a ring
//! of its own, which has all the shard's sockets and the event by which others wake it (measured: docs, io-path).
//!
//! - `start`: from its configuration to a running broker; `serving`: its main thread from then on to the end. `probe`, `memory`,
//!   `listener`, `inherited`, `placement`, `signal`, `panic_policy`, `failure`: what can be wrong before and meanwhile.
//! - `driver`: the loop, `spin` when to sleep. `accepting`, `reading`, `writing`, `closing`, `isolating`: its rooms. `slots`,
//!   `connection`, `carry`, `address_rates`: its memory.
//! - `ring`, `buffers`, `operation`: io_uring. `mesh`, `flag`, `eventfd`: other shards.
//! - `changing`, `reloading`, `watch`: another configuration, or other files, for a running broker.
//! - `policy_files`, `judges`, `verifier`, `tokens`, `authenticator`, `asking`: who may do what. `news`: what threads beside the
//!   shards tell them.
//! - `report`, `phrase`, `line`, `journal`: what the operator reads; `census`, `announcer`, `sys`: what can be asked of the broker.
//!   `window`, `beside`, `denials`: what a room that is no shard sees and needs (`admin`).
//!   `looking`: what is asked of a shard from there; `measure`: how long messages are inside; `tracing`: who watches packets.
//!   `board`: words between the main thread and the shards. `process`, `watchdog`: what a daemon does with itself and for systemd;
//!   `scheduling`: who goes before whom where processors are short.
//!   `clock`.
//! - `store`: what must outlive the process, on a disk. `keeping`: what it held goes to the shards. `durability`: what is said of it.
#![allow(unsafe_code, reason = "system calls and memory that the kernel shares; every block says why it is sound")]
#![allow(clippy::disallowed_methods, reason = "this floor is where clocks and threads are allowed")]

mod accepting;
mod address_rates;
mod adopting;
mod announcer;
mod asking;
mod authenticator;
mod beside;
mod board;
mod buffers;
mod calling;
mod carry;
mod census;
mod changing;
mod clock;
mod closing;
mod connection;
mod copying;
mod crowd;
mod denials;
mod driver;
mod durability;
mod eventfd;
mod failure;
mod flag;
mod inherited;
mod isolating;
mod journal;
mod judges;
mod keeping;
mod line;
mod listener;
mod looking;
mod measure;
mod memory;
mod mesh;
mod news;
mod operation;
mod panic_policy;
mod peer;
mod phrase;
mod placement;
mod policy_files;
mod probe;
mod process;
mod reading;
mod reloading;
mod report;
mod ring;
mod scheduling;
mod serving;
mod signal;
mod slots;
mod spin;
mod start;
pub mod store;
mod sys;
mod tokens;
mod tracing;
mod twin;
mod unix_path;
mod verifier;
mod watch;
mod watchdog;
mod window;
mod wrapping;
mod writing;

pub use beside::{Door, DoorFile, open_door, start_beside};
pub use board::Figures;
pub use calling::{AUTHORITY, agent, certificates};
pub use clock::wall_millis;
pub use denials::Denied;
pub use failure::{EXIT_CONFIG, EXIT_INTERNAL, EXIT_SYSTEM, EXIT_USAGE, Failure};
pub use journal::local_time;
pub use listener::ListenerPlace;
pub use looking::{LineState, Look, ShardFigures};
pub use measure::{Durations, Latency};
pub use peer::Peer;
pub use phrase::{harmless, printable};
pub use placement::allowed_cpus;
pub use policy_files::{check_files, policy_for_questions, policy_of_acl_file};
pub use report::Tally;
pub use start::{Open, Reload, Rooms, run};
pub use tracing::Sight;
pub use window::{LogWish, Phase, SessionUser, Shown, Unable, Window};

/// What `flag` is made of; its model test puts other ones in their place.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}
