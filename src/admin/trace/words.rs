//! Words: what is in a packet, one line, in the manner of Mosquitto's debug log.
//!
//! Duty: text that is harmless and bounded whatever the client's bytes. Must not: say a password, authentication data or a user property's
//! value, any of which may be a secret. Neighbours: `wire` decodes; `runtime` makes client's text printable.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Traced;
use crate::runtime::{Sight, printable};
use crate::shard::Shown;
use crate::wire::{
    Ack, Auth, Connack, Connect, Disconnect, Frame, Framed, Packet, ProtocolVersion, Publish, QoS, ReasonCode,
    RetainHandling, Sender, Suback, Subscribe, Unsuback, Unsubscribe, decode, frame, packet_name,
};

/// Payload that one event has, bytes.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Filters of one packet that are named.
const FILTERS_MAX: usize = 16;

/// The events of a sight.
pub(super) fn traced(sight: Sight, shard: u32, with_payload: bool) -> Vec<Traced> {
    let Sight { at_unix_nanos, client_id, what, mut lost, .. } = sight;
    let at_unix_ms = at_unix_nanos / 1_000_000;
    let client_id = String::from(client_id);
    let mut events = Vec::new();
    let mut push = |is_sent: bool, seen: Seen| {
        let Seen { packet, size_bytes, text, topic, payload } = seen;
        let payload_bytes = payload.map(|payload| payload.len() as u64);
        let shown = payload.filter(|_| with_payload).map(|payload| &payload[..payload.len().min(PAYLOAD_BYTES_MAX)]);
        events.push(Traced {
            at_unix_ms,
            shard,
            client_id: client_id.clone(),
            direction: if is_sent { "out" } else { "in" }.into(),
            packet: packet.into(),
            size_bytes: size_bytes as u64,
            text,
            topic: topic.map(str::to_owned),
            payload_bytes,
            payload_base64: shown.map(|shown| STANDARD.encode(shown)),
            lost: std::mem::take(&mut lost),
        });
    };
    match what {
        Shown::Packets { is_sent, version, bytes } => {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (seen, len) = first_of(rest, version, is_sent);
                push(is_sent, seen);
                rest = &rest[len..];
            }
        }
        Shown::Message { topic, qos, retain, payload } => {
            let text = publish_text(false, qos, retain, None, &topic, payload.len(), "");
            let size_bytes = topic.len() + payload.len();
            push(false, Seen { packet: "PUBLISH", size_bytes, text, topic: Some(&topic), payload: Some(&payload) });
        }
        // The one is nobody's who asks here; the other is counted before whatever is shown next.
        Shown::Sampled { .. } | Shown::Lost(_) => {}
    }
    events
}

/// What is seen of a packet.
struct Seen<'a> {
    packet: &'static str,
    size_bytes: usize,
    text: String,
    topic: Option<&'a str>,
    payload: Option<&'a [u8]>,
}

/// The first packet of these bytes, and how many it has.
fn first_of(bytes: &[u8], version: ProtocolVersion, is_sent: bool) -> (Seen<'_>, usize) {
    let sender = if is_sent { Sender::Server } else { Sender::Client };
    let unknown = |what: &str, len: usize| {
        let text = format!("{} ({what})", packet_name(bytes[0]));
        (Seen { packet: packet_name(bytes[0]), size_bytes: len, text, topic: None, payload: None }, len)
    };
    match frame(bytes, u32::MAX) {
        Ok(Framed::Whole(whole)) => match decode(&whole, version, sender) {
            Ok(packet) => (seen_of(&whole, &packet), whole.len),
            Err(error) => unknown(error.what, whole.len),
        },
        Ok(Framed::Partial { .. }) => unknown("its beginning only", bytes.len()),
        Err(error) => unknown(error.what, bytes.len()),
    }
}

fn seen_of<'a>(whole: &Frame<'a>, packet: &Packet<'a>) -> Seen<'a> {
    let name = packet_name(whole.first_byte);
    let (topic, payload) = match packet {
        Packet::Publish(publish) => (Some(publish.topic).filter(|topic| !topic.is_empty()), Some(publish.payload)),
        _ => (None, None),
    };
    Seen { packet: name, size_bytes: whole.len, text: text_of(name, packet), topic, payload }
}

