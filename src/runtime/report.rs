//! Report: what an operator reads about the connections of one shard.
//!
//! Duty: choose what is told; limit the rate of what clients can cause at will. Must not: block, or know why the shard decided so.
//! Neighbours: the driver gives events, `phrase` words them, `journal` writes.

use super::clock::wall_millis;
use super::denials::{Denials, Denied};
use super::journal::Journal;
use super::line::{Facts, Line};
use super::peer::Peer;
use super::phrase::{line_of, line_of_accept, printable};
use crate::config::{LogForm, LogType, Logging};
use crate::id::{Millis, ShardId};
use crate::shard::{Cause, Counters, Event, Trouble};
use crate::transport::Refusal;
use crate::wire::ReasonCode;

/// Lines per second and shard that clients can cause.
const LINES_PER_SEC_MAX: u32 = 10;
const WINDOW_MILLIS: u64 = 1_000;

/// What the system lacks is told this often at most.
const LACK_MILLIS: u64 = 60_000;

/// How often the driver met a bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Connections that waited for a later turn (`accepts_per_turn_max`).
    pub accepts_put_off: u64,
    /// Connections closed at once (`accepts_per_address_per_sec_max`).
    pub refused_addresses: u64,
    /// Connections closed at once, as their listener does not take their address.
    pub denied_addresses: u64,
    /// Connections closed at once, as they came from no trusted proxy and a PROXY header was to follow.
    pub untrusted_proxies: u64,
    /// Connections closed at once, as their listener had as many as it takes.
    pub refused_listener_connections: u64,
    /// Connections closed as they broke the rules of TLS, WebSocket or the PROXY protocol.
    pub transport_faults: u64,
    /// Turns that left TLS handshakes for the next (`tls_handshakes_per_turn_max`).
    pub handshakes_put_off: u64,
    /// Connections closed at once (`connections_per_shard_max`).
    pub refused_connections: u64,
    /// Turns that had served others while received bytes waited for the next (`turn_bytes_per_connection_max`).
    pub turns_over_budget: u64,
}

impl Tally {
    /// What was put off, refused or closed.
    pub fn troubles(&self) -> [Trouble; 9] {
        use Trouble as T;
        let (of_address, full) =
            ("its address opened accepts_per_address_per_sec_max", "connections beyond connections_per_shard_max");
        [
            T::limit(
                "accepts_put_off",
                self.accepts_put_off,
                "connections that waited for a later turn (accepts_per_turn_max)",
            ),
            T::limit("refused_addresses", self.refused_addresses, of_address).at_connect(),
            T::denial("denied_addresses", self.denied_addresses, "the listener does not take its address").at_connect(),
            T::denial("untrusted_proxies", self.untrusted_proxies, "it is no trusted proxy of the listener")
                .at_connect(),
            T::limit("refused_at_accept", self.refused_connections, full).at_connect(),
            T::limit(
                "refused_listener_connections",
                self.refused_listener_connections,
                "its listener is full (max_connections)",
            )
            .at_connect(),
            T::limit(
                "transport_faults",
                self.transport_faults,
                "rules of TLS, WebSocket or the PROXY protocol were broken",
            ),
            T::limit("handshakes_put_off", self.handshakes_put_off, "turns that left TLS handshakes for the next one"),
            T::limit("turns_over_budget", self.turns_over_budget, "turns that left received bytes for the next one"),
        ]
    }
}

/// How much is told, and in which words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    /// Whether every connect and disconnect is told.
    is_verbose: bool,
    form: LogForm,
}

impl From<&Logging> for Tone {
    fn from(logging: &Logging) -> Self {
        Self { is_verbose: logging.tells_connections, form: logging.form }
    }
}

/// The operator's view of one shard.
#[derive(Debug)]
pub(super) struct Report {
    journal: Journal,
    denials: Denials,
    shard: ShardId,
    tone: Tone,
    /// How often the driver met a bound.
    pub(super) tally: Tally,
    window_from: Millis,
    lines: u32,
    suppressed: u64,
    accepts_failed: u64,
    accept_quiet_until: Option<Millis>,
    overflows_told: u64,
    overflow_quiet_until: Option<Millis>,
}

impl Report {
    /// A report of a shard.
    pub(super) fn new(journal: Journal, denials: Denials, shard: ShardId, tone: Tone) -> Self {
        Self {
            journal,
            denials,
            shard,
            tone,
            tally: Tally::default(),
            window_from: Millis(0),
            lines: 0,
            suppressed: 0,
            accepts_failed: 0,
            accept_quiet_until: None,
            overflows_told: 0,
            overflow_quiet_until: None,
        }
    }

