//! Answers in words: a Reason String beside a failure (sections 3.2.2.3.9, 3.4.2.2.2, 3.9.2.1.2, 3.14.2.2.3).
//!
//! Duty: append an answer with its words if the client wants them, and never above its Maximum Packet Size. Must not: find
//! the words, or decide what fails. Neighbours: every room that refuses something; `connection` keeps what the client said.

use super::connection::Connection;
use crate::wire::property::{Properties, Property};
use crate::wire::{Ack, Connack, Disconnect, Packet, ProtocolVersion, ReasonCode, Suback, Unsuback};

impl Connection {
    /// Appends PUBACK, PUBREC or PUBCOMP. It fits in every Maximum Packet Size that a CONNACK fitted in.
    pub(super) fn put_ack(&self, ack: Ack<'_>, words: Option<&str>, out: &mut Vec<u8>) {
        let block = self.block(words);
        let explained = Ack { properties: Properties { raw: &block }, ..ack };
        put_first_within(&[Packet::Ack(explained), Packet::Ack(ack)], self.version, self.packet_bytes_max, out);
    }

    /// Appends SUBACK, or nothing if it is too large [MQTT-3.1.2-24].
    pub(super) fn put_suback(&self, suback: Suback<'_>, words: Option<&str>, out: &mut Vec<u8>) {
        let block = self.block(words);
        let explained = Suback { properties: Properties { raw: &block }, ..suback };
        let forms = [Packet::Suback(explained), Packet::Suback(suback)];
        put_first_within(&forms, self.version, self.packet_bytes_max, out);
    }

    /// Appends UNSUBACK, or nothing if it is too large [MQTT-3.1.2-24].
    pub(super) fn put_unsuback(&self, unsuback: Unsuback<'_>, words: Option<&str>, out: &mut Vec<u8>) {
        let block = self.block(words);
        let explained = Unsuback { properties: Properties { raw: &block }, ..unsuback };
        let forms = [Packet::Unsuback(explained), Packet::Unsuback(unsuback)];
        put_first_within(&forms, self.version, self.packet_bytes_max, out);
    }

    /// Appends DISCONNECT, or nothing if it is too large; it may always have words [MQTT-3.1.2-29].
    pub(super) fn put_disconnect(&self, reason: ReasonCode, words: &str, out: &mut Vec<u8>) {
        let bare = Disconnect::new(reason);
        let explained = Disconnect { reason_string: Some(words), ..bare };
        let forms = [Packet::Disconnect(explained), Packet::Disconnect(bare)];
        put_first_within(&forms, self.version, self.packet_bytes_max, out);
    }

    /// A property block with these words in it; empty if the client does not want them [MQTT-3.1.2-29].
    fn block(&self, words: Option<&str>) -> Vec<u8> {
        let mut block = Vec::new();
        if let Some(words) = words.filter(|_| self.wants_words) {
            Property::ReasonString(words).encode(&mut block);
        }
        block
    }
}

/// Appends a CONNACK that refuses, or nothing if it is too large; it may always have words [MQTT-3.1.2-29].
pub(super) fn put_refusal(
    reason: ReasonCode,
    words: &str,
    version: ProtocolVersion,
    bytes_max: usize,
    out: &mut Vec<u8>,
) {
    let bare = Connack::refusal(reason);
    let explained = Connack { reason_string: Some(words), ..bare };
    put_first_within(&[Packet::Connack(explained), Packet::Connack(bare)], version, bytes_max, out);
}

/// Appends the first of these packets that is within the maximum, if there is one.
fn put_first_within(forms: &[Packet<'_>], version: ProtocolVersion, bytes_max: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for packet in forms {
        packet.encode(version, out);
        if out.len() - start <= bytes_max {
            return;
        }
        out.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes_max: usize) -> Vec<u8> {
        let mut out = vec![9];
        put_refusal(ReasonCode::NotAuthorized, "no", ProtocolVersion::V5, bytes_max, &mut out);
        out
    }

    /// [MQTT-3.2.2-19] [MQTT-3.2.2-16]: with words at the maximum, bare below it, nothing below that.
    #[test]
    fn words_are_left_out_before_the_packet_is() {
        let explained = [9, 0x20, 8, 0, 0x87, 5, 0x1f, 0, 2, b'n', b'o'];
        let bare = [9, 0x20, 3, 0, 0x87, 0];
        assert_eq!(refusal(10), explained);
        assert_eq!(refusal(9), bare);
        assert_eq!(refusal(5), bare);
        assert_eq!(refusal(4), [9]);
    }
}
