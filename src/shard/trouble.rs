//! What went wrong on a shard, by name: what was dropped, denied, refused or cut short.
//!
//! Duty: name, kind and meaning of each counter that says so, in one place for log, metrics and API. Must not: count. Neighbours:
//! `counters` has the numbers; `runtime` adds those of the driver and tells.

use super::{Counters, DropReason};

/// A counter that says that something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its name in log, metrics and API.
    pub name: &'static str,
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// Whether a client did not come in because of it.
    pub is_at_connect: bool,
    /// What it means, one line.
    pub meaning: &'static str,
    /// How often.
    pub times: u64,
}

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// A message did not reach a session that it was for.
    Drop,
    /// There was no right, or no proof of who it was.
    Denial,
    /// A bound was met, or something failed.
    Limit,
}

impl TroubleKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Denial => "denial",
            Self::Limit => "limit",
        }
    }
}

impl Trouble {
    /// A bound was met, or something failed.
    pub const fn limit(name: &'static str, times: u64, meaning: &'static str) -> Self {
        Self { name, kind: TroubleKind::Limit, is_at_connect: false, meaning, times }
    }

    /// Something was denied.
    pub const fn denial(name: &'static str, times: u64, meaning: &'static str) -> Self {
        Self { kind: TroubleKind::Denial, ..Self::limit(name, times, meaning) }
    }

    /// The same where a client did not come in because of it.
    #[must_use]
    pub const fn at_connect(self) -> Self {
        Self { is_at_connect: true, ..self }
    }
}

impl DropReason {
    /// Its name in log, metrics and API.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "dropped_slow_reader",
            Self::QueueFull => "dropped_queue_full",
            Self::Expired => "dropped_expired",
            Self::TooLarge => "dropped_too_large",
            Self::Offline => "dropped_offline",
            Self::SessionEnded => "dropped_session_ended",
            Self::Denied => "dropped_denied",
        }
    }

    /// What it means, one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::SlowReader => "QoS 0, and its client reads too slowly (egress_bytes_max, held_bytes_per_shard_max)",
            Self::QueueFull => {
                "the queue of its session is full (queued_messages_max, queued_bytes_max, held_bytes_per_shard_max)"
            }
            Self::Expired => "its lifetime (Message Expiry Interval) ended before it could be sent",
            Self::TooLarge => "it is larger than the Maximum Packet Size of its client",
            Self::Offline => "QoS 0, and its client is not connected",
            Self::SessionEnded => "it waited in the queue of a session that ended",
            Self::Denied => "its client may not have it any more: rights have changed while it waited",
        }
    }
}

