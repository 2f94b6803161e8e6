//! Phrase: the words for what happens to connections.
//!
//! Duty: turn events into lines, harmless and bounded whatever the client's text; where Mosquitto has words that programs look
//! for, exactly those, and what there is more to say behind them. Must not: choose what is told. Neighbours: `report` chooses.

use std::fmt::Write;

use super::line::{Facts, Line};
use super::peer::Peer;
use crate::auth::Access;
use crate::config::{LogForm, LogType};
use crate::id::{ConnectionId, ShardId};
use crate::shard::{Cause, Event};
use crate::wire::{ProtocolVersion, ReasonCode};

/// Client's text in a line is cut off here, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The connection that an event is about.
pub(super) fn connection_of(event: &Event) -> ConnectionId {
    match event {
        Event::Connected { connection, .. }
        | Event::Disconnected { connection, .. }
        | Event::Stuck { connection, .. }
        | Event::Denied { connection, .. }
        | Event::Subscribed { connection, .. }
        | Event::Unsubscribed { connection, .. }
        | Event::Refused { connection, .. } => *connection,
    }
}

/// The line for an event.
pub(super) fn line_of(form: LogForm, event: &Event, peer: Option<Peer>, shard: ShardId) -> Line {
    let kind = match event {
        Event::Stuck { .. } => LogType::Warning,
        Event::Subscribed { .. } => LogType::Subscribe,
        Event::Unsubscribed { .. } => LogType::Unsubscribe,
        _ => LogType::Notice,
    };
    let as_mosquitto = match form {
        LogForm::Mosquitto => in_mosquittos_words(event, peer, shard),
        LogForm::Plain | LogForm::Json => None,
    };
    let text = as_mosquitto.unwrap_or_else(|| describe(event, peer, shard));
    Line { kind, text, facts: facts_of(event, peer, shard) }
}

/// The line for a connection that was accepted, in Mosquitto's words. `port`: that of the listener.
pub(super) fn line_of_accept(peer: Peer, port: u16, shard: ShardId) -> Line {
    let text = format!("New connection from {} on port {port}.", place_of(Some(peer)));
    let facts = Facts { address: Some(peer.to_string()), shard: Some(shard.0), ..Facts::default() };
    Line { kind: LogType::Notice, text, facts }
}

fn facts_of(event: &Event, peer: Option<Peer>, shard: ShardId) -> Facts {
    let (client, user, reason) = match event {
        Event::Connected { client_id, user, .. } => (Some(client_id), user.as_ref(), None),
        Event::Disconnected { client_id, cause, .. } => (Some(client_id), None, Some(reason_of(*cause))),
        Event::Stuck { client_id, .. } => (Some(client_id), None, Some("backpressure_ms_max".into())),
        Event::Denied { client_id, user, rule, .. } => (Some(client_id), user.as_ref(), Some(printable(rule))),
        Event::Subscribed { client_id, .. } | Event::Unsubscribed { client_id, .. } => (Some(client_id), None, None),
        Event::Refused { cause, .. } => (None, None, Some(reason_of(*cause))),
    };
    Facts {
        client: client.map(|client| printable(client)),
        user: user.map(|user| printable(user)),
        address: peer.map(|peer| peer.to_string()),
        shard: Some(shard.0),
        reason,
    }
}

fn reason_of(cause: Cause) -> String {
    match cause {
        Cause::ClientDisconnected => "the client disconnected".into(),
        Cause::ConnectionLost => "the connection was lost".into(),
        Cause::Broker(reason, what) => format!("{reason}: {what}"),
    }
}

/// The other end as Mosquitto writes it: without brackets around an address of IPv6.
fn place_of(peer: Option<Peer>) -> String {
    match peer {
        Some(Peer::Internet(address)) => format!("{}:{}", address.ip(), address.port()),
        Some(other) => other.to_string(),
        None => "unknown".into(),
    }
}

/// What Mosquitto 2 says of the same; behind it what it does not. `None` where it has no words.
fn in_mosquittos_words(event: &Event, peer: Option<Peer>, shard: ShardId) -> Option<String> {
    let shard = shard.0;
    Some(match event {
        Event::Connected { client_id, user, version, clean_start, keep_alive_secs, .. } => {
            let (place, id) = (place_of(peer), printable(client_id));
            let (version, clean) = (number_of(*version), u8::from(*clean_start));
            let user = user.as_ref().map_or_else(String::new, |user| format!(", u'{}'", printable(user)));
            format!("New client connected from {place} as {id} (p{version}, c{clean}, k{keep_alive_secs}{user}).")
        }
        Event::Disconnected { client_id, cause, .. } => {
            format!("{} [{}, shard {shard}]", ended(&printable(client_id), *cause)?, told_by(peer, *cause))
        }
        Event::Refused { cause, .. } => {
            format!("{} [from {}, refused by shard {shard}]", ended("<unknown>", *cause)?, told_by(peer, *cause))
        }
        Event::Subscribed { client_id, filter, qos, .. } => {
            format!("{} {} {}", printable(client_id), *qos as u8, printable(filter))
        }
        Event::Unsubscribed { client_id, filter, .. } => format!("{} {}", printable(client_id), printable(filter)),
        Event::Stuck { .. } | Event::Denied { .. } => return None,
    })
}