    /// Tells of an event.
    pub(super) fn event(&mut self, now: Millis, event: &Event, peer: Option<Peer>) {
        let is_trouble = matches!(
            event,
            Event::Disconnected { cause: Cause::Broker(reason, _), .. } | Event::Refused { cause: Cause::Broker(reason, _), .. }
            if *reason != ReasonCode::ServerShuttingDown
        ) || matches!(event, Event::Stuck { .. } | Event::Denied { .. });
        if let Event::Denied { client_id, user, access, topic, rule, .. } = event {
            self.denials.note(Denied {
                at_unix_millis: wall_millis(),
                client_id: client_id.clone(),
                user: user.clone(),
                address: peer.map(|peer| peer.to_string()),
                access: *access,
                topic: topic.clone(),
                rule: rule.clone(),
            });
        }
        // Only where the operator wants each of them.
        let is_wanted = matches!(event, Event::Subscribed { .. } | Event::Unsubscribed { .. });
        if self.tone.is_verbose || is_wanted || (is_trouble && self.may_tell(now)) {
            self.journal.write(line_of(self.tone.form, event, peer, self.shard));
        }
    }

    /// From now on this much is told, in these words.
    pub(super) fn change(&mut self, tone: Tone) {
        self.tone = tone;
    }

    /// Tells that a connection was accepted, where Mosquitto does. `port`: that of the listener.
    pub(super) fn accepted(&self, peer: Peer, port: u16) {
        if self.tone.is_verbose && self.tone.form == LogForm::Mosquitto {
            self.journal.write(line_of_accept(peer, port, self.shard));
        }
    }

    /// Tells of something that a client can cause.
    fn tell_of_client(&self, kind: LogType, text: String, peer: Option<Peer>, reason: &str) {
        let facts = Facts {
            address: peer.map(|peer| peer.to_string()),
            shard: Some(self.shard.0),
            reason: Some(printable(reason)),
            ..Facts::default()
        };
        self.journal.write(Line { kind, text, facts });
    }

    /// Tells that the kernel refuses new connections, once for a while.
    pub(super) fn accept_failed(&mut self, now: Millis, error: i32) {
        self.accepts_failed += 1;
        if !is_over(&mut self.accept_quiet_until, now) {
            return;
        }
        let remedy = match error {
            libc::EMFILE => ": new connections wait; raise the limit of open files (ulimit -n, LimitNOFILE=)",
            libc::ENFILE => ": new connections wait; raise the system's limit of open files (sysctl fs.file-max)",
            _ => ": new connections wait",
        };
        let error = std::io::Error::from_raw_os_error(error);
        let (shard, times) = (self.shard.0, self.accepts_failed);
        let text = format!("Cannot accept on shard {shard} (failure {times}): {error}{remedy}");
        self.journal.tell(LogType::Error, text);
    }

    /// Tells that completions did not fit into the ring, once for a while. `times`: how often since the start.
    pub(super) fn overflows(&mut self, now: Millis, times: u64) {
        if times > self.overflows_told && is_over(&mut self.overflow_quiet_until, now) {
            self.overflows_told = times;
            let text = format!("The completion ring of shard {} was too small {times} times", self.shard.0);
            self.journal.tell(LogType::Warning, text);
        }
    }

    /// Tells that a connection was turned away because the shard has no more room.
    pub(super) fn too_many_connections(&mut self, now: Millis, peer: Peer) {
        self.tally.refused_connections += 1;
        self.refused(now, peer, "connections_per_shard_max is reached");
    }

    /// Tells that a connection was turned away because its address has opened too many in a short time.
    pub(super) fn address_too_often(&mut self, now: Millis, peer: Peer) {
        self.tally.refused_addresses += 1;
        self.refused(now, peer, "accepts_per_address_per_sec_max is reached");
    }

    /// Tells that a connection was turned away because of its address: anybody can cause that at will, so never each time.
    pub(super) fn address_refused(&mut self, now: Millis, peer: Peer, why: Refusal) {
        let what = match why {
            Refusal::Denied => "the listener denies its address",
            Refusal::NotAllowed => "the listener allows other addresses only",
            Refusal::NoProxy => "it is no trusted proxy of the listener (proxy_trusted)",
        };
        let counter =
            if why == Refusal::NoProxy { &mut self.tally.untrusted_proxies } else { &mut self.tally.denied_addresses };
        *counter += 1;
        if self.may_tell(now) {
            self.tell_refused(peer, what);
        }
    }

    /// Tells that a connection was turned away because its listener has as many as it takes.
    pub(super) fn listener_is_full(&mut self, now: Millis, peer: Peer) {
        self.tally.refused_listener_connections += 1;
        self.refused(now, peer, "the listener has as many connections as it takes");
    }

