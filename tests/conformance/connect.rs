//! CONNECT and CONNACK (sections 3.1 and 3.2).
//!
//! Duty: who is admitted, in which dialect, with which limits, by when. Must not: test sessions (`session`) or bytes that do
//! not parse (`hostile`). Neighbours: `peer`.

use ringmq::id::ShardId;
use ringmq::limits::Limits;
use ringmq::wire::{Connack, Connect, Packet, Properties, Property, ReasonCode};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;

/// [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-1] [MQTT-3.2.2-8] [v3.1.1 MQTT-3.1.4-4] [v3.1.1 MQTT-3.2.0-1]:
/// each dialect has its own CONNACK.
#[test]
fn every_dialect_is_admitted_with_its_own_connack() {
    everywhere(|broker| {
        for (version, connack) in [
            (V31, "20020000"),
            (V311, "20020000"),
            // Receive Maximum 1024, Maximum Packet Size 16 MiB, Topic Alias Maximum 64.
            (V5, "200e00000b2104002701000000220040"),
        ] {
            let bob = broker.dial(version);
            bob.send(Connect::new(version, "bob"));
            assert_eq!(bob.hear(), hex(connack), "{version:?}");
            bob.expect_nothing();
            bob.leave();
        }
    });
}

/// [MQTT-3.1.2-2] [v3.1.1 MQTT-3.1.2-2], case W17: the refusal is said in the dialect nearest to the client's.
#[test]
fn an_unknown_protocol_level_is_refused_in_the_nearest_dialect() {
    let broker = Broker::of_two();
    for (connect, connack) in [
        ("100d00044d5154540602003c000178", "2003008400"),
        ("100c00044d5154540202003c000178", "20020001"),
        ("100f00064d51497364700402003c00000178", "20020001"),
    ] {
        let peer = broker.dial(V5);
        peer.send_hex(connect);
        assert_eq!(peer.hear_plain(), hex(connack), "{connect}");
        peer.expect_close();
    }
}

/// [MQTT-3.1.2-1] [v3.1.1 MQTT-3.1.2-1]: who does not say MQTT is no client of ours and gets no answer.
#[test]
fn another_protocol_name_is_closed_without_an_answer() {
    let broker = Broker::of_two();
    let peer = broker.dial(V5);
    peer.send_hex("100d00044854545005020000000178");
    peer.expect_close();
}

/// [MQTT-3.1.0-2] [MQTT-3.2.0-2] [v3.1.1 MQTT-3.1.0-2], case W06.
#[test]
fn a_second_connect_ends_the_connection() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            ann.send(Connect::new(version, "ann"));
            ann.expect_disconnect(ReasonCode::ProtocolError);
        }
    });
}

/// [MQTT-3.1.3-4] [MQTT-3.1.3-6] [MQTT-3.1.3-7]: each nameless client gets a name of its own, and is told.
#[test]
fn a_5_0_client_without_an_id_is_assigned_one() {
    everywhere(|broker| {
        let assigned = |peer: &super::peer::Peer| {
            peer.hear_packet(|packet| {
                let Packet::Connack(Connack { assigned_client_id: Some(client_id), .. }) = packet else {
                    panic!("an assigned client id, not {packet:?}");
                };
                client_id.to_owned()
            })
        };
        let one = broker.dial(V5);
        one.send(Connect::new(V5, ""));
        let another = broker.dial(V5);
        another.send(Connect::new(V5, ""));
        let (first, second) = (assigned(&one), assigned(&another));
        assert_ne!(first, second);
        assert_eq!(broker.owner(&first), ShardId(0), "it belongs where its socket was accepted");
        one.subscribe("a", Q0);
        another.send(qos0("a", "x"));
        one.expect(qos0("a", "x"));
    });
}

/// [MQTT-3.1.3-7] [MQTT-3.1.3-2]: the assigned id is an id like any other, so its session can be resumed by it.
#[test]
fn an_assigned_id_can_be_used_to_come_back() {
    everywhere(|broker| {
        let nameless = broker.dial(V5);
        nameless.send(Connect { session_expiry_secs: Some(100), ..Connect::new(V5, "") });
        let client_id = nameless.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            connack.assigned_client_id.expect("an assigned client id").to_owned()
        });
        nameless.vanish();
        broker.rejoin(lasting(V5, &client_id, 100));
    });
}

