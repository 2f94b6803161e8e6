//! Overview: how the broker is, in all and by shard.
//!
//! Duty: these types. Must not: compute. Neighbours: `overview` fills them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the broker is.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Overview {
    /// Version of ringmq.
    pub version: String,
    /// When the broker was started, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long ago that was, seconds.
    pub uptime_secs: u64,
    /// `starting`, `serving` or `stopping`.
    pub phase: String,
    /// Whether clients are served.
    pub ready: bool,
    /// How many shards there are.
    pub shards: u32,
    /// Where clients come in.
    pub listeners: Vec<ListenerLine>,
    /// What survives the end of the process.
    pub durability: String,
    /// Whether something can be changed here (`admin_allow_changes`).
    pub allow_changes: bool,
    /// How many clients there are.
    pub clients: ClientCounts,
    /// Subscriptions of all sessions, shared ones included.
    pub subscriptions: u64,
    /// Shared subscriptions of all sessions.
    pub shared_subscriptions: u64,
    /// What is retained.
    pub retained: RetainedCount,
    /// Messages that wait in queues of sessions.
    pub queued_messages: u64,
    /// Messages that were sent and are not acknowledged.
    pub inflight_messages: u64,
    /// Bytes held for clients.
    pub held_bytes: u64,
    /// How many these may be.
    pub held_bytes_max: u64,
    /// What happens in a second, of the last seconds.
    pub rates: Rates,
    /// What has happened since the start.
    pub totals: Totals,
    /// How long messages were inside the broker in the last seconds, microseconds.
    pub latency_us: PathTimes,
    /// The store; null: nothing outlives the process.
    pub store: Option<StoreLine>,
    /// What is not as it should be, the worst first.
    pub problems: Vec<ProblemLine>,
}

/// Where clients come in.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ListenerLine {
    /// IP:PORT, or the path of a Unix socket.
    pub address: String,
    /// `mqtt`, `mqtts`, `ws` or `wss`.
    pub protocol: String,
}

/// How many clients there are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ClientCounts {
    /// Connected clients.
    pub connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Network connections.
    pub connections: u64,
}

/// What is retained.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RetainedCount {
    /// Messages.
    pub messages: u64,
}

/// What happens in a second, of the last seconds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Rates {
    /// PUBLISH packets received, of QoS 0, 1 and 2.
    pub messages_received_per_sec: [f64; 3],
    /// PUBLISH packets sent, of QoS 0, 1 and 2.
    pub messages_sent_per_sec: [f64; 3],
    /// Bytes of all packets received.
    pub bytes_received_per_sec: f64,
    /// Bytes of all packets sent.
    pub bytes_sent_per_sec: f64,
    /// Accepted CONNECT packets.
    pub connects_per_sec: f64,
    /// Messages that did not reach a session they were for.
    pub drops_per_sec: f64,
    /// Requests that were denied for want of a right.
    pub denials_per_sec: f64,
}

/// What has happened since the start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Totals {
    /// PUBLISH packets received, of QoS 0, 1 and 2.
    pub messages_received: [u64; 3],
    /// PUBLISH packets sent, of QoS 0, 1 and 2.
    pub messages_sent: [u64; 3],
    /// Bytes of all packets received.
    pub bytes_received: u64,
    /// Bytes of all packets sent.
    pub bytes_sent: u64,
    /// Accepted CONNECT packets.
    pub connects: u64,
    /// Messages that did not reach a session they were for.
    pub drops: u64,
    /// Requests that were denied for want of a right.
    pub denials: u64,
}

/// Times of messages by their way through the broker, microseconds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PathTimes {
    /// Taken and sent by one shard.
    pub local: Percentiles,
    /// Taken by another shard than the one that sent it.
    pub cross_shard: Percentiles,
}

/// How long messages took, microseconds; null if there was none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them at most.
    pub p50: Option<f64>,
    /// Nine of ten at most.
    pub p90: Option<f64>,
    /// 99 of 100 at most.
    pub p99: Option<f64>,
    /// All of them at most.
    pub max: Option<f64>,
    /// How many there were.
    pub count: u64,
}

/// The store.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StoreLine {
    /// `ready`, `full` or `broken`.
    pub state: String,
    /// Commits since the start.
    pub commits: u64,
    /// How long the commits of the last seconds took.
    pub commit_ms: CommitTimes,
    /// Batches of shards that wait to be committed.
    pub waiting_records: u64,
    /// Bytes of records written since the start.
    pub bytes: u64,
}

/// How long commits took, milliseconds; null if there was none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CommitTimes {
    /// Half of them at most.
    pub p50: Option<f64>,
    /// 99 of 100 at most.
    pub p99: Option<f64>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ProblemLine {
    /// `warning` or `critical`.
    pub severity: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// How a shard is.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Shard {
    /// Its number, from 0.
    pub shard: u32,
    /// The cpu that it runs on.
    pub cpu: u32,
    /// Part of the last seconds in which its thread was busy, 0 to 1.
    pub busy_share: f64,
    /// Turns in a second.
    pub turns_per_sec: f64,
    /// Network connections.
    pub connections: u64,
    /// Connected clients.
    pub connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions of its sessions, shared ones included.
    pub subscriptions: u64,
    /// Messages that wait in queues.
    pub queued_messages: u64,
    /// Messages that were sent and are not acknowledged.
    pub inflight_messages: u64,
    /// Bytes held for its clients.
    pub held_bytes: u64,
    /// PUBLISH packets received in a second.
    pub messages_received_per_sec: f64,
    /// PUBLISH packets sent in a second.
    pub messages_sent_per_sec: f64,
    /// What goes to other shards and comes from them.
    pub mesh: MeshRates,
    /// How long messages were inside the broker in the last seconds, microseconds.
    pub latency_us: PathTimes,
}

/// What goes to other shards and comes from them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct MeshRates {
    /// Batches from other shards in a second.
    pub batches_in_per_sec: f64,
    /// Batches to other shards in a second.
    pub batches_out_per_sec: f64,
    /// Messages to other shards in a second.
    pub messages_out_per_sec: f64,
    /// Batches from other shards that wait to be taken.
    pub waiting_batches: u64,
}