fn text_of(name: &str, packet: &Packet<'_>) -> String {
    let inside = match packet {
        Packet::Publish(publish) => return text_of_publish(publish),
        Packet::Pingreq | Packet::Pingresp => return name.to_owned(),
        Packet::Connect(connect) => connect_text(connect),
        Packet::Connack(connack) => connack_text(connack),
        Packet::Ack(ack) => ack_text(ack),
        Packet::Subscribe(subscribe) => subscribe_text(subscribe),
        Packet::Suback(suback) => suback_text(suback),
        Packet::Unsubscribe(unsubscribe) => unsubscribe_text(unsubscribe),
        Packet::Unsuback(unsuback) => unsuback_text(unsuback),
        Packet::Disconnect(disconnect) => disconnect_text(disconnect),
        Packet::Auth(auth) => auth_text(auth),
    };
    format!("{name} ({inside})")
}

fn text_of_publish(publish: &Publish<'_>) -> String {
    let properties = &publish.properties;
    let mut more = String::new();
    if let Some(alias) = properties.topic_alias {
        more += &format!(", alias {alias}");
    }
    if let Some(secs) = properties.message_expiry_secs {
        more += &format!(", expires in {secs} s");
    }
    if let Some(topic) = properties.response_topic {
        more += &format!(", response to '{}'", printable(topic));
    }
    for id in properties.subscription_ids().take(FILTERS_MAX) {
        more += &format!(", subscription {id}");
    }
    if properties.user_properties > 0 {
        more += &format!(", user properties {}", properties.user_properties);
    }
    let (dup, qos, retain) = (publish.dup, publish.qos, publish.retain);
    publish_text(dup, qos, retain, Some(publish.packet_id), publish.topic, publish.payload.len(), &more)
}

/// `packet_id`: none for a message that is seen apart from its packet.
fn publish_text(
    dup: bool,
    qos: QoS,
    retain: bool,
    packet_id: Option<u16>,
    topic: &str,
    payload_bytes: usize,
    more: &str,
) -> String {
    let (dup, qos, retain) = (u8::from(dup), qos as u8, u8::from(retain));
    let packet_id = packet_id.map_or_else(String::new, |id| format!(", m{id}"));
    format!("PUBLISH (d{dup}, q{qos}, r{retain}{packet_id}, '{}'{more}, ... ({payload_bytes} bytes))", printable(topic))
}

fn connect_text(connect: &Connect<'_>) -> String {
    let version = match connect.version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    };
    let (clean, keep_alive) = (u8::from(connect.clean_start), connect.keep_alive_secs);
    let mut text = format!("p{version}, c{clean}, k{keep_alive}, '{}'", printable(connect.client_id));
    if let Some(user) = connect.user_name {
        text += &format!(", u'{}'", printable(user));
    }
    if connect.password.is_some() {
        text += ", a password";
    }
    if let Some(will) = &connect.last_will {
        let (topic, qos, retain) = (printable(will.topic), will.qos as u8, u8::from(will.retain));
        text += &format!(", will (q{qos}, r{retain}, '{topic}', ... ({} bytes))", will.payload.len());
    }
    if let Some(secs) = connect.session_expiry_secs {
        text += &format!(", session expiry {secs} s");
    }
    if let Some(most) = connect.receive_maximum {
        text += &format!(", receive maximum {most}");
    }
    if let Some(method) = connect.authentication_method {
        text += &format!(", method '{}'", printable(method));
    }
    text
}

fn connack_text(connack: &Connack<'_>) -> String {
    let mut text = format!("s{}, {}", u8::from(connack.session_present), connack.reason);
    if let Some(client_id) = connack.assigned_client_id {
        text += &format!(", assigned '{}'", printable(client_id));
    }
    if let Some(secs) = connack.server_keep_alive {
        text += &format!(", k{secs}");
    }
    text + &words_of(connack.reason_string)
}

fn ack_text(ack: &Ack<'_>) -> String {
    let reason = if ack.reason == ReasonCode::Success { String::new() } else { format!(", {}", ack.reason) };
    format!("m{}{reason}{}", ack.packet_id, words_of(ack.properties.reason_string()))
}