/// [v3.1.1 MQTT-3.1.3-6] [v3.1.1 MQTT-3.1.3-7] [v3.1.1 MQTT-3.1.3-8] [v3.1.1 MQTT-3.1.3-9]: without an id there is no
/// state to come back to; 3.1 wants an id always.
#[test]
fn before_5_0_a_client_without_an_id_needs_a_clean_session() {
    everywhere(|broker| {
        broker.connect(V311, "").expect_alive();
        let stateful = broker.dial(V311);
        stateful.send(Connect { clean_start: false, ..Connect::new(V311, "") });
        stateful.expect_refusal(ReasonCode::ClientIdentifierNotValid);
        let old = broker.dial(V31);
        old.send(Connect::new(V31, ""));
        assert_eq!(old.hear(), hex("20020002"));
        old.expect_close();
    });
}

/// [MQTT-3.1.3-3] [v3.1.1 MQTT-3.1.3-5].
#[test]
fn client_ids_of_one_to_23_letters_and_digits_are_allowed() {
    everywhere(|broker| {
        for version in DIALECTS {
            for client_id in ["0", "Z", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW", "01234567890123456789012"]
            {
                broker.connect(version, client_id).leave();
            }
        }
    });
}

/// [MQTT-3.1.3-5] [MQTT-3.1.3-8], case S09: the limit itself is allowed.
#[test]
fn a_client_id_above_the_limit_is_refused() {
    everywhere(|broker| {
        let (longest, longer) = ("x".repeat(256), "x".repeat(257));
        for version in DIALECTS {
            broker.connect(version, &longest).leave();
            let peer = broker.dial(version);
            peer.send(Connect::new(version, &longer));
            peer.expect_refusal(ReasonCode::ClientIdentifierNotValid);
        }
    });
}

/// [MQTT-3.1.3-2] [v3.1.1 MQTT-3.1.3-2]: ids that differ in case or by an invisible character are different clients.
#[test]
fn a_client_id_is_compared_byte_by_byte() {
    everywhere(|broker| {
        let peers = ["ann", "Ann", "\u{feff}ann", "ann "].map(|client_id| broker.connect(V5, client_id));
        peers.iter().for_each(|peer| peer.expect_alive());
    });
}

/// [MQTT-3.1.3-1] [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-3.1.2-9] [v3.1.1 MQTT-3.1.3-1]
/// [v3.1.1 MQTT-3.1.2-19] [v3.1.1 MQTT-3.1.2-21] [v3.1.1 MQTT-3.1.2-9]: all fields of the payload at once.
#[test]
fn a_connect_with_everything_in_it_is_admitted() {
    everywhere(|broker| {
        for version in DIALECTS {
            let last_will = Some(will(Q2, "gone", "bob"));
            let user_name = Some("user");
            let password = Some(&b"secret"[..]);
            let connect =
                Connect { last_will, user_name, password, keep_alive_secs: 60, ..Connect::new(version, "bob") };
            broker.join(connect).leave();
        }
    });
}

/// Section 3.1.2.9: 5.0 allows a password without a user name (row W15 is the refusal before 5.0).
#[test]
fn a_5_0_password_needs_no_user_name() {
    everywhere(|broker| {
        broker.join(Connect { password: Some(b"token"), ..Connect::new(V5, "ann") }).expect_alive();
    });
}

/// [MQTT-4.12.0-1] [MQTT-3.1.4-2]: no extended authentication is configured.
#[test]
fn an_authentication_method_that_we_do_not_have_is_refused() {
    everywhere(|broker| {
        let peer = broker.dial(V5);
        peer.send(Connect { authentication_method: Some("SCRAM-SHA-256"), ..Connect::new(V5, "ann") });
        peer.expect_refusal(ReasonCode::BadAuthenticationMethod);
    });
}

/// [MQTT-4.12.0-6] [MQTT-4.12.0-7]: AUTH belongs to extended authentication alone.
#[test]
fn an_auth_without_a_method_at_connect_is_a_protocol_error() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send_hex("f00719051500026162");
        ann.expect_disconnect(ReasonCode::ProtocolError);
    });
}