/// What Mosquitto does not say of an end.
fn told_by(peer: Option<Peer>, cause: Cause) -> String {
    match cause {
        Cause::ClientDisconnected | Cause::ConnectionLost => place_of(peer),
        Cause::Broker(reason, what) => format!("{}, {reason}: {what}", place_of(peer)),
    }
}

/// Mosquitto's sentence for an end.
fn ended(client: &str, cause: Cause) -> Option<String> {
    Some(match cause {
        Cause::ClientDisconnected => format!("Client {client} disconnected."),
        Cause::ConnectionLost => format!("Client {client} closed its connection."),
        Cause::Broker(reason, _) => match reason {
            ReasonCode::KeepAliveTimeout => format!("Client {client} has exceeded timeout, disconnecting."),
            ReasonCode::SessionTakenOver => format!("Client {client} already connected, closing old connection."),
            ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => {
                format!("Client {client} disconnected, not authorised.")
            }
            ReasonCode::MalformedPacket => format!("Client {client} disconnected due to malformed packet."),
            ReasonCode::ProtocolError | ReasonCode::UnsupportedProtocolVersion => {
                format!("Client {client} disconnected due to protocol error.")
            }
            ReasonCode::PacketTooLarge => format!("Client {client} disconnected due to oversize packet."),
            ReasonCode::AdministrativeAction => {
                format!("Client {client} been disconnected by administrative action.")
            }
            _ => return None,
        },
    })
}

/// As Mosquitto numbers versions in its log.
fn number_of(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::V31 => 1,
        ProtocolVersion::V311 => 2,
        ProtocolVersion::V5 => 5,
    }
}

fn describe(event: &Event, peer: Option<Peer>, shard: ShardId) -> String {
    let peer = peer.map_or_else(|| "unknown".into(), |peer| peer.to_string());
    let shard = shard.0;
    match event {
        Event::Connected { client_id, user, version, clean_start, keep_alive_secs, .. } => {
            let id = printable(client_id);
            let version = match version {
                ProtocolVersion::V31 => "v3.1",
                ProtocolVersion::V311 => "v3.1.1",
                ProtocolVersion::V5 => "v5",
            };
            let start = if *clean_start { ", clean start" } else { "" };
            let user = user.as_ref().map_or_else(String::new, |user| format!(", user {}", printable(user)));
            format!(
                "New client connected from {peer} as {id} on shard {shard} \
                 ({version}{start}, keep alive {keep_alive_secs} s{user})"
            )
        }
        Event::Disconnected { client_id, cause, .. } => {
            let id = printable(client_id);
            match cause {
                Cause::ClientDisconnected => format!("Client {id} [{peer}] disconnected from shard {shard}"),
                Cause::ConnectionLost => format!("Client {id} [{peer}] closed its connection to shard {shard}"),
                Cause::Broker(reason, what) => {
                    format!("Client {id} [{peer}] disconnected by shard {shard}: {reason}: {what}")
                }
            }
        }
        Event::Stuck { client_id, queued, .. } => {
            let id = printable(client_id);
            format!(
                "Client {id} [{peer}] does not keep up: {queued} messages are queued for it on shard {shard}, and publishers \
                 wait for it no longer (backpressure_ms_max)"
            )
        }
        Event::Denied { client_id, user, access, topic, rule, .. } => {
            let (id, topic) = (printable(client_id), printable(topic));
            let user =
                user.as_ref().map_or_else(|| "without a user name".into(), |user| format!("of {}", printable(user)));
            let wish = match access {
                Access::Publish => "publish to",
                Access::Receive => "receive",
            };
            format!("Client {id} [{peer}] {user} may not {wish} {topic}: {} (shard {shard})", printable(rule))
        }
        Event::Subscribed { client_id, filter, qos, .. } => {
            format!(
                "Client {} [{peer}] subscribed to {} at QoS {}",
                printable(client_id),
                printable(filter),
                *qos as u8
            )
        }
        Event::Unsubscribed { client_id, filter, .. } => {
            format!("Client {} [{peer}] unsubscribed from {}", printable(client_id), printable(filter))
        }
        Event::Refused { cause, .. } => match cause {
            Cause::Broker(reason, what) => {
                format!("Connection from {peer} refused by shard {shard}: {reason}: {what}")
            }
            Cause::ClientDisconnected | Cause::ConnectionLost => {
                format!("Connection from {peer} to shard {shard} closed before CONNECT")
            }
        },
    }
}

