//! Properties of messages and subscriptions (sections 2.2.2, 3.3.2.3).
//!
//! Duty: what passes through unchanged, what counts down, what the broker adds. Must not: test aliases (`flow_control`).
//! Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Packet, Property, ReasonCode, SubscriptionOptions};

use super::broker::{everywhere, everywhere_with};
use super::packets::*;

fn expiry(secs: u32) -> [Property<'static>; 1] {
    [Property::MessageExpiryInterval(secs)]
}

fn numbered(subscription_id: u32) -> Property<'static> {
    Property::SubscriptionIdentifier(subscription_id)
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]:
/// to every subscriber of 5.0, in order, whatever the QoS; earlier dialects get the message alone.
#[test]
fn the_properties_of_a_message_arrive_unaltered() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let cat = broker.connect(V5, "cat");
        let dan = broker.connect(V311, "dan");
        bob.subscribe("a", Q1);
        cat.subscribe("a", Q0);
        dan.subscribe("a", Q1);
        let properties = [
            Property::UserProperty("z", "1"),
            Property::CorrelationData(b"\0\xff\x80"),
            Property::UserProperty("a", "2"),
            Property::ResponseTopic("answer/\u{feff}here"),
            Property::PayloadFormatIndicator(1),
            Property::UserProperty("z", "1"),
            Property::ContentType(""),
            Property::UserProperty("", ""),
        ];
        ann.send(qos1(1, "a", "x").with(&properties));
        ann.expect(puback(1));
        bob.expect(qos1(1, "a", "x").with(&properties));
        cat.expect(qos0("a", "x").with(&properties));
        dan.expect(qos1(1, "a", "x"));
    });
}

/// Case W47: the payload is not looked at, whatever its format is said to be.
#[test]
fn a_payload_that_is_not_what_it_says_passes() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        let bytes = framed(0x30, b"\0\x01a\x02\x01\x01\xff\xfe\xc0\0");
        ann.send_bytes(&bytes);
        assert_eq!(bob.hear(), bytes);
    });
}

/// Section 3.3.2.3.4 and 3.3.2.3.8: alias and subscription identifiers belong to one hop.
#[test]
fn what_belongs_to_the_hop_is_not_passed_on() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        let user = Property::UserProperty("k", "v");
        ann.send(qos0("a", "x").with(&[user, Property::TopicAlias(3), user]));
        bob.expect(qos0("a", "x").with(&[user, user]));
    });
}

/// [MQTT-3.3.2-6]: at once it is what was sent, in the queue it counts down.
#[test]
fn the_lifetime_of_a_message_counts_down_while_it_waits() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 1000));
        let cat = broker.connect(V5, "cat");
        bob.subscribe("a", Q1);
        cat.subscribe("a", Q0);
        bob.vanish();
        ann.send(qos1(1, "a", "x").with(&expiry(60)));
        ann.expect(puback(1));
        cat.expect(qos0("a", "x").with(&expiry(60)));
        broker.at_millis(20_500);
        let bob = broker.rejoin(lasting(V5, "bob", 1000));
        bob.expect(qos1(1, "a", "x").with(&expiry(40)));
        bob.vanish();
        broker.at(50);
        broker.rejoin(lasting(V5, "bob", 1000)).expect(qos1(1, "a", "x").again().with(&expiry(10)));
    });
}

/// [MQTT-3.3.2-5], case Q09: not sent, counted, and those behind it are not held up.
#[test]
fn a_message_that_ended_in_the_queue_is_not_delivered() {
    everywhere(|broker| {
        for (version, due) in [(V311, 1000), (V5, 2000)] {
            let ann = broker.connect(V5, "ann");
            let bob = broker.join(lasting(version, "bob", 1000));
            bob.subscribe("a", Q1);
            bob.vanish();
            ann.send(qos1(1, "a", "short").with(&expiry(10)));
            ann.expect(puback(1));
            ann.send(qos1(2, "a", "forever"));
            ann.expect(puback(2));
            broker.at(due);
            if version == V311 {
                broker.rejoin(lasting(version, "bob", 1000)).expect(qos1(2, "a", "forever"));
            } else {
                let bob = broker.join(lasting(version, "bob", 1000));
                bob.expect_nothing();
            }
            broker.connect(version, "bob").leave();
        }
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Expired)), 1);
    });
}

/// [MQTT-3.3.2-5]: the same behind a full window.
#[test]
fn a_message_that_ended_behind_the_window_is_not_delivered() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("a", Q1);
        for (packet_id, payload) in [(1, "first"), (2, "short"), (3, "third")] {
            let publish = qos1(packet_id, "a", payload);
            if payload == "short" {
                ann.send(publish.with(&expiry(10)))
            } else {
                ann.send(publish)
            }
            ann.expect(puback(packet_id));
        }
        bob.expect(qos1(1, "a", "first"));
        broker.at(11);
        bob.send(puback(1));
        bob.expect(qos1(2, "a", "third"));
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Expired)), 1);
    });
}

