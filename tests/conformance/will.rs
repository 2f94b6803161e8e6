//! The will (sections 3.1.2.5 and 3.1.3.2).
//!
//! Duty: when it is published, when not, and as what. Must not: test which wills are refused at CONNECT (`connect`).
//! Neighbours: `peer`.

use ringmq::wire::{Connect, Disconnect, LastWill, Property, PublishProperties, QoS, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;
use super::peer::Peer;

/// A client with a will on `gone`.
fn with_will<'a>(connect: Connect<'a>, will: LastWill<'a>) -> Connect<'a> {
    Connect { last_will: Some(will), ..connect }
}

/// Somebody on the other shard who waits for wills.
fn mourner(broker: &Broker, qos: QoS) -> Peer {
    let bob = broker.connect(V5, "bob");
    bob.subscribe("gone", qos);
    bob
}

/// [MQTT-3.1.2-6] [MQTT-3.1.2-14] [v3.1.1 MQTT-3.1.2-8] [v3.1.1 MQTT-3.1.2-9] [v3.1.1 MQTT-3.1.2-10]
/// [v3.1.1 MQTT-3.1.2-16]: with its QoS, once.
#[test]
fn a_will_is_published_when_the_connection_is_lost() {
    everywhere(|broker| {
        for (version, qos) in DIALECTS.into_iter().flat_map(|version| [Q0, Q1, Q2].map(|qos| (version, qos))) {
            let bob = mourner(broker, Q2);
            let ann = broker.join(with_will(Connect::new(version, "ann"), will(qos, "gone", "ann")));
            ann.vanish();
            match qos {
                Q0 => bob.expect(qos0("gone", "ann")),
                Q1 => bob.expect(qos1(1, "gone", "ann")),
                Q2 => bob.expect(qos2(1, "gone", "ann")),
            }
            broker.connect(version, "ann").vanish();
            bob.expect_nothing();
            bob.leave();
        }
        assert_eq!(broker.sizes().retained_messages, 0);
    });
}

/// [MQTT-3.14.4-3] [v3.1.1 MQTT-3.14.4-3] [v3.1.1 MQTT-3.1.2-10].
#[test]
fn a_will_is_discarded_by_a_normal_disconnect() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        for version in DIALECTS {
            broker.join(with_will(Connect::new(version, "ann"), will(Q0, "gone", "ann"))).leave();
            broker.join(with_will(lasting(version, "ann", 10), will(Q0, "gone", "ann"))).leave();
            broker.connect(version, "ann").leave();
        }
        broker.at(20);
        bob.expect_nothing();
    });
}

/// [MQTT-3.14.4-3] and section 3.1.2.5: any reason but 0x00 lets the will be published, not 0x04 alone.
#[test]
fn a_will_is_published_after_a_disconnect_with_any_other_reason() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        for reason in [
            ReasonCode::DisconnectWithWill,
            ReasonCode::UnspecifiedError,
            ReasonCode::ImplementationSpecificError,
            ReasonCode::AdministrativeAction,
        ] {
            let ann = broker.join(with_will(Connect::new(V5, "ann"), will(Q0, "gone", "ann")));
            ann.send(Disconnect::new(reason));
            ann.expect_close();
            bob.expect(qos0("gone", "ann"));
        }
    });
}

/// Section 3.1.2.5: keep alive, protocol error, takeover and the end of the broker are all losses of the connection.
#[test]
fn a_will_is_published_when_the_broker_closes_the_connection() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        for version in DIALECTS {
            let connect =
                with_will(Connect { keep_alive_secs: 10, ..Connect::new(version, "ann") }, will(Q0, "gone", "ann"));
            let ann = broker.join(connect);
            ann.send_hex("c001ff");
            ann.expect_disconnect(ReasonCode::MalformedPacket);
            bob.expect(qos0("gone", "ann"));
            let ann = broker.join(connect);
            let second = broker.join(connect);
            ann.expect_disconnect(ReasonCode::SessionTakenOver);
            bob.expect(qos0("gone", "ann"));
            second.leave();
        }
        let ann =
            broker.join(with_will(Connect { keep_alive_secs: 10, ..Connect::new(V5, "ann") }, will(Q0, "gone", "ann")));
        broker.at(16);
        ann.expect_disconnect(ReasonCode::KeepAliveTimeout);
        bob.expect(qos0("gone", "ann"));
    });
}

/// [MQTT-3.1.2-10] [v3.1.1 MQTT-3.1.2-12]: nothing is left to publish.
#[test]
fn a_client_without_a_will_leaves_in_silence() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("#", Q0);
        for version in DIALECTS {
            broker.connect(version, "ann").vanish();
        }
        bob.expect_nothing();
    });
}

