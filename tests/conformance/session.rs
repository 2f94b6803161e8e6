//! Sessions: how long they last, who has them (sections 3.1.2.4, 3.1.2.11.2, 3.1.4, 4.1).
//!
//! Duty: clean start, resume, expiry, takeover, session present. Must not: test what a resumed session repeats (`qos`).
//! Neighbours: `peer`.

use ringmq::shard::Sizes;
use ringmq::wire::{Connect, Disconnect, ReasonCode};

use super::broker::everywhere;
use super::packets::*;

/// [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.2-4] [MQTT-3.1.2-5] [v3.1.1 MQTT-3.2.2-1] [v3.1.1 MQTT-3.2.2-2]
/// [v3.1.1 MQTT-3.2.2-3] [v3.1.1 MQTT-3.1.2-6]: 3.1 does not know the flag.
#[test]
fn session_present_tells_the_truth() {
    everywhere(|broker| {
        for version in [V311, V5] {
            broker.join(lasting(version, "bob", 100)).vanish();
            broker.rejoin(lasting(version, "bob", 100)).leave();
            let clean = Connect { clean_start: true, ..lasting(version, "bob", 100) };
            broker.join(clean).leave();
            if version == V5 {
                broker.rejoin(lasting(version, "bob", 100)).leave();
            }
            broker.connect(version, "bob").leave();
            broker.join(lasting(version, "bob", 0)).leave();
            broker.connect(version, "bob").leave();
        }
        broker.join(lasting(V31, "bob", 0)).leave();
        broker.join(lasting(V31, "bob", 0)).leave();
    });
}

/// [MQTT-3.1.2-23] [MQTT-4.1.0-2] [MQTT-4.1.0-1]: to the second, counted from the end of the connection.
#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 10));
        bob.subscribe("a", Q1);
        broker.at(1000);
        bob.vanish();
        broker.at_millis(1_009_999);
        assert_eq!(broker.sizes().sessions, 1);
        broker.rejoin(lasting(V5, "bob", 10)).vanish();
        broker.at_millis(1_019_900);
        assert_eq!(broker.sizes().sessions, 1);
        broker.at(1_021);
        assert_eq!(broker.sizes(), Sizes::default());
        broker.join(lasting(V5, "bob", 10));
    });
}

/// [MQTT-4.1.0-1] [v3.1.1 MQTT-4.1.0-2]: a deadline of an earlier absence does not end a session in use.
#[test]
fn a_session_does_not_end_while_it_is_connected() {
    everywhere(|broker| {
        broker.join(lasting(V5, "bob", 10)).vanish();
        broker.at(5);
        let bob = broker.rejoin(lasting(V5, "bob", 10));
        bob.subscribe("a", Q0);
        broker.at(3600);
        bob.send(qos0("a", "x"));
        bob.expect(qos0("a", "x"));
    });
}

/// Section 3.1.2.11.2: 0xFFFFFFFF never, and 3.x without clean session never.
#[test]
fn a_session_without_end_is_there_after_years() {
    everywhere(|broker| {
        broker.join(lasting(V5, "ann", u32::MAX)).vanish();
        broker.join(lasting(V311, "bob", 0)).vanish();
        broker.join(lasting(V31, "cat", 0)).vanish();
        broker.at(400_000_000);
        assert_eq!(broker.sizes().sessions, 3);
        broker.rejoin(lasting(V5, "ann", u32::MAX));
        broker.rejoin(lasting(V311, "bob", 0));
    });
}

/// Section 3.1.2.11.2: absent means 0; [v3.1.1 MQTT-3.1.2-6]: clean sessions end with their connection.
#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q1);
            bob.vanish();
            assert_eq!(broker.sizes(), Sizes::default());
            let bob = broker.connect(version, "bob");
            bob.subscribe("$share/g/a", Q1);
            bob.leave();
            assert_eq!(broker.sizes(), Sizes::default());
        }
        broker.join(Connect { clean_start: false, ..Connect::new(V5, "bob") }).vanish();
        assert_eq!(broker.sizes(), Sizes::default());
    });
}

/// [MQTT-4.5.0-1] [v3.1.1 MQTT-3.1.2-5]: QoS 1 and 2 wait, QoS 0 does not, on either side of the lower of both.
#[test]
fn only_qos_1_and_2_wait_for_a_client_that_is_away() {
    everywhere(|broker| {
        for version in [V311, V5] {
            let ann = broker.connect(V311, "ann");
            let bob = broker.join(lasting(version, "bob", 100));
            bob.send(subscribe(1).to("one", Q1).to("zero", Q0).to("two", Q2));
            bob.expect(suback(1, &[1, 0, 2]));
            bob.leave();
            ann.send(qos0("one", "0"));
            ann.send(qos1(1, "one", "1"));
            ann.send(qos1(2, "zero", "1"));
            ann.send(qos2(3, "two", "2"));
            ann.expect_all(&[&puback(1), &puback(2), &pubrec(3)]);
            let bob = broker.rejoin(lasting(version, "bob", 100));
            bob.expect_all(&[&qos1(1, "one", "1"), &qos2(2, "two", "2")]);
            bob.expect_nothing();
            ann.send(qos0("zero", "0"));
            bob.expect(qos0("zero", "0"));
            bob.leave();
            broker.connect(version, "bob").leave();
        }
    });
}

