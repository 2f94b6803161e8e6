//! Ordered topics (section 4.6): what one client publishes on a topic arrives in that order, wherever it passes.
//!
//! Duty: order over shards, QoS, absence and takeover. Must not: test the order of acknowledgements (`qos`) or of repetitions
//! (`resend`). Neighbours: `peer`.

use ringmq::wire::{Connect, Packet};

use super::broker::{Broker, everywhere};
use super::packets::*;
use super::peer::Peer;

/// Hears so many messages and acknowledges them as they come: topic and payload of each.
fn hear_messages(peer: &Peer, count: usize) -> Vec<(String, String)> {
    let hear = |_: usize| {
        let (heard, answer) = peer.hear_packet(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
            let answer = match publish.qos {
                Q0 => None,
                Q1 => Some(puback(publish.packet_id)),
                Q2 => Some(pubrec(publish.packet_id)),
            };
            ((publish.topic.to_owned(), payload), answer)
        });
        if let Some(answer) = answer {
            peer.send(answer);
        }
        heard
    };
    (0..count).map(hear).collect()
}

/// What one publisher said on one topic, out of what was heard.
fn said<'a>(heard: &'a [(String, String)], topic: &str, publisher: &str) -> Vec<&'a str> {
    let of = |(on, payload): &&(String, String)| on == topic && payload.starts_with(publisher);
    heard.iter().filter(of).map(|(_, payload)| &payload[publisher.len()..]).collect()
}

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6] [v3.1.1 MQTT-4.6.0-6]: publishers of both shards mixed, in pieces, on two topics: to each
/// subscriber of either shard each publisher's messages come in order.
#[test]
fn each_publisher_is_in_order_for_each_subscriber() {
    everywhere(|broker| {
        let publishers = [("ann", V5), ("bob", V311)].map(|(id, version)| (id, broker.connect(version, id)));
        let subscribers = ["cat", "dan"].map(|id| broker.connect(V5, id));
        subscribers.iter().for_each(|peer| peer.subscribe("+", Q1));
        let mut numbers = Vec::new();
        for number in 10..50 {
            if number % 8 == 0 {
                broker.hold_mesh();
            }
            for (id, publisher) in &publishers {
                for topic in ["a", "b"] {
                    publisher.send(qos1(number, topic, &format!("{id}{number}")));
                }
            }
            if number % 8 == 5 {
                broker.release_mesh();
            }
            numbers.push(number.to_string());
        }
        broker.release_mesh();
        publishers.iter().for_each(|(_, peer)| peer.ignore_rest());
        for subscriber in &subscribers {
            let heard = hear_messages(subscriber, 160);
            for (id, topic) in [("ann", "a"), ("ann", "b"), ("bob", "a"), ("bob", "b")] {
                assert_eq!(said(&heard, topic, id), numbers, "{id} on {topic}");
            }
        }
    });
}

/// [MQTT-4.6.0-5] [v3.1.1 MQTT-4.6.0-5]: what waited for a client comes before what is published while it is being sent.
#[test]
fn live_messages_do_not_overtake_those_that_waited() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        bob.vanish();
        let tell = |numbers: std::ops::Range<u16>| {
            for number in numbers {
                ann.send(qos1(1, "a", &number.to_string()));
                ann.expect(puback(1));
            }
        };
        tell(0..20);
        let bob = broker.rejoin(Connect { receive_maximum: Some(3), ..lasting(V5, "bob", 100) });
        let mut heard = hear_messages(&bob, 5);
        tell(20..30);
        heard.extend(hear_messages(&bob, 25));
        let expected: Vec<String> = (0..30).map(|number: u16| number.to_string()).collect();
        assert_eq!(said(&heard, "a", ""), expected);
    });
}

/// [MQTT-4.6.0-5]: the order holds across a takeover in the middle of the stream, with no gap and nothing twice but what was
/// unacknowledged.
#[test]
fn a_takeover_keeps_the_order() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let first = broker.join(lasting(V5, "bob", 100));
        first.subscribe("a", Q2);
        for number in 1..=6 {
            ann.send(qos2(number, "a", &number.to_string()));
            ann.expect(pubrec(number));
        }
        let mut heard = hear_messages(&first, 4);
        (5..=6).for_each(|number| first.expect(qos2(number, "a", &number.to_string())));
        (1..=4).for_each(|number| first.expect(pubrel(number)));
        let second = broker.rejoin(lasting(V5, "bob", 100));
        first.expect_disconnect(ringmq::wire::ReasonCode::SessionTakenOver);
        (1..=4).for_each(|number| second.expect(pubrel(number)));
        (5..=6).for_each(|number| second.expect(qos2(number, "a", &number.to_string()).again()));
        ann.send(qos2(7, "a", "7"));
        ann.expect(pubrec(7));
        heard.extend(hear_messages(&second, 1));
        second.expect(pubrel(7));
        assert_eq!(said(&heard, "a", ""), ["1", "2", "3", "4", "7"]);
    });
}

/// [MQTT-4.6.0-5] [MQTT-4.5.0-1]: a publisher that moves on to another connection in the middle keeps its order too.
#[test]
fn a_publisher_that_reconnects_keeps_its_order() {
    let broker = Broker::of_two();
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q1);
    broker.hold_mesh();
    for number in 1..=3 {
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", &number.to_string()));
        ann.vanish();
    }
    broker.release_mesh();
    let heard = hear_messages(&bob, 3);
    assert_eq!(said(&heard, "a", ""), ["1", "2", "3"]);
}