fn subscribe_text(subscribe: &Subscribe<'_>) -> String {
    let mut text = format!("m{}", subscribe.packet_id);
    for (filter, options) in subscribe.filters().take(FILTERS_MAX) {
        let _ = write!(text, ", '{}' q{}", printable(filter), options.qos as u8);
        text += if options.no_local { " no local" } else { "" };
        text += if options.retain_as_published { " retain as published" } else { "" };
        text += match options.retain_handling {
            RetainHandling::SendAtSubscribe => "",
            RetainHandling::SendIfNew => " retained if new",
            RetainHandling::DoNotSend => " nothing retained",
        };
    }
    text += &more_than(subscribe.filters().count());
    if let Some(id) = subscribe.subscription_id {
        text += &format!(", subscription {id}");
    }
    text
}

fn unsubscribe_text(unsubscribe: &Unsubscribe<'_>) -> String {
    let mut text = format!("m{}", unsubscribe.packet_id);
    for filter in unsubscribe.filters().take(FILTERS_MAX) {
        text += &format!(", '{}'", printable(filter));
    }
    text + &more_than(unsubscribe.filters().count())
}

fn suback_text(suback: &Suback<'_>) -> String {
    let words = words_of(suback.properties.reason_string());
    format!("m{}{}{words}", suback.packet_id, reasons_text(suback.reasons))
}

fn unsuback_text(unsuback: &Unsuback<'_>) -> String {
    let words = words_of(unsuback.properties.reason_string());
    format!("m{}{}{words}", unsuback.packet_id, reasons_text(unsuback.reasons))
}

/// What was granted is a number.
fn reasons_text(reasons: &[u8]) -> String {
    let one = |byte: &u8| match ReasonCode::from_byte(*byte) {
        Some(reason) if reason.is_error() => format!(", {reason}"),
        _ => format!(", {byte}"),
    };
    reasons.iter().take(FILTERS_MAX).map(one).collect::<String>() + &more_than(reasons.len())
}

fn more_than(filters: usize) -> String {
    filters.checked_sub(FILTERS_MAX + 1).map_or_else(String::new, |more| format!(", and {} more", more + 1))
}

fn disconnect_text(disconnect: &Disconnect<'_>) -> String {
    let mut text = disconnect.reason.to_string();
    if let Some(secs) = disconnect.session_expiry_secs {
        text += &format!(", session expiry {secs} s");
    }
    text + &words_of(disconnect.reason_string)
}

fn auth_text(auth: &Auth<'_>) -> String {
    let method =
        auth.authentication_method.map_or_else(String::new, |method| format!(", method '{}'", printable(method)));
    format!("{}{method}", auth.reason)
}

