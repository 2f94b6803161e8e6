//! The power fails: all shards are gone at once, and come back with what the disk has, perhaps on another number of cores.
//!
//! Duty: end a process and begin the next. Must not: judge: what was acknowledged is judged as in any run. Neighbours: `weather` asks
//! for it, `store` and `disk` keep what survives.

use ringmq::id::ShardId;
use ringmq::shard::{Cause, Input, owner_of};

use crate::client::Phase;
use crate::finale::clean;
use crate::habits::WATCHER;
use crate::line::{Asked, Line, WillFate};
use crate::mesh::Mesh;
use crate::node::{Node, WALL};
use crate::oracle::Oracle;
use crate::world::World;
use ringmq::wire::QoS;

impl World {
    /// Everything that is not on the disk is lost.
    pub(crate) fn crash(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].phase == Phase::Off {
                continue;
            }
            // What the network has may still come, or not.
            if self.random.chance(50) {
                self.with_client(index, |client, desk| client.read(usize::MAX, desk));
            }
            self.with_client(index, |client, desk| client.lose(desk));
        }
        for client in &mut self.clients {
            client.left.clear();
        }
        self.oracle.crash(&mut self.lines);
        for line in &mut self.lines {
            (line.is_closed_by_client, line.is_closed_by_server) = (true, true);
            line.to_server.clear();
            line.to_client.clear();
        }
        self.strangers.clear();
        self.callers.clear();
        self.plan.shards = self.random.pick(&[1, 2, 2, 3, 4]);
        self.mesh = Mesh::new(self.plan.shards);
        let survivors = self.random.below(self.store.disk.unsynced() + 1);
        self.store.disk.lose(survivors);
        self.restore();
        self.oracle.checks.crashes += 1;
        let asked = Asked { is_clean: false, expiry_secs: u32::MAX, ..clean() };
        self.with_client(WATCHER, |client, desk| client.connect(asked, QoS::AtMostOnce, desk));
    }

    /// The next process opens the store.
    fn restore(&mut self) {
        let (now, shards, seed) = (self.now, self.plan.shards, self.plan.seed);
        let stored = self.store.reopen(shards, (now, WALL));
        assert!(stored.damaged.is_empty() && stored.foreign == 0, "a whole disk is read as one: {:?}", stored.damaged);
        if self.plan.traces {
            for state in &stored.sessions {
                let filters: Vec<_> = state.subscriptions.iter().map(|(filter, ..)| filter).collect();
                let (queue, received) = (state.queue.len(), &state.received);
                let client_id = &state.session.client_id;
                eprintln!("{:6} kept: {client_id} {filters:?} {queue} queued, received {received:?}", now.0);
            }
        }
        let first_number = |index| self.store.disk.first_number(index);
        self.nodes = (0..shards).map(|index| Node::new(&self.plan, index, first_number(index))).collect();
        for node in &mut self.nodes {
            for message in &stored.retained {
                node.shard.restore_retained(now, message, &mut node.outbox);
            }
        }
        for state in stored.sessions {
            let node = &mut self.nodes[owner_of(&state.session.client_id, seed, shards).index()];
            node.shard.restore(now, state, &mut node.outbox);
        }
        // Nobody is let in before all shards know each other's interests.
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for (from, to) in (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to))) {
                let batch = std::mem::take(&mut self.nodes[from].outbox.mesh[to]);
                if !batch.is_empty() {
                    is_busy = true;
                    let node = &mut self.nodes[to];
                    let from = ShardId(from as u16);
                    node.shard.handle(now, Input::Mesh { from, batch }, &mut node.outbox);
                }
            }
        }
        assert!(self.nodes.iter().all(|node| node.shard.is_restored()), "all interests are known everywhere");
    }
}

impl Oracle {
    /// All connections end, without a word; of sessions that their clients were not told of nothing is certain.
    fn crash(&mut self, lines: &mut [Line]) {
        // A retained message that was seen need not have been safe: an older one may be back.
        self.sessions.iter_mut().for_each(|session| session.newest_retained.clear());
        for client in 0..self.current.len() {
            // A session that was ended on purpose may come back, if nobody was told that it is gone.
            self.is_presence_unclear[client] = self.current[client].is_none();
            let Some(session) = self.current[client] else { continue };
            let record = &mut self.sessions[session];
            if let Some(line) = record.line.take() {
                lines[line].cause = Some(Cause::ConnectionLost);
                if lines[line].asked.will_delay_secs.is_some() {
                    lines[line].will = WillFate::Unclear;
                }
            }
            if let Some((line, _)) = record.will.take() {
                lines[line].will = WillFate::Unclear;
            }
            record.ends_at = None;
            let is_told = record.lines.iter().any(|line| lines[*line].is_welcomed);
            if record.expiry_secs == 0 || !is_told {
                self.is_presence_unclear[client] = record.expiry_secs > 0;
                record.is_ended = true;
                self.current[client] = None;
            }
        }
    }
}
