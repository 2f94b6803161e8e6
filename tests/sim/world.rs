//! All shards, lines and clients of one run, in one thread, under virtual time.
//!
//! Duty: let somebody do something, again and again, as the seed says; come to rest when told to. Must not: judge (the
//! oracle does), beyond what needs sight of the mesh. Neighbours: `node`, `client`, `finale`.

use std::collections::BTreeSet;

use ringmq::id::Millis;
use ringmq::shard::MeshMessage;
use ringmq::wire::{QoS, RetainHandling, SubscriptionOptions};

use crate::client::{Client, Desk, Phase};
use crate::delivery::number_of;
use crate::disk::Disk;
use crate::finale::clean;
use crate::habits::{self, WATCHER};
use crate::line::{Asked, Line};
use crate::mesh::{Mesh, payloads_of};
use crate::node::{Around, Arrival, Node};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::store::Store;

/// Rounds in which everybody does all they can, before a world that does not come to rest is called stalled.
const ROUNDS_MAX: usize = 20_000;

/// One run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: Millis,
    pub(crate) nodes: Vec<Node>,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) lines: Vec<Line>,
    pub(crate) clients: Vec<Client>,
    pub(crate) oracle: Oracle,
    /// Clients and lines of a crowd.
    pub(crate) callers: Vec<usize>,
    pub(crate) strangers: Vec<usize>,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let disk = Disk::new(plan.shards);
        let nodes = (0..plan.shards).map(|index| Node::new(&plan, index, disk.first_number(index))).collect();
        let store = Store::new(disk, plan.shards);
        let mesh = Mesh::new(plan.shards);
        let oracle = Oracle::new(&plan);
        let mut world = Self {
            random: Random::new(0),
            now: Millis(0),
            nodes,
            mesh,
            store,
            lines: Vec::new(),
            clients: Vec::new(),
            oracle,
            callers: Vec::new(),
            strangers: Vec::new(),
            steps: 0,
            plan,
        };
        for index in 0..world.plan.clients {
            let mut nature = habits::draw_nature(index, &world.plan, &mut random);
            nature.alias_max = if index == WATCHER { 0 } else { nature.alias_max };
            world.add_client(nature);
        }
        world.random = random;
        world
    }

    pub(crate) fn add_client(&mut self, nature: crate::client::Nature) -> usize {
        let index = self.clients.len();
        self.clients.push(Client::new(index, nature));
        self.oracle.current.push(None);
        self.oracle.is_presence_unclear.push(false);
        index
    }

    /// Calls `act` for a client.
    pub(crate) fn with_client<T>(&mut self, index: usize, act: impl FnOnce(&mut Client, &mut Desk<'_>) -> T) -> T {
        let mut opened = Vec::new();
        let mut desk = Desk {
            now: self.now,
            random: &mut self.random,
            plan: &self.plan,
            lines: &mut self.lines,
            oracle: &mut self.oracle,
            opened: &mut opened,
        };
        let result = act(&mut self.clients[index], &mut desk);
        for line in opened {
            let at = self.random.below(self.nodes.len());
            let arrival = Arrival { line, accepted_at: self.now, rest: Vec::new(), ready_at: self.now };
            self.nodes[at].arrive(arrival);
        }
        self.check_barriers();
        result
    }

    /// What was acknowledged is not on its way any more: every shard has it.
    fn check_barriers(&mut self) {
        let acked = std::mem::take(&mut self.oracle.fresh_acks);
        if acked.is_empty() {
            return;
        }
        let waiting = self.nodes.iter().flat_map(|node| &node.outbox.mesh).flat_map(|batch| &batch.messages);
        let on_their_way: BTreeSet<u32> =
            self.mesh.messages().chain(waiting).flat_map(payloads_of).filter_map(number_of).collect();
        for number in acked {
            let published = &self.oracle.published[number as usize];
            assert!(
                !on_their_way.contains(&number) || published.reason >= 0x80,
                "message {number} was acknowledged while it was on its way to a shard: {published:?}"
            );
            self.oracle.checks.barriers += 1;
            self.check_stored(number);
        }
    }

    pub(crate) fn turn(&mut self, index: usize, is_eager: bool) {
        self.steps += 1;
        let mut hand_offs = Vec::new();
        let mut around = Around {
            now: self.now,
            random: &mut self.random,
            plan: &self.plan,
            lines: &mut self.lines,
            mesh: &mut self.mesh,
            store: &mut self.store,
            oracle: &mut self.oracle,
            hand_offs: &mut hand_offs,
            is_eager,
        };
        self.nodes[index].turn(&mut around);
        for (owner, arrival) in hand_offs {
            self.nodes[owner.index()].arrive(arrival);
        }
        self.check_bounds(index);
        self.check_turn(index);
    }

    /// Batches and unsent bytes stay within their limits and what one turn can add.
    fn check_bounds(&mut self, index: usize) {
        let limits = &self.plan.limits;
        let shards = self.plan.shards;
        let node = &mut self.nodes[index];
        let forwards_of = |message: &MeshMessage| match message {
            MeshMessage::Publish { .. } | MeshMessage::Retain { .. } => 1,
            MeshMessage::Run(run) => run.count as usize,
            _ => 0,
        };
        for batch in &node.outbox.mesh {
            let forwards: usize = batch.messages.iter().map(forwards_of).sum();
            // Wills are let through: at most one per connection that ever was.
            let most = limits.mesh_publishes_max + 1 + self.lines.len();
            assert!(forwards <= most, "{forwards} PUBLISH in a batch of at most {most}, {shards} shards");
        }
        let backlog_bytes = node.largest_backlog_bytes();
        // One message of 5 KB above the limit, the window resent, and control packets.
        let most = limits.egress_bytes_max + 6000 + limits.egress_control_bytes_max + 6000;
        assert!(backlog_bytes <= most, "{backlog_bytes} bytes of egress, at most {most}");
    }

    /// The random part of the run.
    pub(crate) fn run(&mut self) {
        self.start_watcher();
        for _ in 0..self.plan.steps {
            self.step();
        }
    }

    pub(crate) fn start_watcher(&mut self) {
        let asked = Asked { expiry_secs: u32::MAX, ..clean() };
        self.with_client(WATCHER, |client, desk| client.connect(asked, QoS::AtMostOnce, desk));
        self.come_to_rest();
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        self.with_client(WATCHER, |client, desk| client.subscribe(&[("w/#".to_owned(), options)], None, desk));
        self.come_to_rest();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => {
                let index = self.random.below(self.nodes.len());
                self.turn(index, false);
            }
            45..70 => {
                let index = self.random.below(self.plan.clients);
                let most = self.random.pick(&[1, 20, 100_000]);
                if self.clients[index].is_stalled_until <= self.now {
                    self.with_client(index, |client, desk| client.read(most, desk));
                }
            }
            70..90 => {
                let index = self.random.below(self.plan.clients);
                self.with_client(index, habits::act);
            }
            90..98 => self.now = self.now.after_millis(self.random.between(0, 10)),
            _ => self.change_weather(),
        }
    }

    /// Everybody does all they can until nothing is left to do. A world that does not come to rest has stalled.
    pub(crate) fn come_to_rest(&mut self) {
        let mut quiet_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            for index in 0..self.nodes.len() {
                self.turn(index, true);
            }
            for index in 0..self.clients.len() {
                self.with_client(index, |client, desk| {
                    client.is_stalled_until = habits::NEVER;
                    client.read(usize::MAX, desk);
                    client.send_acks(usize::MAX, desk);
                });
            }
            if self.is_quiet() {
                quiet_rounds += 1;
                if quiet_rounds == 3 {
                    self.check_rest();
                    return;
                }
            } else {
                quiet_rounds = 0;
                let slowest = self.plan.mesh_delay_millis_max.max(self.plan.store_delay_millis_max);
                self.now = self.now.after_millis(1 + slowest / 5);
                self.keep_alive();
            }
        }
        panic!("stall: {}", self.describe_stall());
    }

    /// Clients with a keep alive speak in time, while the world comes to rest.
    pub(crate) fn keep_alive(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let silent_millis = self.now.0 - client.spoke_at.0;
            if client.phase == Phase::On && client.nature.keep_alive_secs > 0 && silent_millis >= 800 {
                self.with_client(index, habits::ping);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.mesh.is_empty()
            && self.nodes.iter().all(|node| node.is_quiet(&self.lines, &self.store))
            && self.clients.iter().all(|client| client.is_quiet(&self.lines))
    }

    fn describe_stall(&mut self) -> String {
        let waiting: Vec<String> = self
            .clients
            .iter()
            .filter(|client| !client.is_quiet(&self.lines))
            .map(|client| {
                let unacked: Vec<_> =
                    client.unacked.iter().map(|entry| (entry.packet_id, entry.qos, entry.is_released)).collect();
                format!(
                    "{} {:?} unacked {unacked:?} asking {:?} acks {:?}",
                    client.nature.name, client.phase, client.asking, client.acks
                )
            })
            .collect();
        let (lines, store) = (&self.lines, &self.store);
        let loud = self.nodes.iter_mut().filter(|node| !node.is_quiet(lines, store));
        let nodes: Vec<String> = loud.map(|node| node.describe(lines)).collect();
        format!("clients {waiting:?}, nodes {nodes:?}, mesh {:?}", self.mesh)
    }
}
