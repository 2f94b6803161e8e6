//! PINGREQ and PINGRESP (sections 3.12 and 3.13).
//!
//! Duty: they are answered, always and in order. Must not: test the keep alive (`keep_alive`). Neighbours: `peer`.

use ringmq::wire::{Connect, Packet, ReasonCode};

use super::broker::everywhere;
use super::packets::*;

/// [MQTT-3.12.4-1] [v3.1.1 MQTT-3.12.4-1].
#[test]
fn every_pingreq_is_answered_in_every_dialect() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.send_hex("c000c000c000");
            for _ in 0..3 {
                bob.expect(Packet::Pingresp);
            }
            bob.expect_nothing();
        }
    });
}

/// [MQTT-2.1.3-1]: a PINGREQ with any reserved flag ends the connection.
#[test]
fn a_pingreq_with_a_reserved_flag_is_malformed() {
    everywhere(|broker| {
        for (version, flags) in (1..16).flat_map(|flags| DIALECTS.map(|version| (version, flags))) {
            let bob = broker.connect(version, "bob");
            bob.send_bytes(&[0xc0 | flags, 0]);
            bob.expect_disconnect(ReasonCode::MalformedPacket);
        }
    });
}

/// [MQTT-3.12.4-1] [MQTT-4.9.0-3]: a full window holds nothing up but messages.
#[test]
fn a_pingreq_is_answered_while_messages_wait() {
    everywhere(|broker| {
        let ann = broker.connect(V311, "ann");
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("a", Q1);
        for packet_id in 1..=3 {
            ann.send(qos1(packet_id, "a", "x"));
            ann.expect(puback(packet_id));
        }
        bob.expect(qos1(1, "a", "x"));
        bob.expect_alive();
        bob.expect_nothing();
    });
}