/// [MQTT-3.1.2-15] [MQTT-3.1.2-14] [v3.1.1 MQTT-3.1.2-17] [v3.1.1 MQTT-3.1.2-16].
#[test]
fn a_retained_will_is_kept_and_another_is_not() {
    everywhere(|broker| {
        for version in DIALECTS {
            let retained = LastWill { retain: true, ..will(Q1, "gone", "ann") };
            broker.join(with_will(Connect::new(version, "ann"), retained)).vanish();
            broker.join(with_will(Connect::new(version, "ann"), will(Q1, "gone", "not kept"))).vanish();
            let bob = broker.connect(V311, "bob");
            bob.subscribe("gone", Q0);
            bob.expect(qos0("gone", "ann").retained());
            let cleared = LastWill { retain: true, ..will(Q1, "gone", "") };
            broker.join(with_will(Connect::new(version, "ann"), cleared)).vanish();
            bob.expect(qos0("gone", ""));
            assert_eq!(broker.sizes().retained_messages, 0);
        }
    });
}

/// [MQTT-3.1.3-10] and section 3.1.3.2: the will has the properties of a message; its lifetime runs from its publication.
#[test]
fn a_will_keeps_its_properties_and_their_order() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let kept = [
            Property::UserProperty("b", "1"),
            Property::PayloadFormatIndicator(1),
            Property::UserProperty("a", "2"),
            Property::ResponseTopic("answers"),
            Property::CorrelationData(b"\x01\x02"),
            Property::ContentType("text/plain"),
            Property::UserProperty("b", "3"),
        ];
        let mut raw = Vec::new();
        kept.iter().for_each(|property| property.encode(&mut raw));
        let properties = PublishProperties { raw: &raw, message_expiry_secs: Some(30), ..PublishProperties::EMPTY };
        let ann = broker.join(with_will(Connect::new(V5, "ann"), LastWill { properties, ..will(Q0, "gone", "ann") }));
        broker.at(100);
        ann.vanish();
        bob.expect(qos0("gone", "ann").with(&[&[Property::MessageExpiryInterval(30)][..], &kept].concat()));
    });
}

/// Section 3.1.3.2.2.
#[test]
fn a_delayed_will_is_published_after_its_delay() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let delayed = LastWill { delay_secs: 10, ..will(Q0, "gone", "ann") };
        broker.join(with_will(lasting(V5, "ann", 100), delayed)).vanish();
        broker.at_millis(9_999);
        bob.expect_nothing();
        broker.at(11);
        bob.expect(qos0("gone", "ann"));
        broker.at(200);
        bob.expect_nothing();
        assert_eq!(broker.sizes().sessions, 1);
    });
}

/// [MQTT-3.1.3-9].
#[test]
fn a_client_that_is_back_in_time_silences_its_delayed_will() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let delayed = LastWill { delay_secs: 10, ..will(Q0, "gone", "ann") };
        broker.join(with_will(lasting(V5, "ann", 100), delayed)).vanish();
        broker.at(9);
        let ann = broker.rejoin(lasting(V5, "ann", 100));
        broker.at(20);
        bob.expect_nothing();
        ann.vanish();
        broker.at(200);
        bob.expect_nothing();
    });
}

/// [MQTT-3.1.3-9]: the delay of the new connection's will counts, not a deadline left over from the old one.
#[test]
fn each_connection_has_its_own_will_and_delay() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let connect = |payload, delay_secs| {
            with_will(lasting(V5, "ann", 1000), LastWill { delay_secs, ..will(Q0, "gone", payload) })
        };
        broker.join(connect("first", 10)).vanish();
        broker.at(5);
        broker.rejoin(connect("second", 20)).vanish();
        broker.at(24);
        bob.expect_nothing();
        broker.at(26);
        bob.expect(qos0("gone", "second"));
    });
}

/// Section 3.1.3.2.2, case Q14: at the delay or at the end of the session, whichever comes first.
#[test]
fn a_delayed_will_is_published_when_the_session_ends_before() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let delayed = LastWill { delay_secs: u32::MAX, ..will(Q0, "gone", "ann") };
        broker.join(with_will(Connect::new(V5, "ann"), delayed)).vanish();
        bob.expect(qos0("gone", "ann"));
        broker.join(with_will(lasting(V5, "ann", 10), delayed)).vanish();
        broker.at_millis(9_999);
        bob.expect_nothing();
        broker.at(11);
        bob.expect(qos0("gone", "ann"));
        broker.join(with_will(lasting(V5, "ann", 1000), delayed)).vanish();
        let ann = broker.connect(V5, "ann");
        bob.expect(qos0("gone", "ann"));
        ann.vanish();
        assert_eq!(broker.sizes().sessions, 1);
    });
}