/// [MQTT-4.3.3-7] [MQTT-4.3.3-13], case Q09: once sent, a QoS 2 message is brought to its end; a QoS 1 message is given up.
#[test]
fn a_qos_2_message_does_not_end_once_it_was_sent() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 1000));
        bob.subscribe("a", Q2);
        ann.send(qos2(1, "a", "x").with(&expiry(10)));
        ann.expect(pubrec(1));
        ann.send(qos1(2, "a", "y").with(&expiry(10)));
        ann.expect(puback(2));
        bob.expect(qos2(1, "a", "x").with(&expiry(10)));
        bob.expect(qos1(2, "a", "y").with(&expiry(10)));
        bob.vanish();
        broker.at(20);
        let bob = broker.rejoin(lasting(V5, "bob", 1000));
        bob.expect(qos2(1, "a", "x").again().with(&expiry(0)));
        bob.expect_nothing();
        bob.send(pubrec(1));
        bob.expect(pubrel(1));
        bob.send(pubcomp(1));
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 1000)).expect_nothing();
    });
}

/// Section 3.3.2.3.3: a message without any lifetime is delivered to nobody; one without the property never ends.
#[test]
fn a_message_without_any_lifetime_is_not_delivered() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        ann.send(qos1(1, "a", "x").with(&expiry(0)));
        ann.expect(puback(1));
        bob.expect_alive();
        bob.expect_nothing();
    });
}

/// [MQTT-3.3.4-3] [MQTT-3.3.4-4], case Q11: one copy with the identifiers of all matching subscriptions that have one.
#[test]
fn a_message_carries_the_identifiers_of_all_its_subscriptions() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a/#", Q0).to("a/+", Q1).numbered(268_435_455));
        bob.expect(suback(1, &[0, 1]));
        bob.send(subscribe(2).to("a/b", Q0).numbered(1));
        bob.expect(suback(2, &[0]));
        bob.send(subscribe(3).to("#", Q0));
        bob.expect(suback(3, &[0]));
        ann.send(qos0("a/b", "x"));
        let ids = bob.hear_packet(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let mut ids: Vec<u32> = publish.properties.subscription_ids().collect();
            ids.sort_unstable();
            ids
        });
        assert_eq!(ids, [1, 268_435_455, 268_435_455]);
        ann.send(qos0("b", "x"));
        bob.expect(qos0("b", "x"));
        ann.send(qos0("a", "x"));
        bob.expect(qos0("a", "x").with(&[numbered(268_435_455)]));
    });
}

/// [MQTT-3.8.4-3] and section 3.8.2.1.2: the last SUBSCRIBE decides on the identifier too.
#[test]
fn a_replaced_subscription_changes_its_identifier() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        for (packet_id, id) in [(1, Some(5)), (2, Some(6)), (3, None)] {
            let subscribe = subscribe(packet_id).to("a", Q0);
            bob.send(match id {
                Some(id) => subscribe.numbered(id),
                None => subscribe,
            });
            bob.expect(suback(packet_id, &[0]));
            ann.send(qos0("a", "x"));
            match id {
                Some(id) => bob.expect(qos0("a", "x").with(&[numbered(id)])),
                None => bob.expect(qos0("a", "x")),
            }
        }
    });
}

/// [MQTT-3.3.4-3] [MQTT-4.1.0-1]: identifiers are part of the session; what waited carries them.
#[test]
fn identifiers_outlive_the_connection() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.send(subscribe(1).to("a", Q1).numbered(300));
        bob.expect(suback(1, &[1]));
        bob.vanish();
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect(qos1(1, "a", "x").with(&[numbered(300)]));
        ann.send(qos0("a", "y"));
        bob.expect(qos0("a", "y").with(&[numbered(300)]));
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect(qos1(1, "a", "x").again().with(&[numbered(300)]));
    });
}

/// Section 3.8.3.1, No Local: the identifiers of silent subscriptions are not named to the publisher itself.
#[test]
fn an_own_message_names_only_the_subscriptions_that_hear_it() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(
            subscribe(1)
                .with("a", SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() })
                .numbered(1),
        );
        bob.expect(suback(1, &[0]));
        bob.send(subscribe(2).to("+", Q0).numbered(2));
        bob.expect(suback(2, &[0]));
        bob.send(qos0("a", "x"));
        bob.expect(qos0("a", "x").with(&[numbered(2)]));
    });
}

/// Cases W82 and R15: at the limit and not before.
#[test]
fn too_many_user_properties_end_the_connection() {
    let limits = Limits { user_properties_max: 3, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "x").with(&[Property::UserProperty("k", "v"); 3]));
        ann.expect_alive();
        ann.send(qos0("a", "x").with(&[Property::UserProperty("k", "v"); 4]));
        ann.expect_disconnect(ReasonCode::QuotaExceeded);
    });
}

/// [MQTT-2.2.2-1] [MQTT-2.2.1-2]: a packet of ours without properties says so.
#[test]
fn a_message_without_properties_has_an_empty_block() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        bob.send_hex("30050001610078");
        assert_eq!(bob.hear(), hex("30050001610078"));
    });
}
