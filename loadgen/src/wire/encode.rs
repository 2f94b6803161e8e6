//! Packets to bytes, appended to a buffer that the caller sends.
//! Must not check what it is asked to write: the plan has done so. Neighbours: `engine::publisher`, `engine::client`.

use super::{Ack, AckKind, Connack, Connect, Publish, QoS, Suback, Subscribe, Version};

/// Appends CONNECT in the version it names.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    // Session Expiry Interval, only when it differs from its default: a 3.1.1 session that is not clean never expires.
    let expires = connect.version == Version::V5 && connect.session_expiry_secs > 0;
    let properties = if expires { 6 } else { usize::from(connect.version == Version::V5) };
    fixed_header(out, 0x10, 10 + properties + 2 + connect.client_id.len());
    block(out, b"MQTT");
    out.push(connect.version.level());
    out.push(if connect.clean_start { 2 } else { 0 });
    out.extend_from_slice(&connect.keep_alive_secs.to_be_bytes());
    if expires {
        out.extend_from_slice(&[5, 0x11]);
        out.extend_from_slice(&connect.session_expiry_secs.to_be_bytes());
    } else {
        no_properties(out, connect.version);
    }
    block(out, connect.client_id.as_bytes());
}

/// Appends CONNACK; in 5.0 with exactly those properties that differ from their defaults.
pub fn connack(out: &mut Vec<u8>, connack: &Connack, version: Version) {
    let mut properties = Vec::new();
    if connack.receive_maximum != u16::MAX {
        properties.push(0x21);
        properties.extend_from_slice(&connack.receive_maximum.to_be_bytes());
    }
    if connack.maximum_qos != QoS::ExactlyOnce {
        properties.extend_from_slice(&[0x24, connack.maximum_qos.number()]);
    }
    if let Some(bytes) = connack.packet_bytes_max {
        properties.push(0x27);
        properties.extend_from_slice(&bytes.to_be_bytes());
    }
    let with_properties = version == Version::V5;
    fixed_header(out, 0x20, 2 + if with_properties { 1 + properties.len() } else { 0 });
    out.extend_from_slice(&[u8::from(connack.session_present), connack.reason]);
    if with_properties {
        // Three properties of at most five bytes, so the length is one byte.
        out.push(properties.len() as u8);
        out.extend_from_slice(&properties);
    }
}

/// Appends PUBLISH.
pub fn publish(out: &mut Vec<u8>, publish: &Publish<'_>, version: Version) {
    publish_head(out, publish, publish.payload.len(), version);
    out.extend_from_slice(publish.payload);
}

/// Appends all of a PUBLISH that stands before its payload of `payload_bytes`; the payload given in `publish` is not read.
/// The packet identifier, if there is one, is the last field before the property length of 5.0.
pub fn publish_head(out: &mut Vec<u8>, publish: &Publish<'_>, payload_bytes: usize, version: Version) {
    let packet_id_bytes = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
    let properties = usize::from(version == Version::V5);
    let first = 0x30 | u8::from(publish.dup) << 3 | publish.qos.number() << 1 | u8::from(publish.retain);
    fixed_header(out, first, 2 + publish.topic.len() + packet_id_bytes + properties + payload_bytes);
    block(out, publish.topic);
    if packet_id_bytes > 0 {
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    no_properties(out, version);
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP, in its short form when the reason is 0.
pub fn ack(out: &mut Vec<u8>, ack: &Ack, version: Version) {
    let kind = ack.kind as u8;
    let first = kind << 4 | if ack.kind == AckKind::Pubrel { 2 } else { 0 };
    let [high, low] = ack.packet_id.to_be_bytes();
    if version == Version::V311 || ack.reason == 0 {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, ack.reason]);
    }
}

/// Appends SUBSCRIBE with one filter.
pub fn subscribe(out: &mut Vec<u8>, subscribe: &Subscribe<'_>, version: Version) {
    let properties = usize::from(version == Version::V5);
    fixed_header(out, 0x82, 2 + properties + 2 + subscribe.filter.len() + 1);
    out.extend_from_slice(&subscribe.packet_id.to_be_bytes());
    no_properties(out, version);
    block(out, subscribe.filter);
    out.push(subscribe.qos.number());
}

/// Appends SUBACK for one filter.
pub fn suback(out: &mut Vec<u8>, suback: &Suback, version: Version) {
    fixed_header(out, 0x90, 3 + usize::from(version == Version::V5));
    out.extend_from_slice(&suback.packet_id.to_be_bytes());
    no_properties(out, version);
    out.push(suback.reason);
}

/// Appends PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// Appends DISCONNECT; the reason is written only in 5.0 and only when it is not 0.
pub fn disconnect(out: &mut Vec<u8>, reason: u8, version: Version) {
    if version == Version::V311 || reason == 0 {
        out.extend_from_slice(&[0xe0, 0]);
    } else {
        out.extend_from_slice(&[0xe0, 1, reason]);
    }
}

fn fixed_header(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.push(first);
    let mut rest = remaining;
    loop {
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn no_properties(out: &mut Vec<u8>, version: Version) {
    if version == Version::V5 {
        out.push(0);
    }
}

/// A string or binary field; the plan keeps every one of them below 65,536 bytes.
fn block(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}