/// [MQTT-3.1.2-4] [MQTT-3.1.4-4] [v3.1.1 MQTT-3.1.2-6] [v3.1.1 MQTT-3.1.4-3]: subscriptions, queue, window, packet ids: all gone.
#[test]
fn a_clean_start_discards_all_that_was() {
    everywhere(|broker| {
        for version in [V311, V5] {
            let ann = broker.connect(V5, "ann");
            let bob = broker.join(lasting(version, "bob", 100));
            bob.subscribe("a", Q2);
            bob.send(qos2(7, "nobody", "x"));
            bob.expect(unmatched(pubrec(7)));
            ann.send(qos1(1, "a", "in flight"));
            ann.expect(puback(1));
            bob.expect(qos1(1, "a", "in flight"));
            bob.vanish();
            ann.send(qos1(1, "a", "queued"));
            ann.expect(puback(1));
            let bob = broker.connect(version, "bob");
            bob.expect_nothing();
            ann.send(qos1(1, "a", "x"));
            ann.expect(unmatched(puback(1)));
            bob.send(pubrel(7));
            bob.expect(because(ReasonCode::PacketIdentifierNotFound, pubcomp(7)));
            bob.leave();
        }
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// Section 3.14.2.2.2: longer, shorter, none at all.
#[test]
fn a_disconnect_may_change_the_session_expiry() {
    everywhere(|broker| {
        for (secs, lasts) in [(5, 5), (1000, 1000)] {
            let bob = broker.join(lasting(V5, "bob", 100));
            let start = 50 * u64::from(secs);
            broker.at(start);
            bob.send(Disconnect { session_expiry_secs: Some(secs), ..Disconnect::new(ReasonCode::Success) });
            bob.expect_close();
            broker.at(start + lasts - 1);
            assert_eq!(broker.sizes().sessions, 1);
            broker.at(start + lasts + 1);
            assert_eq!(broker.sizes().sessions, 0);
        }
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.send(Disconnect { session_expiry_secs: Some(0), ..Disconnect::new(ReasonCode::Success) });
        bob.expect_close();
        assert_eq!(broker.sizes().sessions, 0);
    });
}

/// Section 3.14.2.2.2, case W79: what was 0 at CONNECT stays 0.
#[test]
fn a_disconnect_cannot_prolong_a_session_that_has_no_expiry() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(Disconnect { session_expiry_secs: Some(10), ..Disconnect::new(ReasonCode::Success) });
        bob.expect_disconnect(ReasonCode::ProtocolError);
        assert_eq!(broker.sizes().sessions, 0);
        let bob = broker.connect(V5, "bob");
        bob.send(Disconnect { session_expiry_secs: Some(0), ..Disconnect::new(ReasonCode::Success) });
        bob.expect_close();
    });
}

/// Section 3.1.2.11.2: the expiry of the latest CONNECT counts.
#[test]
fn each_connect_sets_the_expiry_anew() {
    everywhere(|broker| {
        broker.join(lasting(V5, "bob", 1000)).vanish();
        broker.rejoin(lasting(V5, "bob", 10)).vanish();
        broker.at(11);
        assert_eq!(broker.sizes().sessions, 0);
        broker.join(lasting(V5, "bob", 10)).vanish();
        broker.rejoin(lasting(V5, "bob", 1000)).vanish();
        broker.at(500);
        broker.rejoin(lasting(V5, "bob", 0)).vanish();
        assert_eq!(broker.sizes().sessions, 0);
    });
}

/// [MQTT-3.1.4-3] [v3.1.1 MQTT-3.1.4-2], cases S05 and S07: the old one is told, where it can be; the new one goes on.
#[test]
fn a_second_connection_takes_the_session_over() {
    everywhere(|broker| {
        for (old, new) in DIALECTS.into_iter().flat_map(|old| DIALECTS.map(|new| (old, new))) {
            let ann = broker.connect(V5, "ann");
            let first = broker.join(lasting(old, "bob", 100));
            first.subscribe("a", Q1);
            ann.send(qos1(1, "a", "one"));
            ann.expect(puback(1));
            first.expect(qos1(1, "a", "one"));
            let second = broker.dial(new);
            second.send(lasting(new, "bob", 100));
            first.expect_disconnect(ReasonCode::SessionTakenOver);
            second.expect_admission(new != V31);
            second.expect(qos1(1, "a", "one").again());
            second.send(puback(1));
            ann.send(qos1(2, "a", "two"));
            ann.expect(puback(2));
            second.expect(qos1(2, "a", "two"));
            second.leave();
            broker.connect(new, "bob").leave();
        }
        assert_eq!(broker.sizes().sessions, 1);
    });
}