/// Sections 3.1.3.2.2 and 3.14.2.2.2: a DISCONNECT that ends the session publishes a delayed will at once.
#[test]
fn a_disconnect_with_will_that_ends_the_session_does_not_wait() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        let delayed = LastWill { delay_secs: 50, ..will(Q0, "gone", "ann") };
        let ann = broker.join(with_will(lasting(V5, "ann", 100), delayed));
        ann.send(Disconnect { session_expiry_secs: Some(0), ..Disconnect::new(ReasonCode::DisconnectWithWill) });
        ann.expect_close();
        bob.expect(qos0("gone", "ann"));
        assert_eq!(broker.sizes().sessions, 1);
    });
}

/// Section 3.1.2.5 and the design: the one who has gone is not the member who gets the news of it.
#[test]
fn a_will_for_a_group_goes_to_a_member_who_is_there() {
    for is_lasting in [false, true] {
        for qos in [Q0, Q1] {
            everywhere(|broker| {
                let connect = if is_lasting { lasting(V5, "ann", 100) } else { Connect::new(V5, "ann") };
                let ann = broker.join(with_will(connect, will(qos, "gone", "ann")));
                ann.subscribe("$share/g/gone", Q1);
                let bob = broker.connect(V5, "bob");
                bob.subscribe("$share/g/gone", Q1);
                ann.vanish();
                bob.expect(if qos == Q0 { qos0("gone", "ann") } else { qos1(1, "gone", "ann") });
            });
        }
    }
}

/// Section 3.1.2.5: the client itself, if it is back, is a subscriber as any other.
#[test]
fn a_client_that_left_a_session_finds_its_own_will_there() {
    everywhere(|broker| {
        let ann = broker.join(with_will(lasting(V5, "ann", 100), will(Q1, "gone", "ann")));
        ann.subscribe("gone", Q1);
        ann.vanish();
        broker.rejoin(lasting(V5, "ann", 100)).expect(qos1(1, "gone", "ann"));
    });
}

/// [MQTT-3.1.3-9]: a takeover that resumes the session silences a delayed will; without delay the will is published.
#[test]
fn a_takeover_silences_a_delayed_will_only() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        for (delay_secs, is_published) in [(10, false), (0, true)] {
            let last_will = LastWill { delay_secs, ..will(Q0, "gone", "ann") };
            let first = broker.join(with_will(lasting(V5, "ann", 100), last_will));
            let second = broker.rejoin(lasting(V5, "ann", 100));
            first.expect_disconnect(ReasonCode::SessionTakenOver);
            if is_published {
                bob.expect(qos0("gone", "ann"));
            }
            bob.expect_nothing();
            second.leave();
            broker.connect(V5, "ann").leave();
        }
        broker.at(200);
        bob.expect_nothing();
    });
}

/// Section 3.1.3.2.2: a takeover that ends the session publishes its will at once, however long its delay.
#[test]
fn a_clean_takeover_publishes_a_delayed_will_at_once() {
    everywhere(|broker| {
        let bob = mourner(broker, Q1);
        let delayed = LastWill { delay_secs: 1000, ..will(Q1, "gone", "ann") };
        let first = broker.join(with_will(lasting(V5, "ann", 100), delayed));
        let second = broker.connect(V5, "ann");
        first.expect_disconnect(ReasonCode::SessionTakenOver);
        bob.expect(qos1(1, "gone", "ann"));
        second.leave();
        broker.at(2000);
        bob.expect_nothing();
    });
}

/// [MQTT-3.14.4-3] and section 3.1.2.5: after 0x04 the delay runs, and the session's end comes first if it is nearer.
#[test]
fn a_disconnect_with_will_keeps_the_delay() {
    everywhere(|broker| {
        let bob = mourner(broker, Q0);
        for (delay_secs, expiry_secs, due) in [(10, 100, 10), (100, 20, 20)] {
            let start = u64::from(delay_secs) * 10;
            broker.at(start);
            let last_will = LastWill { delay_secs, ..will(Q0, "gone", "ann") };
            let ann = broker.join(with_will(lasting(V5, "ann", expiry_secs), last_will));
            ann.send(Disconnect::new(ReasonCode::DisconnectWithWill));
            ann.expect_close();
            broker.at(start + due - 1);
            bob.expect_nothing();
            broker.at(start + due + 1);
            bob.expect(qos0("gone", "ann"));
            broker.connect(V5, "ann").leave();
        }
    });
}
