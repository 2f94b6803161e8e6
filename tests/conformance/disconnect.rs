//! DISCONNECT and the end of connections (sections 3.14 and 4.13).
//!
//! Duty: who says goodbye, what it means, what is said by the broker. Must not: test wills (`will`) or bad bytes
//! (`hostile`). Neighbours: `peer`.

use ringmq::shard::Sizes;
use ringmq::wire::{Connect, Disconnect, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

/// [MQTT-3.14.4-1] [MQTT-3.14.4-2] [v3.1.1 MQTT-3.14.4-1] [v3.1.1 MQTT-3.14.4-2]: no answer, the end, nothing after it.
#[test]
fn a_disconnect_ends_the_connection_without_an_answer() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.subscribe("#", Q0);
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            let goodbye = Disconnect::new(ReasonCode::Success).bytes(version);
            bob.send_bytes(&[goodbye, qos0("a", "x").bytes(version)].concat());
            bob.expect_close();
        }
        ann.expect_nothing();
        assert_eq!(broker.sizes().connections, 1);
    });
}

/// [MQTT-3.14.2-1]: every code of a client ends the connection, and is answered by nothing.
#[test]
fn a_client_may_give_any_of_its_reasons() {
    everywhere(|broker| {
        for reason in [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
            let bob = broker.connect(V5, "bob");
            bob.send_bytes(&[0xe0, 2, reason, 0]);
            bob.expect_close();
        }
        assert_eq!(broker.sizes(), Sizes::default());
    });
}

/// [MQTT-3.14.2-1]: a code that only the broker may give is a protocol error, one that does not exist as well.
#[test]
fn a_client_may_not_give_a_reason_of_the_broker() {
    everywhere(|broker| {
        for reason in [0x01, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x9c, 0xff] {
            let bob = broker.connect(V5, "bob");
            bob.send_bytes(&[0xe0, 1, reason]);
            bob.expect_disconnect(ReasonCode::ProtocolError);
        }
    });
}

/// Case O10: clients are told where they can be; sessions that last stay.
#[test]
fn a_broker_that_stops_says_so() {
    everywhere(|broker| {
        let ann = broker.join(lasting(V5, "ann", 100));
        let bob = broker.connect(V311, "bob");
        let stranger = broker.dial(V5);
        broker.stop();
        ann.expect_disconnect(ReasonCode::ServerShuttingDown);
        bob.expect_close();
        stranger.expect_close();
        assert_eq!(broker.sizes(), Sizes { sessions: 1, ..Sizes::default() });
    });
}

/// [MQTT-3.14.0-1] [v3.1.1 MQTT-3.2.0-1]: before CONNACK the broker says nothing but CONNACK.
#[test]
fn no_disconnect_is_sent_before_a_connack() {
    everywhere(|broker| {
        for first in ["c000", "e00000", "30050001610078", "f000", "62020001"] {
            let peer = broker.dial(V5);
            peer.send_hex(first);
            peer.expect_close();
        }
    });
}

/// [MQTT-4.13.2-1]: what one connection does wrong has no consequence for any other session.
#[test]
fn an_error_of_one_client_touches_no_other() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        ann.send_bytes(&[qos1(1, "a", "x").bytes(V5), vec![0x30, 0x80, 0x00], qos1(2, "a", "y").bytes(V5)].concat());
        if broker.shards() == 1 {
            ann.expect(puback(1));
        }
        ann.expect_disconnect(ReasonCode::MalformedPacket);
        bob.expect(qos1(1, "a", "x"));
        bob.send(puback(1));
        bob.expect_alive();
    });
}

/// A lost connection leaves nothing of itself, and its slot is another's at once.
#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    everywhere(|broker| {
        for turn in 0..50 {
            let bob = broker.join(Connect { keep_alive_secs: 10, ..Connect::new(V5, "bob") });
            let ann = broker.connect(V311, "ann");
            bob.subscribe("a", Q1);
            ann.send(qos1(1, "a", "x"));
            ann.expect(puback(1));
            bob.expect(qos1(1, "a", "x"));
            if turn % 2 == 0 {
                bob.vanish()
            } else {
                bob.leave()
            }
            ann.vanish();
        }
        assert_eq!(broker.sizes(), Sizes::default());
    });
}

/// [MQTT-3.14.4-1] [MQTT-3.14.4-2]: nothing follows the broker's own DISCONNECT, whatever is published and owed.
#[test]
fn nothing_follows_a_disconnect_of_the_broker() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        broker.hold_mesh();
        bob.send(qos1(1, "far", "x"));
        bob.send(subscribe(2).to("b", Q0));
        bob.ignore_rest();
        bob.send_bytes(&[hex("c001ff"), hex("c000")].concat());
        ann.send(qos1(1, "a", "x"));
        broker.release_mesh();
        ann.expect(puback(1));
        bob.expect_disconnect(ReasonCode::MalformedPacket);
        broker.rejoin(lasting(V5, "bob", 100)).expect(qos1(1, "a", "x"));
    });
}

/// [MQTT-3.1.0-2] [MQTT-3.14.2-1], case W06: whatever is wrong with a second CONNECT, that it is the second is what counts, and
/// DISCONNECT has no reason code for the rest.
#[test]
fn a_second_connect_is_a_protocol_error_whatever_it_says() {
    for second in [
        "100d00044d5154540602003c000178",
        "100e00044d5154540502003c00000178",
        "100e00044d5154540503003c00000178",
        "101000044d5154540502003c000003eda080",
    ] {
        let broker = Broker::of_two();
        let bob = broker.connect(V5, "bob");
        bob.send_hex(second);
        bob.expect_disconnect(ReasonCode::ProtocolError);
    }
}