/// [MQTT-3.1.4-3] [MQTT-3.1.2-4]: a clean takeover starts anew; without expiry there is nothing to resume.
#[test]
fn a_takeover_with_a_clean_start_or_without_expiry_finds_nothing() {
    everywhere(|broker| {
        let first = broker.join(lasting(V5, "bob", 100));
        first.subscribe("a", Q1);
        let second = broker.connect(V5, "bob");
        first.expect_disconnect(ReasonCode::SessionTakenOver);
        assert_eq!(broker.sizes().subscriptions, 0);
        second.subscribe("a", Q1);
        let third = broker.join(lasting(V5, "bob", 100));
        second.expect_disconnect(ReasonCode::SessionTakenOver);
        assert_eq!(broker.sizes().subscriptions, 0);
        third.expect_alive();
    });
}

/// Case S06: at the end one is live and nothing is left of the others.
#[test]
fn a_storm_of_takeovers_leaves_one_client() {
    everywhere(|broker| {
        let mut live = broker.join(lasting(V5, "bob", 100));
        live.subscribe("a", Q1);
        let base = broker.sizes();
        for _ in 0..200 {
            let next = broker.rejoin(lasting(V5, "bob", 100));
            next.subscribe("a", Q1);
            live.expect_disconnect(ReasonCode::SessionTakenOver);
            live = next;
        }
        assert_eq!(broker.sizes(), base);
        live.send(qos0("a", "x"));
        live.expect(qos0("a", "x"));
    });
}

/// Case S07: packets of the connection that was taken over are not heard any more.
#[test]
fn a_connection_that_was_taken_over_is_not_listened_to() {
    everywhere(|broker| {
        let first = broker.connect(V5, "bob");
        let second = broker.connect(V5, "bob");
        second.subscribe("a", Q0);
        first.send(qos0("a", "x"));
        first.expect_disconnect(ReasonCode::SessionTakenOver);
        second.expect_nothing();
    });
}

/// [MQTT-3.1.2-5]: a session may change its dialect.
#[test]
fn a_session_of_one_dialect_is_resumed_by_another() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V311, "bob", 0));
        bob.subscribe("a/#", Q1);
        bob.leave();
        ann.send(qos1(1, "a/b", "x"));
        ann.expect(puback(1));
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect(qos1(1, "a/b", "x"));
        bob.vanish();
        let bob = broker.rejoin(lasting(V311, "bob", 0));
        bob.expect(qos1(1, "a/b", "x").again());
        bob.send(puback(1));
        ann.send(qos0("a/c", "y"));
        bob.expect(qos0("a/c", "y"));
    });
}

/// [MQTT-3.2.2-6] [v3.1.1 MQTT-3.2.2-4]: a refusal says that no session is present, also where there is one, which stays.
#[test]
fn a_refusal_says_that_no_session_is_present() {
    everywhere(|broker| {
        for (version, connack) in [(V311, "20020003"), (V5, "2003009000")] {
            let bob = broker.join(lasting(version, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let refused = broker.dial(version);
            refused.send(Connect { last_will: Some(will(Q0, "$SYS/x", "x")), ..lasting(version, "bob", 100) });
            assert_eq!(refused.hear_plain(), hex(connack));
            refused.expect_close();
            broker.rejoin(lasting(version, "bob", 100)).leave();
            broker.connect(version, "bob").leave();
        }
    });
}

/// [MQTT-3.1.4-3]: a refused CONNECT takes nobody over.
#[test]
fn a_refused_connect_takes_nobody_over() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        let refused = broker.dial(V5);
        refused.send(Connect { authentication_method: Some("none"), ..Connect::new(V5, "bob") });
        refused.expect_refusal(ReasonCode::BadAuthenticationMethod);
        bob.expect_alive();
    });
}

/// [MQTT-3.2.2-2] [MQTT-3.2.2-3]: what was present a moment ago and has expired, or was ended by DISCONNECT, is not.
#[test]
fn a_session_that_has_ended_is_not_present() {
    everywhere(|broker| {
        broker.join(lasting(V5, "bob", 10)).vanish();
        broker.at(11);
        let bob = broker.join(lasting(V5, "bob", 10));
        bob.send(Disconnect { session_expiry_secs: Some(0), ..Disconnect::new(ReasonCode::Success) });
        bob.expect_close();
        broker.join(lasting(V5, "bob", 0)).leave();
        broker.join(lasting(V5, "bob", 10));
    });
}
