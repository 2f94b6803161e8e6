//! Counters of one shard: nothing is dropped or refused without one.
//!
//! Duty: name and hold them. Must not: print. Neighbours: every room of the shard adds; `runtime` reads.

/// What has happened on a shard since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted CONNECT packets.
    pub connects: u64,
    /// Connections closed by the broker.
    pub broker_closes: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets queued for clients.
    pub publishes_sent: u64,
    /// QoS 0 messages dropped because the reader is slow (`egress_bytes_max`).
    pub dropped_slow_reader: u64,
    /// Messages dropped because the session's queue is full, by whatever policy.
    pub dropped_queue_full: u64,
    /// Messages that ended before they could be sent.
    pub dropped_expired: u64,
    /// Messages larger than the client's Maximum Packet Size.
    pub dropped_too_large: u64,
    /// Messages that nobody subscribed to.
    pub unmatched: u64,
    /// Retained messages refused (`retained_messages_max`, `retained_bytes_max`).
    pub retained_refused: u64,
    /// PUBLISH packets to a topic that clients may not publish to.
    pub publishes_denied: u64,
    /// Messages for a shared subscription whose member was on another shard.
    pub group_forwards: u64,
    /// Messages forwarded to other shards.
    pub mesh_publishes: u64,
    /// Packets whose announced length was more than what is left of `held_bytes_per_shard_max`.
    pub announced_over_budget: u64,
    /// Subscriptions and wills refused because of `held_bytes_per_shard_max`.
    pub refused_over_budget: u64,
    /// Messages that would have visited more than `match_nodes_max` nodes.
    pub publishes_too_wide: u64,
    /// Panics that the bytes of a connection caused.
    pub panics: u64,
    /// CONNECT packets refused, for whatever reason.
    pub refused_connects: u64,
    /// Connections without a whole CONNECT in time (`connect_timeout_ms`).
    pub refused_overdue: u64,
    /// Connections beyond `connections_per_shard_max`.
    pub refused_connections: u64,
    /// Connections whose CONNECT, announced but not there, was beyond `preauth_bytes_total_max`.
    pub refused_preauth_bytes: u64,
    /// CONNECT packets larger than `preauth_bytes_max`.
    pub refused_large_connects: u64,
    /// CONNECT packets for a session beyond `sessions_per_shard_max`.
    pub refused_sessions: u64,
    /// CONNECT packets for a session beyond `sessions_per_user_per_shard_max`.
    pub refused_user_sessions: u64,
}
