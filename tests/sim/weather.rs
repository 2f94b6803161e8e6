//! What nobody in particular does: the clock leaps, shards stand still, the mesh jams, strangers come in crowds.
//!
//! Duty: trouble for the broker, as the plan allows. Must not: turn the clock back (the core's clock is monotonic: the
//! runtime reads CLOCK_MONOTONIC, so a wall clock that is set cannot reach it). Neighbours: `world` asks for it; `finale` ends it.

use ringmq::id::Millis;
use ringmq::wire::{ProtocolVersion, QoS};

use crate::client::{Nature, Phase};
use crate::finale::clean;
use crate::line::{Line, STRANGER};
use crate::node::Arrival;
use crate::world::World;

/// Leaps of the clock, milliseconds: above keep alives, above the horizon of the timers, above session expiry, ten years.
const LEAPS_MILLIS: [u64; 4] = [3_000, 200_000, 4_000_000, 10 * 365 * 86_400_000];
/// Most strangers of one crowd.
const CROWD_MAX: u64 = 16;

impl World {
    pub(crate) fn change_weather(&mut self) {
        if self.random.chance(10) {
            self.now = self.now.after_millis(self.random.between(100, 1500));
        }
        if self.random.chance(self.plan.jump_percent) {
            self.now = self.now.after_millis(self.random.pick(&LEAPS_MILLIS));
        }
        if self.random.chance(self.plan.crash_percent) {
            self.crash();
        }
        if self.random.chance(self.plan.crowd_percent) {
            self.gather_crowd();
        }
        if !self.random.chance(self.plan.jam_percent * 20) {
            return;
        }
        let until = self.now.after_millis(self.random.between(1, self.plan.jam_millis_max));
        let shard = self.random.below(self.nodes.len());
        if self.random.chance(40) {
            self.nodes[shard].is_stopped_until = until;
        } else {
            let other = self.random.below(self.nodes.len());
            self.mesh.jam((shard, other), until);
            if self.random.chance(50) {
                self.mesh.jam((other, shard), until);
            }
        }
    }

    /// Strangers connect: some as clients do, some that say nothing, nonsense, or half a CONNECT.
    fn gather_crowd(&mut self) {
        if self.random.chance(30) {
            self.scatter_crowd();
        }
        for _ in 0..self.random.between(3, CROWD_MAX) {
            if self.random.chance(50) {
                self.add_caller();
            } else {
                let bytes: &[u8] = self.random.pick(&[
                    b"".as_slice(),
                    b"GET / HTTP/1.1\r\n\r\n",
                    b"\x10\x20\x00\x04MQTT\x05",
                    b"\x16\x03\x01\x00\xa5",
                ]);
                self.add_stranger(bytes);
            }
        }
    }

    /// A client that connects once and does nothing.
    fn add_caller(&mut self) {
        let nature = Nature {
            name: format!("caller-{}", self.clients.len()),
            version: self.random.pick(&[ProtocolVersion::V311, ProtocolVersion::V5]),
            keep_alive_secs: 0,
            receive_maximum: 10,
            alias_max: 0,
            packet_bytes_max: None,
            is_slow: false,
            shuffles_acks: false,
        };
        let index = self.add_client(nature);
        self.callers.push(index);
        self.with_client(index, |client, desk| client.connect(clean(), QoS::AtMostOnce, desk));
    }

    fn add_stranger(&mut self, bytes: &[u8]) {
        let line = self.lines.len();
        let mut fresh = Line::new(STRANGER, ProtocolVersion::V5, clean(), self.now);
        fresh.to_server.extend(bytes);
        self.lines.push(fresh);
        self.strangers.push(line);
        let at = self.random.below(self.nodes.len());
        let arrival = Arrival { line, accepted_at: self.now, rest: Vec::new(), ready_at: self.now };
        self.nodes[at].arrive(arrival);
    }

    /// All strangers go.
    fn scatter_crowd(&mut self) {
        for line in std::mem::take(&mut self.strangers) {
            let unread = self.lines[line].to_server.len();
            self.lines[line].cut(unread);
        }
        for index in std::mem::take(&mut self.callers) {
            if self.clients[index].phase != Phase::Off {
                self.with_client(index, |client, desk| client.lose(desk));
            }
        }
    }

    /// The weather is fine.
    pub(crate) fn clear_up(&mut self) {
        for node in &mut self.nodes {
            node.is_stopped_until = Millis(0);
        }
        for from in 0..self.plan.shards {
            (0..self.plan.shards).for_each(|to| self.mesh.jam((from, to), Millis(0)));
        }
        self.scatter_crowd();
    }
}
