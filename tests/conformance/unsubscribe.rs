//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).
//!
//! Duty: what ends, what is completed, what is answered. Must not: test how subscriptions begin (`subscribe`).
//! Neighbours: `peer`.

use ringmq::wire::Connect;

use super::broker::{Broker, everywhere};
use super::packets::*;

/// [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [v3.1.1 MQTT-3.10.4-2] [v3.1.1 MQTT-3.10.4-4].
#[test]
fn no_message_comes_after_the_unsuback() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q1);
            ann.send(qos0("a", "x"));
            bob.expect(qos0("a", "x"));
            bob.send(unsubscribe(0x4321, &["a"]));
            bob.expect(unsuback(0x4321, &[0]));
            ann.send(qos0("a", "x"));
            ann.send(qos1(1, "a", "x"));
            ann.expect(unmatched(puback(1)));
            bob.expect_nothing();
        }
    });
}

/// [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.2-1] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-2.2.1-6] [v3.1.1 MQTT-2.3.1-7]
/// [v3.1.1 MQTT-3.10.4-5] [v3.1.1 MQTT-3.10.4-6]: one answer, one code for each filter, in order.
#[test]
fn an_unsuback_answers_every_filter_in_order() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q0);
            bob.subscribe("b/#", Q0);
            bob.send(unsubscribe(7, &["nothing", "a", "a", "b/#/c", "b/#"]));
            bob.expect(unsuback(7, &[0x11, 0, 0x11, 0x8f, 0]));
            bob.send(unsubscribe(8, &["never"]));
            bob.expect(unsuback(8, &[0x11]));
        }
    });
}

/// [v3.1.1 MQTT-3.10.4-1] [MQTT-4.7.3-4]: compared character by character, not by what would match.
#[test]
fn only_the_very_same_filter_is_removed() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a/+", Q0);
        bob.send(unsubscribe(1, &["a/b", "a/#", "A/+", "a/+/", "+/+"]));
        bob.expect(unsuback(1, &[0x11; 5]));
        bob.send(qos0("a/b", "x"));
        bob.expect(qos0("a/b", "x"));
    });
}

/// Section 3.10.4: of overlapping subscriptions only the named one ends.
#[test]
fn an_overlapping_subscription_goes_on() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a/b", Q2);
        bob.subscribe("a/#", Q0);
        bob.send(unsubscribe(1, &["a/b"]));
        bob.expect(unsuback(1, &[0]));
        ann.send(qos1(1, "a/b", "x"));
        ann.expect(puback(1));
        bob.expect(qos0("a/b", "x"));
    });
}

/// Section 3.10.4: another client's subscription to the same filter goes on, on its own shard and on others.
#[test]
fn another_clients_subscription_goes_on() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let dan = broker.connect(V5, "dan");
        bob.subscribe("a", Q0);
        dan.subscribe("a", Q0);
        bob.send(unsubscribe(1, &["a"]));
        bob.expect(unsuback(1, &[0]));
        ann.send(qos0("a", "x"));
        dan.expect(qos0("a", "x"));
        bob.expect_nothing();
    });
}

/// [MQTT-3.10.4-3] [v3.1.1 MQTT-3.10.4-3]: what was begun is brought to its end, across a reconnect too.
#[test]
fn handshakes_that_were_begun_are_completed() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q2);
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        ann.send(qos1(2, "a", "y"));
        ann.expect(puback(2));
        bob.expect(qos2(1, "a", "x"));
        bob.expect(qos1(2, "a", "y"));
        bob.send(unsubscribe(1, &["a"]));
        bob.expect(unsuback(1, &[0]));
        bob.send(pubrec(1));
        bob.expect(pubrel(1));
        bob.vanish();
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect(pubrel(1));
        bob.expect(qos1(2, "a", "y").again());
        bob.send(pubcomp(1));
        bob.send(puback(2));
        bob.expect_nothing();
    });
}

/// Section 3.10.4: a message that already waits may still be delivered; it is, in order.
#[test]
fn messages_that_wait_already_are_still_delivered() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("a", Q1);
        for payload in ["one", "two"] {
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
        }
        bob.expect(qos1(1, "a", "one"));
        bob.send(unsubscribe(1, &["a"]));
        bob.expect(unsuback(1, &[0]));
        bob.send(puback(1));
        bob.expect(qos1(2, "a", "two"));
    });
}

/// [MQTT-3.10.4-2], case X03: retained messages of a subscription that ended before its SUBACK are not sent.
#[test]
fn a_subscription_that_ended_before_its_suback_sends_no_retained_messages() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    ann.send(qos0("a", "x").retained());
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0));
    bob.send(unsubscribe(2, &["a"]));
    broker.release_mesh();
    let mut heard = [bob.hear(), bob.hear()];
    heard.sort();
    assert_eq!(heard, [suback(1, &[0]).bytes(V5), unsuback(2, &[0]).bytes(V5)]);
    bob.expect_nothing();
}