/// Client's text as it may stand in a log: harmless, and not too long.
pub fn printable(text: &str) -> String {
    harmless(text, TEXT_BYTES_MAX)
}

/// Text without control characters and without what turns the direction of writing. What is longer than `bytes_max` is cut.
pub fn harmless(text: &str, bytes_max: usize) -> String {
    let mut harmless = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        if harmless.len() >= bytes_max {
            harmless.push_str("...");
            break;
        }
        let is_harmless = !character.is_control()
            && !matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}');
        if is_harmless {
            harmless.push(character);
        } else {
            // Writing to a string does not fail.
            let _ = write!(harmless, "{}", character.escape_unicode());
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::QoS;

    const CONNECTION: ConnectionId = ConnectionId { slot: 0, generation: 0 };

    fn in_form(form: LogForm, event: &Event) -> Line {
        let peer = Peer::Internet("[::1]:4660".parse().unwrap());
        line_of(form, event, Some(peer), ShardId(1))
    }

    fn ended_by(reason: ReasonCode) -> Event {
        let cause = Cause::Broker(reason, "why");
        Event::Disconnected { connection: CONNECTION, client_id: "one".into(), cause }
    }

    /// The texts are those of mosquitto 2.0.11 -v.
    #[test]
    fn what_programs_look_for_in_the_log_of_mosquitto_is_there() {
        let text = |event: &Event| in_form(LogForm::Mosquitto, event).text;
        let connected = |user: Option<&str>| Event::Connected {
            connection: CONNECTION,
            client_id: "one".into(),
            user: user.map(Box::from),
            version: ProtocolVersion::V311,
            clean_start: true,
            keep_alive_secs: 60,
        };
        assert_eq!(text(&connected(None)), "New client connected from ::1:4660 as one (p2, c1, k60).");
        assert_eq!(text(&connected(Some("u"))), "New client connected from ::1:4660 as one (p2, c1, k60, u'u').");
        for (event, begin) in [
            (ended_by(ReasonCode::KeepAliveTimeout), "Client one has exceeded timeout, disconnecting. [::1:4660, "),
            (ended_by(ReasonCode::SessionTakenOver), "Client one already connected, closing old connection. ["),
            (ended_by(ReasonCode::ProtocolError), "Client one disconnected due to protocol error. ["),
        ] {
            assert!(text(&event).starts_with(begin) && text(&event).ends_with(": why, shard 1]"), "{}", text(&event));
        }
        let cause = Cause::Broker(ReasonCode::NotAuthorized, "why");
        let refused = text(&Event::Refused { connection: CONNECTION, cause });
        assert!(refused.starts_with("Client <unknown> disconnected, not authorised. [from ::1:4660"), "{refused}");
        let filter = "x/y".into();
        let subscribed =
            Event::Subscribed { connection: CONNECTION, client_id: "one".into(), filter, qos: QoS::AtLeastOnce };
        assert_eq!(text(&subscribed), "one 1 x/y");
        assert_eq!(in_form(LogForm::Plain, &subscribed).text, "Client one [[::1]:4660] subscribed to x/y at QoS 1");
    }

    #[test]
    fn whom_the_broker_has_disconnected_is_told_with_one_reason() {
        let text = in_form(LogForm::Plain, &ended_by(ReasonCode::ReceiveMaximumExceeded)).text;
        assert_eq!(text, "Client one [[::1]:4660] disconnected by shard 1: Receive Maximum exceeded (0x93): why");
    }

    #[test]
    fn what_a_program_wants_stands_by_itself() {
        let facts = in_form(LogForm::Json, &ended_by(ReasonCode::KeepAliveTimeout)).facts;
        assert_eq!((facts.client.as_deref(), facts.shard), (Some("one"), Some(1)));
        assert_eq!(facts.address.as_deref(), Some("[::1]:4660"));
        assert!(facts.reason.is_some_and(|reason| reason.ends_with(": why")));
    }

    /// Case O01.
    #[test]
    fn text_of_a_client_cannot_forge_lines_or_move_the_cursor() {
        assert_eq!(printable("a\nb\x1b[2Jc"), "a\\u{a}b\\u{1b}[2Jc");
        assert_eq!(printable("\u{202E}x"), "\\u{202e}x");
        assert_eq!(printable("ordinär"), "ordinär");
    }

    #[test]
    fn text_of_a_client_is_cut_off() {
        let long = printable(&"ä".repeat(10_000));
        assert!(long.len() <= TEXT_BYTES_MAX + 5 && long.ends_with("..."));
    }
}
