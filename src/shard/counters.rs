//! Counters of one shard: nothing is dropped or refused without one.
//!
//! Duty: name and hold them, and keep the drop ledger: `matches` = `delivered` + sum of `dropped` + what is queued. Must not:
//! print. Neighbours: every room of the shard adds; `runtime` reads.

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

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::Offline => "offline",
            Self::SessionEnded => "session_ended",
            Self::Denied => "denied",
        }
    }
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
    /// Pairs of which the message was sent, or was to be, after it had waited in a queue or was retained.
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

    /// What was refused, dropped or cut short, by name.
    pub fn troubles(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let dropped = DropReason::ALL.map(|reason| (format!("dropped_{}", reason.name()), self.dropped_for(reason)));
        let others = [
            ("abandoned_in_flight", self.abandoned_in_flight),
            ("acks_withheld", self.acks_withheld),
            ("announced_over_budget", self.announced_over_budget),
            ("authenticator_failures", self.authenticator_failures),
            ("closed_expired", self.closed_expired),
            ("closed_for_refusal", self.closed_for_refusal),
            ("panics", self.panics),
            ("payloads_too_large", self.payloads_too_large),
            ("publishes_denied", self.publishes_denied),
            ("publishes_too_wide", self.publishes_too_wide),
            ("refused_by_authenticator", self.refused_by_authenticator),
            ("refused_checks", self.refused_checks),
            ("refused_connects", self.refused_connects),
            ("refused_connections", self.refused_connections),
            ("refused_first_packets", self.refused_first_packets),
            ("refused_guesses", self.refused_guesses),
            ("refused_large_connects", self.refused_large_connects),
            ("refused_over_budget", self.refused_over_budget),
            ("refused_by_store", self.refused_by_store),
            ("closed_for_store", self.closed_for_store),
            ("refused_overdue", self.refused_overdue),
            ("refused_owners", self.refused_owners),
            ("refused_passwords", self.refused_passwords),
            ("refused_preauth_bytes", self.refused_preauth_bytes),
            ("refused_sessions", self.refused_sessions),
            ("refused_tokens", self.refused_tokens),
            ("refused_user_sessions", self.refused_user_sessions),
            ("retained_refused", self.retained_refused),
            ("searches_put_off", self.searches_put_off),
            ("sessions_congested", self.sessions_congested),
            ("sessions_stuck", self.sessions_stuck),
            ("stopped_by_owed_acks", self.stopped_by_owed_acks),
            ("subscriptions_denied", self.subscriptions_denied),
        ];
        dropped.into_iter().chain(others.map(|(name, times)| (name.to_owned(), times)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes wrong is said under the name of its counter.
    #[test]
    fn troubles_are_said_by_name() {
        let mut counters = Counters { panics: 3, refused_connects: 2, ..Counters::default() };
        counters.miss(DropReason::Expired);
        let troubles = counters.troubles().filter(|(_, times)| *times > 0).collect::<Vec<_>>();
        assert_eq!(
            troubles,
            [("dropped_expired".to_owned(), 1), ("panics".to_owned(), 3), ("refused_connects".to_owned(), 2)]
        );
    }

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            let mut counters = Counters::default();
            counters.miss(reason);
            assert_eq!((counters.matches, counters.dropped[place]), (1, 1), "{reason:?}");
            let told: Vec<_> = counters.troubles().filter(|(_, times)| *times > 0).collect();
            assert_eq!(told, [(format!("dropped_{}", reason.name()), 1)]);
        }
    }
}