impl Counters {
    /// What was refused, dropped or cut short, the drops first.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> + use<> {
        let drops = DropReason::ALL.map(|reason| Trouble {
            kind: TroubleKind::Drop,
            ..Trouble::limit(reason.name(), self.dropped_for(reason), reason.meaning())
        });
        drops
            .into_iter()
            .chain(self.of_packets())
            .chain(self.of_what_is_kept())
            .chain(self.at_connect().map(Trouble::at_connect))
    }

    /// Of packets and connections.
    fn of_packets(&self) -> [Trouble; 10] {
        use Trouble as T;
        [
            T::limit(
                "abandoned_in_flight",
                self.abandoned_in_flight,
                "sent and not acknowledged when the session ended",
            ),
            T::limit("acks_withheld", self.acks_withheld, "acknowledgements that waited for a congested subscriber"),
            T::limit(
                "announced_over_budget",
                self.announced_over_budget,
                "a packet that held_bytes_per_shard_max had no room for",
            ),
            T::limit("closed_expired", self.closed_expired, "connections closed as their token had expired"),
            T::limit(
                "closed_for_refusal",
                self.closed_for_refusal,
                "publishers of 3.x closed as a message was not taken",
            ),
            T::limit(
                "panics",
                self.panics,
                "internal errors that the bytes of a connection caused; only that was closed",
            ),
            T::limit(
                "payloads_too_large",
                self.payloads_too_large,
                "payloads larger than message_size_limit, acknowledged and dropped",
            ),
            T::denial(
                "publishes_denied",
                self.publishes_denied,
                "PUBLISH packets and wills to topics without the right",
            ),
            T::limit(
                "publishes_too_wide",
                self.publishes_too_wide,
                "messages that would have visited more than match_nodes_max nodes",
            ),
            T::limit("refused_connects", self.refused_connects, "CONNECT packets refused, for whatever reason"),
        ]
    }

    /// Of the store, retained messages and queues.
    fn of_what_is_kept(&self) -> [Trouble; 9] {
        use Trouble as T;
        [
            T::limit(
                "refused_over_budget",
                self.refused_over_budget,
                "subscriptions and wills beyond held_bytes_per_shard_max",
            ),
            T::limit(
                "refused_by_store",
                self.refused_by_store,
                "refused as the store takes nothing (disk full, or a write failed)",
            ),
            T::limit(
                "closed_for_store",
                self.closed_for_store,
                "connections closed as what they were to be told was not stored",
            ),
            T::limit(
                "retained_refused",
                self.retained_refused,
                "retained messages beyond retained_messages_max or retained_bytes_max",
            ),
            T::limit(
                "searches_put_off",
                self.searches_put_off,
                "searches of retained messages that waited (retained_search_nodes_max)",
            ),
            T::limit("sessions_congested", self.sessions_congested, "queues so long that publishers wait for them"),
            T::limit(
                "sessions_stuck",
                self.sessions_stuck,
                "queues that publishers have waited backpressure_ms_max for",
            ),
            T::limit(
                "stopped_by_owed_acks",
                self.stopped_by_owed_acks,
                "publishers not read on as they are owed owed_acks_max",
            ),
            T::denial(
                "subscriptions_denied",
                self.subscriptions_denied,
                "subscriptions refused as they could bring nothing",
            ),
        ]
    }

    /// Why clients did not come in.
    fn at_connect(&self) -> [Trouble; 14] {
        use Trouble as T;
        [
            T::limit(
                "authenticator_failures",
                self.authenticator_failures,
                "the authenticator did not say whether a client may come",
            ),
            T::denial(
                "refused_by_authenticator",
                self.refused_by_authenticator,
                "the authenticator refused the client",
            ),
            T::limit("refused_checks", self.refused_checks, "too many passwords waited (password_checks_waiting_max)"),
            T::limit("refused_connections", self.refused_connections, "connections beyond connections_per_shard_max"),
            T::limit("refused_first_packets", self.refused_first_packets, "the first packet was no CONNECT"),
            T::denial(
                "refused_guesses",
                self.refused_guesses,
                "too many wrong ones came from the address (wrong_passwords_per_address_max)",
            ),
            T::limit(
                "refused_large_connects",
                self.refused_large_connects,
                "CONNECT packets larger than preauth_bytes_max",
            ),
            T::limit("refused_overdue", self.refused_overdue, "no whole CONNECT in connect_timeout_ms"),
            T::denial("refused_owners", self.refused_owners, "the session is that of another user"),
            T::denial("refused_passwords", self.refused_passwords, "a wrong user name or password"),
            T::limit(
                "refused_preauth_bytes",
                self.refused_preauth_bytes,
                "announced bytes beyond preauth_bytes_total_max",
            ),
            T::limit("refused_sessions", self.refused_sessions, "sessions beyond sessions_per_shard_max"),
            T::denial("refused_tokens", self.refused_tokens, "a token that is not taken"),
            T::limit(
                "refused_user_sessions",
                self.refused_user_sessions,
                "sessions beyond sessions_per_user_per_shard_max",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes wrong is said under the name of its counter.
    #[test]
    fn troubles_are_said_by_name() {
        let mut counters = Counters { panics: 3, refused_connects: 2, refused_passwords: 1, ..Counters::default() };
        counters.miss(DropReason::Expired);
        let troubles = counters.troubles().filter(|trouble| trouble.times > 0);
        let troubles: Vec<_> = troubles.map(|trouble| (trouble.name, trouble.times, trouble.kind.name())).collect();
        assert_eq!(
            troubles,
            [
                ("dropped_expired", 1, "drop"),
                ("panics", 3, "limit"),
                ("refused_connects", 2, "limit"),
                ("refused_passwords", 1, "denial")
            ]
        );
        let connect = Counters::default().troubles().filter(|trouble| trouble.is_at_connect);
        assert_eq!(connect.count(), 14);
    }

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            let mut counters = Counters::default();
            counters.miss(reason);
            assert_eq!((counters.matches, counters.dropped[place]), (1, 1), "{reason:?}");
            let told: Vec<_> = counters.troubles().filter(|trouble| trouble.times > 0).collect();
            assert_eq!(told.iter().map(|trouble| trouble.name).collect::<Vec<_>>(), [reason.name()]);
        }
    }

    #[test]
    fn no_two_have_one_name_and_each_says_what_it_means() {
        let mut names: Vec<_> = Counters::default().troubles().map(|trouble| trouble.name).collect();
        let known = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), known);
        assert!(Counters::default().troubles().all(|trouble| trouble.meaning.len() > 10));
    }
}