/// [MQTT-3.1.4-1] [MQTT-4.2-1] [v3.1.1 MQTT-7.1.1-1]: packets are found in the stream however it is cut.
#[test]
fn a_connect_that_comes_byte_by_byte_is_admitted() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.dial(version);
            for byte in Connect::new(version, "bob").bytes(version) {
                bob.expect_nothing();
                bob.send_bytes(&[byte]);
            }
            bob.expect_admission(false);
            bob.leave();
        }
    });
}

/// [MQTT-3.2.0-1] [v3.1.1 MQTT-3.2.0-1] and section 3.1.4: a client need not wait for CONNACK, which comes before all else.
#[test]
fn packets_may_follow_connect_at_once() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.dial(version);
            let said: [&dyn Say; 4] =
                [&Connect::new(version, "bob"), &subscribe(1).to("a", Q1), &qos1(2, "a", "x"), &Packet::Pingreq];
            bob.send_bytes(&said.map(|packet| packet.bytes(version)).concat());
            bob.expect_admission(false);
            let mut heard: Vec<Vec<u8>> = (0..4).map(|_| bob.hear()).collect();
            heard.sort();
            let mut expected = [
                suback(1, &[1]).bytes(version),
                qos1(1, "a", "x").bytes(version),
                puback(2).bytes(version),
                hex("d000"),
            ];
            expected.sort();
            assert_eq!(heard, expected);
            bob.leave();
        }
    });
}

/// [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-3.2.0-2] [v3.1.1 MQTT-3.1.4-5] [v3.1.1 MQTT-3.2.2-5]: a refused client is not listened to.
#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("#", Q0);
        for version in [V311, V5] {
            let peer = broker.dial(version);
            let refused = Connect::new(version, "x").bytes(version).len();
            let long_id = "x".repeat(300);
            let said = [Connect::new(version, &long_id).bytes(version), qos0("a", "x").bytes(version)].concat();
            assert!(said.len() > refused);
            peer.send_bytes(&said);
            peer.expect_refusal(ReasonCode::ClientIdentifierNotValid);
        }
        bob.expect_nothing();
    });
}

/// Cases R01 and R02: the time for CONNECT runs from the first moment, whatever trickles in.
#[test]
fn a_connection_without_a_whole_connect_is_closed_after_ten_seconds() {
    let broker = Broker::of_two();
    let silent = broker.dial(V5);
    let slow = broker.dial(V5);
    let connect = Connect::new(V5, "a-name-that-takes-its-time").bytes(V5);
    for (second, byte) in connect.iter().enumerate().take(10) {
        broker.at(second as u64);
        slow.send_bytes(&[*byte]);
    }
    broker.at_millis(9_999);
    silent.expect_nothing();
    slow.expect_nothing();
    broker.at_millis(10_100);
    silent.expect_close();
    slow.expect_close();
    assert_eq!(broker.sizes().connections, 0);
}

/// Case R01: the time for CONNECT runs on across the hand-over to another shard, and ends with the admission.
#[test]
fn an_admitted_client_is_not_closed_by_the_connect_deadline() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        broker.at(100);
        bob.expect_alive();
    });
}

/// [MQTT-3.2.2-22] [MQTT-3.1.2-21]: a bounded keep alive is told.
#[test]
fn a_keep_alive_above_the_limit_is_replaced_and_told() {
    let limits = Limits { keep_alive_secs_max: 60, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        for (asked, told) in [(0, Some(60)), (61, Some(60)), (60, None), (5, None)] {
            let bob = broker.dial(V5);
            bob.send(Connect { keep_alive_secs: asked, ..Connect::new(V5, "bob") });
            bob.expect(Connack { server_keep_alive: told, ..granted() });
            bob.leave();
        }
    });
}

/// Section 3.2.2.3.2, case S11: a session expiry above the limit is cut, and the client is told.
#[test]
fn a_session_expiry_above_the_limit_is_cut_and_told() {
    let limits = Limits { session_expiry_secs_max: 3600, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        for (asked, told) in [(u32::MAX, Some(3600)), (3601, Some(3600)), (3600, None), (0, None)] {
            let bob = broker.dial(V5);
            bob.send(Connect { session_expiry_secs: Some(asked), ..Connect::new(V5, "bob") });
            bob.expect(Connack { session_expiry_secs: told, ..granted() });
            bob.leave();
        }
    });
}

