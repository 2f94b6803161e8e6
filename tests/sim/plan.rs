//! What kind of run a seed stands for.
//!
//! Duty: draw shards, clients, limits and weather from the seed. Must not: act. Neighbours: `world` builds from it, the
//! checks read how strict they may be.

use ringmq::limits::{Limits, MESH_BATCHES_MAX, QueueFull};
use ringmq::session::LargePayloads;

use crate::random::Random;

/// The parameters of one run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: usize,
    pub(crate) clients: usize,
    pub(crate) steps: usize,
    /// Queues are small: messages are dropped by policy, and counters must account for them.
    pub(crate) is_tight: bool,
    pub(crate) limits: Limits,
    pub(crate) large_payloads: LargePayloads,
    pub(crate) batches_max: usize,
    pub(crate) mesh_delay_millis_max: u64,
    pub(crate) jam_percent: usize,
    /// Longest jam, milliseconds; long ones outlast most runs.
    pub(crate) jam_millis_max: u64,
    /// How often the clock jumps far ahead, percent of the changes of weather.
    pub(crate) jump_percent: usize,
    /// How often strangers come in crowds, percent of the changes of weather. Connections are limited then.
    pub(crate) crowd_percent: usize,
    /// How often a client that leaves does so by many connections at once, percent.
    pub(crate) storm_percent: usize,
    pub(crate) store_delay_millis_max: u64,
    /// Whether there is a store.
    pub(crate) keeps: bool,
    /// How often the power fails, percent of the changes of weather. All sessions are to outlive their connections then.
    pub(crate) crash_percent: usize,
    /// Bytes that a socket holds in each direction.
    pub(crate) line_bytes_max: usize,
    /// How often clients come and go, per thousand acts.
    pub(crate) churn_permille: usize,
    /// Prints every packet.
    pub(crate) traces: bool,
    /// Breaks the order of batches on purpose: the run must fail.
    pub(crate) swaps_batches: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let crashes = seed % 4 == 2;
        let is_tight = random.chance(30) && !crashes;
        let shards = random.pick(&[1, 2, 2, 3, 3, 4]);
        let mut limits = draw_limits(&mut random, is_tight);
        let clients = 3 + random.below(7);
        let crowd_percent = random.pick(&[0, 0, 0, 10]);
        if crowd_percent > 0 {
            // Room for everybody who belongs here, and a few.
            limits.connections_per_shard_max = clients + shards + 6;
            limits.sessions_per_shard_max = clients + shards + random.pick(&[2, 6, 100]);
        }
        Self {
            seed,
            shards,
            clients,
            crowd_percent,
            steps: random.pick(&[1500, 3000, 10_000]),
            is_tight,
            limits,
            large_payloads: LargePayloads::default(),
            batches_max: random.pick(&[1, 2, MESH_BATCHES_MAX]),
            mesh_delay_millis_max: random.pick(&[0, 2, 20, 100]),
            jam_percent: random.pick(&[0, 1, 3]),
            jam_millis_max: random.pick(&[300, 300, 5000]),
            jump_percent: random.pick(&[0, 0, 3]),
            storm_percent: random.pick(&[0, 20]),
            store_delay_millis_max: random.pick(&[0, 0, 10, 100, 2000]),
            line_bytes_max: random.pick(&[100, 1000, 100_000]),
            keeps: seed % 4 != 3,
            crash_percent: if crashes { random.pick(&[2, 10]) } else { 0 },
            churn_permille: random.pick(&[0, 10, 40]),
            traces: std::env::var_os("RINGMQ_SIM_TRACE").is_some(),
            swaps_batches: std::env::var_os("RINGMQ_SIM_SWAP_BATCHES").is_some(),
        }
    }
}

fn draw_limits(random: &mut Random, is_tight: bool) -> Limits {
    let mut limits = Limits {
        receive_maximum: random.pick(&[2, 5, 20]),
        owed_acks_max: random.pick(&[1, 4, 20, 4096]),
        inflight_messages_max: random.pick(&[1, 3, 20]),
        egress_bytes_max: random.pick(&[100, 2000, 1 << 20, 1 << 20]),
        egress_control_bytes_max: random.pick(&[20, 200, 256 << 10]),
        mesh_publishes_max: random.pick(&[1, 3, 4096]),
        mesh_bytes_max: random.pick(&[200, 4 << 20, 4 << 20]),
        topic_alias_max: random.pick(&[0, 2, 10]),
        topic_alias_out_max: random.pick(&[0, 2, 10]),
        match_cache_topics_max: random.pick(&[1, 4, 1024]),
        retained_search_nodes_max: random.pick(&[1, 5, 8192]),
        // The watcher stays, however far the clock jumps.
        idle_secs_max: u64::MAX,
        ..Limits::default()
    };
    if is_tight {
        limits.queued_messages_max = random.pick(&[0, 1, 4]);
        limits.queued_bytes_max = random.pick(&[100, 1000, 1 << 20]);
        limits.backpressure_ms_max = random.pick(&[0, 200, 10_000]);
        limits.queue_full = random.pick(&[QueueFull::Reject, QueueFull::DropNewest, QueueFull::DropOldest]);
    }
    limits
}
