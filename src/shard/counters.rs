//! Counters of one shard: nothing is dropped or refused without one.
//!
//! Duty: name and hold them, and keep the drop ledger: `matches` = `delivered` + sum of `dropped` + what is queued. Must not:
//! print. Neighbours: every room of the shard adds; `trouble` names those that say what went wrong; `runtime` reads.

use crate::wire::QoS;

/// Why a message did not reach a session that it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// QoS 0, and the reader is slow (`egress_bytes_max`, or what is left of `held_bytes_per_shard_max`).
    SlowReader,
    /// The session's queue is full (`queued_messages_max`, `queued_bytes_max`, `held_bytes_per_shard_max`), whatever the policy.
    QueueFull,
    /// Its lifetime ended before it could be sent [MQTT-3.3.2-5].
    Expired,
    /// It is larger than the client's Maximum Packet Size [MQTT-3.1.2-25].
    TooLarge,
    /// QoS 0, and the client is not connected.
    Offline,
    /// It was queued when the session ended.
    SessionEnded,
    /// The client may not have it: its rights have changed while it was queued.
    Denied,
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of `Counters::dropped`.
    pub const ALL: [Self; 7] = [
        Self::SlowReader,
        Self::QueueFull,
        Self::Expired,
        Self::TooLarge,
        Self::Offline,
        Self::SessionEnded,
        Self::Denied,
    ];
}

/// A figure for each QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByQos([u64; 3]);

impl From<[u64; 3]> for ByQos {
    fn from(each: [u64; 3]) -> Self {
        Self(each)
    }
}

impl ByQos {
    /// So many more of a QoS.
    #[inline]
    pub(super) fn add(&mut self, qos: QoS, more: u64) {
        self.0[qos as usize] += more;
    }

    /// Of QoS 0, 1 and 2.
    pub fn each(self) -> [u64; 3] {
        self.0
    }

    /// Of all together.
    pub fn sum(self) -> u64 {
        self.0.iter().sum()
    }
}

/// What has happened on a shard since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted CONNECT packets.
    pub connects: u64,
    /// Connections closed by the broker.
    pub broker_closes: u64,
    /// Packets received of clients that are connected, CONNECT included.
    pub packets_received: u64,
    /// PUBLISH packets received.
    pub publishes_received: ByQos,
    /// Bytes of their payloads.
    pub payload_bytes_received: ByQos,
    /// Bytes of the payloads sent in PUBLISH packets.
    pub payload_bytes_sent: ByQos,
    /// Sessions that ended because their client stayed away for too long.
    pub sessions_expired: u64,
    /// Pairs of a message and a session that it is for: a matching subscription, one for all members of a shared subscription,
    /// or a retained message whose turn has come. Counted on the session's shard.
    pub matches: u64,
    /// Pairs of which the message was sent.
    pub delivered: ByQos,
    /// Pairs of which the message was sent after it had waited in a queue or was retained.
    pub delivered_late: ByQos,
    /// Pairs of which the message will not be sent, by reason (`DropReason`).
    pub dropped: [u64; DropReason::COUNT],
    /// Messages sent again on a new connection [MQTT-4.4.0-1].
    pub resent: u64,
    /// Messages delivered once and not acknowledged when their session ended, or that could not be sent again.
    pub abandoned_in_flight: u64,
    /// Times that the queue of a connected session became so long that publishers wait for it.
    pub sessions_congested: u64,
    /// Times that publishers had waited `backpressure_ms_max` for one.
    pub sessions_stuck: u64,
    /// Acknowledgements that waited for such a session.
    pub acks_withheld: u64,
    /// Times that a publisher was not read because it is owed too many (`owed_acks_max`, or what is left of
    /// `held_bytes_per_shard_max`).
    pub stopped_by_owed_acks: u64,
    /// Publishers of 3.x whose connection was closed because a message was not taken: they know no reason codes.
    pub closed_for_refusal: u64,
    /// Connections closed because their token had expired.
    pub closed_expired: u64,
    /// Messages that nobody subscribed to.
    pub unmatched: u64,
    /// Retained messages refused (`retained_messages_max`, `retained_bytes_max`).
    pub retained_refused: u64,
    /// PUBLISH packets, and wills, to a topic that the client may not publish to.
    pub publishes_denied: u64,
    /// Subscriptions refused because they could bring nothing.
    pub subscriptions_denied: u64,
    /// Messages for a shared subscription whose member was on another shard.
    pub group_forwards: u64,
    /// PUBLISH packets with a payload larger than may be (`message_size_limit`).
    pub payloads_too_large: u64,
    /// Messages forwarded to other shards.
    pub mesh_publishes: u64,
    /// Packets whose announced length was more than what is left of `held_bytes_per_shard_max`.
    pub announced_over_budget: u64,
    /// Subscriptions and wills refused because of `held_bytes_per_shard_max`.
    pub refused_over_budget: u64,
    /// Sessions, subscriptions and messages for kept sessions refused because the store takes nothing (disk full, or a write failed).
    pub refused_by_store: u64,
    /// Connections closed because what they were to be told could not be stored.
    pub closed_for_store: u64,
    /// Messages that would have visited more than `match_nodes_max` nodes.
    pub publishes_too_wide: u64,
    /// Times that a session had to wait for the search of its retained messages (`retained_search_nodes_max`).
    pub searches_put_off: u64,
    /// Panics that the bytes of a connection caused.
    pub panics: u64,
    /// CONNECT packets refused, for whatever reason.
    pub refused_connects: u64,
    /// Connections whose first packet was not a CONNECT, or had no length.
    pub refused_first_packets: u64,
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
    /// CONNECT packets with a wrong user name or password.
    pub refused_passwords: u64,
    /// CONNECT packets whose password was not checked (`password_checks_waiting_max`).
    pub refused_checks: u64,
    /// CONNECT packets whose password was not checked (`wrong_passwords_per_address_max`).
    pub refused_guesses: u64,
    /// CONNECT packets with a token that is not taken.
    pub refused_tokens: u64,
    /// CONNECT packets that the authenticator refused.
    pub refused_by_authenticator: u64,
    /// CONNECT packets refused because the authenticator was asked and did not say whether they may be.
    pub authenticator_failures: u64,
    /// CONNECT packets for the session of another user.
    pub refused_owners: u64,
}

impl Counters {
    /// Messages that did not reach a session for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(super) fn drop_pairs(&mut self, pairs: usize, reason: DropReason) {
        self.dropped[reason as usize] += pairs as u64;
    }

    /// Messages in the queues of sessions: what the ledger leaves.
    pub fn queued(&self) -> u64 {
        self.matches - self.delivered.sum() - self.dropped.iter().sum::<u64>()
    }

    /// A message was for a session, which does not get it.
    pub(super) fn miss(&mut self, reason: DropReason) {
        self.matches += 1;
        self.drop_pairs(1, reason);
    }
}