/// Case R15: user properties of a CONNECT and of its will are counted.
#[test]
fn too_many_user_properties_in_a_connect_are_refused() {
    let limits = Limits { user_properties_max: 2, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        for (count, is_admitted) in [(2, true), (3, false)] {
            let mut raw = Vec::new();
            (0..count).for_each(|_| Property::UserProperty("k", "v").encode(&mut raw));
            let peer = broker.dial(V5);
            peer.send(Connect { properties: Properties { raw: &raw }, ..Connect::new(V5, "bob") });
            if is_admitted {
                peer.expect_admission(false);
                peer.leave();
            } else {
                peer.expect_refusal(ReasonCode::QuotaExceeded);
            }
        }
    });
}

/// Case R07: before admission a packet is refused by its header.
#[test]
fn a_connect_above_the_preauthentication_limit_is_closed_by_its_header() {
    let broker = Broker::with(1, Limits { preauth_bytes_max: 100, ..Limits::default() });
    let peer = broker.dial(V5);
    peer.send_hex("1062");
    peer.expect_nothing();
    let peer = broker.dial(V5);
    peer.send_hex("1063");
    peer.expect_close();
}

/// Case X05: one connection above the limit is closed, and the others stand.
#[test]
fn a_connection_above_the_limit_is_closed() {
    let broker = Broker::with(1, Limits { connections_per_shard_max: 2, ..Limits::default() });
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    broker.dial(V5).expect_close();
    ann.expect_alive();
    bob.leave();
    broker.connect(V5, "cat").expect_alive();
}

/// [MQTT-3.1.4-2] [v3.1.1 MQTT-4.8.0-2]: every bound holds: a session above the limit is refused, the return to one that is there is not.
#[test]
fn a_session_above_the_limit_is_refused() {
    let broker = Broker::with(1, Limits { sessions_per_shard_max: 2, ..Limits::default() });
    broker.join(lasting(V5, "ann", 1000)).vanish();
    let bob = broker.connect(V5, "bob");
    let cat = broker.dial(V5);
    cat.send(Connect::new(V5, "cat"));
    cat.expect_refusal(ReasonCode::QuotaExceeded);
    let dan = broker.dial(V311);
    dan.send(Connect::new(V311, "dan"));
    dan.expect_refusal(ReasonCode::QuotaExceeded);
    broker.rejoin(lasting(V5, "ann", 1000)).expect_alive();
    bob.leave();
    broker.connect(V5, "cat").expect_alive();
}

/// [MQTT-3.1.4-2] [MQTT-4.7.0-1], cases W21 and A17: a will is judged before the client is admitted.
#[test]
fn a_will_to_a_topic_that_nobody_may_publish_to_is_refused() {
    everywhere(|broker| {
        for topic in ["a/#", "+", "$SYS/x", "$share/g/x"] {
            for version in [V311, V5] {
                let peer = broker.dial(version);
                peer.send(Connect { last_will: Some(will(Q0, topic, "x")), ..Connect::new(version, "bob") });
                peer.expect_refusal(ReasonCode::TopicNameInvalid);
            }
        }
        assert_eq!(broker.sizes().sessions, 0);
    });
}

/// 3.1 and 3.1.1 clients that are bridges of Mosquitto set a bit in the level.
#[test]
fn a_bridge_is_admitted_by_its_level() {
    let broker = Broker::of_two();
    let bridge = broker.dial(V311);
    bridge.send(Connect { bridge: true, ..Connect::new(V311, "ann") });
    bridge.expect_admission(false);
}

/// Cases W01 to W09, W85 and R07: what is no CONNECT is counted apart from a CONNECT that announces too much.
#[test]
fn connections_without_a_connect_are_counted_by_what_they_said() {
    let limits = Limits { preauth_bytes_max: 1000, ..Limits::default() };
    let broker = Broker::with(1, limits);
    for round in 1..=3 {
        for first in ["30050001610078", "16030100a5", "10ffffffff01", "10ff7f"] {
            let peer = broker.dial(V5);
            peer.send_hex(first);
            peer.expect_close();
        }
        assert_eq!(broker.count(|counters| counters.refused_first_packets), round * 3);
        assert_eq!(broker.count(|counters| counters.refused_large_connects), round);
        assert_eq!(broker.count(|counters| counters.refused_connects), 0);
    }
}
