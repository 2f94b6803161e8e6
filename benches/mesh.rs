//! Time per message from shard to shard, handed over directly and through the channels: `cargo bench -p ringmq-benches --bench mesh`.
//!
//! Duty: print figures; what lies between "directly" and "by channel" is the price of the channels. Must not: judge them,
//! or start threads: both shards turn on one. Neighbours: `cases/mesh.rs` says what is measured; `src/runtime/mesh.rs` is
//! taken as source, because nobody but the runtime may name it.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
mod stopwatch;

#[allow(dead_code, reason = "the bench neither sleeps nor hands connections over")]
#[path = "../src/runtime/eventfd.rs"]
mod eventfd;
#[allow(dead_code, reason = "the bench neither sleeps nor hands connections over")]
#[path = "../src/runtime/flag.rs"]
mod flag;
#[allow(dead_code, unused_imports, reason = "the bench neither sleeps nor hands connections over, and runs no tests")]
#[path = "../src/runtime/mesh.rs"]
mod mesh;

/// Where a connection comes from, as far as the bench goes.
mod peer {
    #[derive(Debug)]
    pub(crate) struct Origin;

    #[cfg(test)]
    #[allow(dead_code, reason = "only the tests of `mesh`, which do not run here, make one")]
    impl Origin {
        pub(crate) fn plain(_peer: std::net::SocketAddr, _listener: u16) -> Self {
            Self
        }
    }
}

/// What `flag` is made of.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

// By these names `mesh` knows the floors below it.
use ringmq::{id, limits, shard};

use cases::broker::Carry;
use cases::mesh::{all, carried};

fn main() {
    let mut cases = all();
    cases.extend(carried("by channel", carry_by_channel));
    stopwatch::measure(cases);
}

/// What two drivers do with their ends of the mesh.
fn carry_by_channel() -> Carry {
    let (mut ends, _caller) = mesh::connect_shards(2).expect("two descriptors are free");
    Box::new(move |from, batches, arrived| {
        ends[from].push(batches, 0);
        let to = 1 - from;
        while let Some(item) = ends[to].take(from) {
            arrived.push((to, item.batch));
        }
        ends[to].unblock(from);
    })
}
