//! Isolating: a panic that the bytes of one connection cause ends that connection and nobody else's.
//!
//! Duty: catch it, let the shard repair what it left, tell and count it. Must not: catch what no single connection causes
//! (the mesh, deadlines): that ends the process, as does a second panic in the repair. Neighbours: `reading`, `writing` and
//! `closing` call the shard through it; `panic_policy` keeps the text.

use super::driver::Driver;
use super::panic_policy;
use crate::id::ConnectionId;
use crate::shard::{Input, Next};

impl Driver {
    /// Tells the shard of one connection.
    pub(super) fn handle_isolated(&mut self, id: ConnectionId, input: Input) {
        let handled = panic_policy::catch(|| self.shard.handle(self.now, input, &mut self.outbox));
        if let Err(text) = handled {
            self.contain(id, &text);
        }
    }

    /// What a connection wants next; if taking its bytes ended in a panic, it is over.
    pub(super) fn next_or_contain(&mut self, id: ConnectionId, taken: Result<Next, String>) -> Next {
        taken.unwrap_or_else(|text| {
            self.contain(id, &text);
            Next::Closed
        })
    }

    #[cold]
    fn contain(&mut self, id: ConnectionId, text: &str) {
        let peer = self.slots.get(id).map(|connection| connection.peer());
        let times = self.shard.counters().panics + 1;
        self.report.panicked(self.now, peer, times, text);
        self.shard.after_panic(self.now, id, &mut self.outbox);
    }
}