    /// Tells that a connection was closed because of what its transport has heard.
    pub(super) fn transport_failed(&mut self, now: Millis, peer: Peer, what: &str) {
        self.tally.transport_faults += 1;
        if self.tone.is_verbose || self.may_tell(now) {
            let text = format!("Connection from {peer} closed by shard {}: {}", self.shard.0, printable(what));
            self.tell_of_client(LogType::Notice, text, Some(peer), what);
        }
    }

    fn refused(&mut self, now: Millis, peer: Peer, what: &str) {
        if self.tone.is_verbose || self.may_tell(now) {
            self.tell_refused(peer, what);
        }
    }

    fn tell_refused(&self, peer: Peer, what: &str) {
        let text = format!("Connection from {peer} refused on shard {}: {what}", self.shard.0);
        self.tell_of_client(LogType::Notice, text, Some(peer), what);
    }

    /// Tells of a panic that a connection caused and that ended only that connection. `times`: which one it is.
    pub(super) fn panicked(&mut self, now: Millis, peer: Option<Peer>, times: u64, text: &str) {
        if self.tone.is_verbose || self.may_tell(now) {
            let from = peer.map_or_else(|| "unknown".into(), |peer| peer.to_string());
            let (shard, what) = (self.shard.0, printable(text));
            let line = format!(
                "Internal error on shard {shard} (panic {times}): {what}; the connection from {from} that caused it is closed, \
                 all others are served on"
            );
            self.tell_of_client(LogType::Error, line, peer, text);
        }
    }

    /// Tells how many lines were suppressed, when their second is over.
    pub(super) fn flush(&mut self, now: Millis) {
        if self.deadline().is_some_and(|at| at <= now) {
            let text = format!("{} more suppressed on shard {}", self.suppressed, self.shard.0);
            self.journal.tell(LogType::Notice, text);
            self.suppressed = 0;
        }
    }

    /// Tells at the end which bounds have bitten, if any.
    pub(super) fn sum_up(&self, counters: &Counters) {
        let bitten = self.tally.troubles().into_iter().chain(counters.troubles()).filter(|trouble| trouble.times > 0);
        let bitten: Vec<_> = bitten.map(|trouble| format!("{} {}", trouble.name, trouble.times)).collect();
        if !bitten.is_empty() {
            self.journal.line(format!("Shard {} in all: {}", self.shard.0, bitten.join(", ")));
        }
    }

    /// When [`Report::flush`] has something to tell.
    pub(super) fn deadline(&self) -> Option<Millis> {
        (self.suppressed > 0).then(|| self.window_from.after_millis(WINDOW_MILLIS))
    }

    fn may_tell(&mut self, now: Millis) -> bool {
        if now >= self.window_from.after_millis(WINDOW_MILLIS) {
            self.flush(now);
            self.window_from = now;
            self.lines = 0;
        }
        let may = self.lines < LINES_PER_SEC_MAX;
        if may {
            self.lines += 1;
        } else {
            self.suppressed += 1;
        }
        may
    }
}

/// Whether a time of silence is over; if so, the next one begins.
fn is_over(quiet_until: &mut Option<Millis>, now: Millis) -> bool {
    let is_over = quiet_until.is_none_or(|until| until <= now);
    if is_over {
        *quiet_until = Some(now.after_millis(LACK_MILLIS));
    }
    is_over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_addresses_are_all_counted_and_not_all_told_even_where_each_connection_is() {
        let (journal, _end) = Journal::start(&Logging::default()).unwrap();
        let tone = Tone { is_verbose: true, form: LogForm::Mosquitto };
        let mut report = Report::new(journal, Denials::default(), ShardId(0), tone);
        let peer = Peer::Internet(([192, 0, 2, 7], 4660).into());
        for why in [Refusal::Denied, Refusal::NotAllowed, Refusal::NoProxy] {
            (0..100).for_each(|_| report.address_refused(Millis(5_000), peer, why));
        }
        assert_eq!((report.tally.denied_addresses, report.tally.untrusted_proxies), (200, 100));
        assert_eq!((report.lines, report.suppressed), (LINES_PER_SEC_MAX, 290));
    }

    #[test]
    fn lines_that_clients_cause_are_limited_and_the_rest_counted() {
        let (journal, _end) = Journal::start(&Logging::default()).unwrap();
        let mut report = Report::new(journal, Denials::default(), ShardId(0), Tone::from(&Logging::default()));
        let told = (0..25).filter(|_| report.may_tell(Millis(5_000))).count();
        assert_eq!(told, LINES_PER_SEC_MAX as usize);
        assert_eq!(report.suppressed, 15);
        assert_eq!(report.deadline(), Some(Millis(6_000)));
        report.flush(Millis(6_000));
        assert_eq!(report.deadline(), None);
        assert!(report.may_tell(Millis(6_000)));
    }
}