fn words_of(reason_string: Option<&str>) -> String {
    reason_string.map_or_else(String::new, |words| format!(", '{}'", printable(words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{LastWill, PublishProperties, SubscriptionOptions};

    fn events(is_sent: bool, version: ProtocolVersion, bytes: &[u8], with_payload: bool) -> Vec<Traced> {
        let what = Shown::Packets { is_sent, version, bytes: bytes.to_vec() };
        let sight = Sight { at_unix_nanos: 7_999_999, turn_nanos: 0, client_id: "c".into(), what, lost: 3, room: None };
        traced(sight, 1, with_payload)
    }

    fn text(version: ProtocolVersion, packet: &Packet<'_>) -> String {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        let is_sent = matches!(packet, Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp);
        let mut events = events(is_sent, version, &bytes, false);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].size_bytes, bytes.len() as u64);
        events.remove(0).text
    }

    fn publish<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        let properties = PublishProperties::EMPTY;
        Publish { dup: false, qos: QoS::AtLeastOnce, retain: false, topic, packet_id: 5, properties, payload }
    }

    #[test]
    fn each_packet_of_a_piece_is_an_event_and_what_was_lost_stands_at_the_first() {
        let mut bytes = Vec::new();
        publish("a/b", b"twelve bytes").encode(ProtocolVersion::V311, &mut bytes);
        bytes.extend_from_slice(&crate::wire::PINGREQ);
        let seen = events(false, ProtocolVersion::V311, &bytes, false);
        let texts: Vec<_> = seen.iter().map(|event| (&*event.packet, &*event.text, event.lost)).collect();
        assert_eq!(
            texts,
            [("PUBLISH", "PUBLISH (d0, q1, r0, m5, 'a/b', ... (12 bytes))", 3), ("PINGREQ", "PINGREQ", 0)]
        );
        assert_eq!((seen[0].topic.as_deref(), seen[0].payload_bytes), (Some("a/b"), Some(12)));
        assert_eq!((&*seen[0].direction, seen[0].shard, seen[0].at_unix_ms), ("in", 1, 7));
        assert_eq!(seen[0].payload_base64, None, "nobody has asked for it");
        let seen = events(true, ProtocolVersion::V311, &bytes[..bytes.len() - 2], true);
        assert_eq!(seen[0].payload_base64.as_deref(), Some("dHdlbHZlIGJ5dGVz"));
        assert_eq!(seen[0].direction, "out");
    }

    #[test]
    fn secrets_are_never_told() {
        let mut connect = Connect::new(ProtocolVersion::V5, "one");
        connect.user_name = Some("ann");
        connect.password = Some(b"hunter2");
        connect.authentication_method = Some("SCRAM-SHA-256");
        connect.authentication_data = Some(b"n,,n=hunter2");
        connect.last_will = Some(LastWill {
            topic: "gone",
            payload: b"hunter2",
            qos: QoS::AtMostOnce,
            retain: true,
            delay_secs: 0,
            properties: PublishProperties::EMPTY,
        });
        let told = text(ProtocolVersion::V5, &Packet::Connect(connect));
        assert!(told.starts_with("CONNECT (p5.0, c") && told.contains(", 'one', u'ann', a password, will ("), "{told}");
        assert!(told.contains("method 'SCRAM-SHA-256'") && !told.contains("hunter2"), "{told}");
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            authentication_method: Some("SCRAM-SHA-256"),
            authentication_data: Some(b"hunter2"),
            ..Auth::default()
        };
        let told = text(ProtocolVersion::V5, &Packet::Auth(auth));
        assert_eq!(told, "AUTH (Continue authentication (0x18), method 'SCRAM-SHA-256')");
    }

    #[test]
    fn filters_answers_and_reasons_are_named() {
        let mut filters = Vec::new();
        Subscribe::push_filter(&mut filters, "a/#", SubscriptionOptions::default());
        let options = SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: true, ..SubscriptionOptions::default() };
        Subscribe::push_filter(&mut filters, "b", options);
        let told = text(ProtocolVersion::V5, &Packet::Subscribe(Subscribe::new(1, None, &filters)));
        assert_eq!(told, "SUBSCRIBE (m1, 'a/#' q0, 'b' q2 no local)");
        let told = text(ProtocolVersion::V311, &Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        assert_eq!(told, "DISCONNECT (Success (0x00))");
        let denied = events(true, ProtocolVersion::V5, &[0x90, 5, 0, 1, 0, 1, 0x87], false);
        assert_eq!(denied[0].text, "SUBACK (m1, 1, Not authorized (0x87))");
        let refused = events(true, ProtocolVersion::V5, &[0x40, 3, 0, 5, 0x97], false);
        assert_eq!(refused[0].text, "PUBACK (m5, Quota exceeded (0x97))");
    }

    /// Case O01.
    #[test]
    fn text_of_a_client_cannot_move_the_cursor_and_nonsense_is_called_so() {
        let told = text(ProtocolVersion::V311, &Packet::Publish(publish("a\u{1b}[2J", b"")));
        assert_eq!(told, "PUBLISH (d0, q1, r0, m5, 'a\\u{1b}[2J', ... (0 bytes))");
        for nonsense in [&[0x00, 0x00][..], &[0x30], &[0x30, 0x05, 0x00], &[0x36, 3, 0, 1, b'a'], &[0xff; 9]] {
            let seen = events(false, ProtocolVersion::V5, nonsense, true);
            assert!(!seen.is_empty(), "{nonsense:?}");
        }
    }

    #[test]
    fn a_message_to_a_topic_has_no_packet_id() {
        let what = Shown::Message { topic: "t".into(), qos: QoS::ExactlyOnce, retain: true, payload: b"x".to_vec() };
        let sight = Sight { at_unix_nanos: 0, turn_nanos: 0, client_id: "c".into(), what, lost: 0, room: None };
        let seen = traced(sight, 0, true);
        assert_eq!(seen[0].text, "PUBLISH (d0, q2, r1, 't', ... (1 bytes))");
        assert_eq!(seen[0].payload_base64.as_deref(), Some("eA=="));
    }
}
