//! Shared subscriptions (section 4.8.2).
//!
//! Duty: one member gets each message, in turn, wherever members and publishers live. Must not: test plain subscriptions.
//! Neighbours: `peer`.

use ringmq::wire::{Connect, Packet, Property, ReasonCode, SubscriptionOptions};

use super::broker::{Broker, everywhere};
use super::packets::*;
use super::peer::Peer;

const SHARED: &str = "$share/g/a";

fn members(broker: &Broker, client_ids: &[&str], filter: &str) -> Vec<Peer> {
    let join = |client_id: &&str| {
        let peer = broker.connect(V5, client_id);
        peer.subscribe(filter, Q1);
        peer
    };
    client_ids.iter().map(join).collect()
}

/// Section 4.8.2: strict turns in the order of subscription, from publishers on any shard.
#[test]
fn messages_go_round_the_members() {
    everywhere(|broker| {
        let peers = members(broker, &["bob", "ann", "dan"], SHARED);
        let cat = broker.connect(V5, "cat");
        for (turn, payload) in ["0", "1", "2", "3", "4", "5"].iter().enumerate() {
            let publisher = if turn % 2 == 0 { &cat } else { &peers[0] };
            publisher.send(qos0("a", payload));
            peers[turn % 3].expect(qos0("a", payload));
        }
    });
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-3]: each group gets a copy, each plain subscriber too, each with its own QoS.
#[test]
fn every_group_and_every_plain_subscriber_gets_a_copy() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let cat = broker.connect(V311, "cat");
        let dan = broker.connect(V5, "dan");
        bob.subscribe("$share/g/a/+", Q0);
        cat.subscribe("$share/h/a/+", Q1);
        dan.subscribe("a/b", Q2);
        ann.send(qos2(1, "a/b", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos0("a/b", "x"));
        cat.expect(qos1(1, "a/b", "x"));
        dan.expect(qos2(1, "a/b", "x"));
    });
}

/// Section 4.8.2: ShareName and filter together are the shared subscription.
#[test]
fn the_same_share_name_with_another_filter_is_another_group() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let dan = broker.connect(V5, "dan");
        bob.subscribe("$share/g/a/+", Q0);
        dan.subscribe("$share/g/a/b", Q0);
        ann.send(qos0("a/b", "x"));
        bob.expect(qos0("a/b", "x"));
        dan.expect(qos0("a/b", "x"));
    });
}

/// Section 4.8.2: a client that is in a group and subscribes for itself gets both copies.
#[test]
fn a_member_with_a_plain_subscription_gets_both_copies() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe(SHARED, Q0);
        bob.subscribe("a", Q0);
        ann.send(qos0("a", "x"));
        bob.expect(qos0("a", "x"));
        bob.expect(qos0("a", "x"));
    });
}

/// [MQTT-3.8.3-4], case W63.
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).with(SHARED, SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() }));
        bob.expect_disconnect(ReasonCode::ProtocolError);
    });
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2], cases W59, W61 and W62.
#[test]
fn a_share_name_must_be_a_name_and_be_followed_by_a_filter() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            for filter in
                ["$share/ab", "$share//a", "$share/g/", "$share/+/a", "$share/g#/a", "$share/#", "$share/g/a/#/b"]
            {
                bob.send(subscribe(1).to(filter, Q0));
                bob.expect(suback(1, &[0x8f]));
            }
            bob.leave();
        }
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// Section 4.8.2: a filter behind a share name is a filter.
#[test]
fn a_group_on_a_wildcard_hears_what_its_filter_matches() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("$share/g/#", Q1);
        for topic in ["a", "a/b", "/", "share/g"] {
            ann.send(qos1(1, topic, "x"));
            ann.expect(puback(1));
        }
        for (topic, packet_id) in ["a", "a/b", "/", "share/g"].iter().zip(1..) {
            bob.expect(qos1(packet_id, topic, "x"));
        }
        ann.send(qos1(1, "$SYS/x", "x"));
        ann.expect(because(ReasonCode::NotAuthorized, puback(1)));
    });
}

/// Section 4.8.2: who is connected comes before who is not, for every QoS.
#[test]
fn members_who_are_away_are_passed_over_while_others_are_there() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe(SHARED, Q1);
        let dan = members(broker, &["dan"], SHARED).remove(0);
        bob.vanish();
        for packet_id in 1..=3 {
            ann.send(qos1(packet_id, "a", "x"));
            ann.expect(puback(packet_id));
            dan.expect(qos1(packet_id, "a", "x"));
        }
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect_nothing();
        for _ in 0..2 {
            ann.send(qos1(9, "a", "y"));
            ann.expect(puback(9));
        }
        bob.expect(qos1(1, "a", "y"));
        dan.expect(qos1(4, "a", "y"));
    });
}

/// [MQTT-4.5.0-1]: while all are away, QoS 1 waits for them in turn and QoS 0 is gone.
#[test]
fn messages_wait_for_a_group_whose_members_are_all_away() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for client_id in ["bob", "cat"] {
            let peer = broker.join(lasting(V5, client_id, 100));
            peer.subscribe(SHARED, Q1);
            peer.leave();
        }
        ann.send(qos0("a", "lost"));
        for payload in ["1", "2", "3", "4"] {
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
        }
        let mut heard = Vec::new();
        for client_id in ["bob", "cat"] {
            let peer = broker.rejoin(lasting(V5, client_id, 100));
            for packet_id in 1..=2 {
                heard.push(peer.hear_packet(|packet| match packet {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.packet_id, packet_id);
                        publish.payload.to_vec()
                    }
                    other => panic!("{other:?}"),
                }));
            }
        }
        heard.sort();
        assert_eq!(heard, [b"1", b"2", b"3", b"4"]);
    });
}

/// [MQTT-3.10.4-1]: who has left gets nothing; the last one takes the group along.
#[test]
fn who_leaves_a_group_gets_nothing_more() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let peers = members(broker, &["bob", "cat", "dan"], SHARED);
        peers[1].send(unsubscribe(1, &[SHARED]));
        peers[1].expect(unsuback(1, &[0]));
        for _ in 0..4 {
            ann.send(qos0("a", "x"));
        }
        for peer in [&peers[0], &peers[2]] {
            peer.expect(qos0("a", "x"));
            peer.expect(qos0("a", "x"));
        }
        peers[0].vanish();
        ann.send(qos0("a", "y"));
        peers[2].expect(qos0("a", "y"));
        peers[2].leave();
        ann.send(qos1(1, "a", "z"));
        ann.expect(unmatched(puback(1)));
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// [MQTT-4.8.2-6] [MQTT-4.4.0-2]: a message that a member refuses is discarded.
#[test]
fn a_refused_message_is_not_given_to_another_member() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let peers = members(broker, &["bob", "dan"], SHARED);
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        peers[0].expect(qos1(1, "a", "x"));
        peers[0].send(because(ReasonCode::UnspecifiedError, puback(1)));
        peers[1].expect_nothing();
    });
}

/// [MQTT-4.8.2-4] [MQTT-4.8.2-5]: a QoS 2 message that was begun belongs to its member, or ends with its session.
#[test]
fn a_qos_2_message_that_was_begun_stays_with_its_member() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe(SHARED, Q2);
        let dan = broker.connect(V5, "dan");
        dan.subscribe(SHARED, Q2);
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "a", "x"));
        bob.vanish();
        dan.expect_nothing();
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect(qos2(1, "a", "x").again());
        bob.vanish();
        broker.at(200);
        dan.expect_nothing();
    });
}

/// Section 4.8.2: options and identifiers are each member's own.
#[test]
fn each_member_has_its_own_subscription() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let dan = broker.connect(V5, "dan");
        bob.send(subscribe(1).to(SHARED, Q0).numbered(7));
        bob.expect(suback(1, &[0]));
        dan.send(subscribe(1).with(
            SHARED,
            SubscriptionOptions { qos: Q1, retain_as_published: true, ..SubscriptionOptions::default() },
        ));
        dan.expect(suback(1, &[1]));
        for packet_id in 1..=2 {
            ann.send(qos1(packet_id, "a", "x").retained());
            ann.expect(puback(packet_id));
        }
        bob.expect(qos0("a", "x").with(&[Property::SubscriptionIdentifier(7)]));
        dan.expect(qos1(1, "a", "x").retained());
    });
}

/// [MQTT-3.8.4-3] and section 4.8.2: subscribing again changes the options and not the place in the round.
#[test]
fn subscribing_again_keeps_the_place_in_the_round() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let peers = members(broker, &["bob", "dan"], SHARED);
        ann.send(qos0("a", "1"));
        peers[0].expect(qos0("a", "1"));
        peers[0].subscribe(SHARED, Q2);
        for (turn, payload) in [(1, "2"), (0, "3"), (1, "4")] {
            ann.send(qos0("a", payload));
            peers[turn].expect(qos0("a", payload));
        }
    });
}

/// Case X02: SUBACK of a shared subscription waits for every shard as well.
#[test]
fn a_suback_of_a_group_waits_for_every_shard() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    bob.send(subscribe(1).to(SHARED, Q0));
    bob.expect_nothing();
    broker.release_mesh();
    bob.expect(suback(1, &[0]));
    ann.send(qos0("a", "x"));
    bob.expect(qos0("a", "x"));
}

/// Case X03: a member that has gone while the message was on its way passes it on, and the publisher hears of the end.
#[test]
fn a_message_for_a_member_who_has_gone_is_passed_on() {
    for (is_lasting, payload) in [(false, "gone"), (true, "away")] {
        let broker = Broker::of_two();
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe(SHARED, Q1);
        let second = if is_lasting { "cat" } else { "dan" };
        let other = broker.connect(V5, second);
        other.subscribe(SHARED, Q1);
        broker.hold_mesh();
        ann.send(qos1(1, "a", payload));
        bob.leave();
        ann.expect_nothing();
        broker.release_mesh();
        other.expect(qos1(1, "a", payload));
        ann.expect(puback(1));
        assert_eq!(broker.sizes().acks_waiting, 0);
    }
}

/// Case X03: with nobody left the message is unmatched.
#[test]
fn a_message_for_a_group_that_has_gone_is_unmatched() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    let dan = broker.connect(V5, "dan");
    bob.subscribe(SHARED, Q1);
    dan.subscribe(SHARED, Q1);
    broker.hold_mesh();
    ann.send(qos1(1, "a", "x"));
    ann.send(qos1(2, "a", "x"));
    bob.leave();
    dan.leave();
    broker.release_mesh();
    ann.expect(unmatched(puback(1)));
    ann.expect(unmatched(puback(2)));
    assert_eq!(broker.sizes().acks_waiting, 0);
}

/// Case Q05: a member with a full queue is passed over; when all are full the publisher is told.
#[test]
fn a_full_member_is_passed_over() {
    let limits =
        ringmq::limits::Limits { queued_messages_max: 1, backpressure_ms_max: 0, ..ringmq::limits::Limits::default() };
    super::broker::everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        let peers = ["bob", "cat"].map(|client_id| {
            let peer = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, client_id) });
            peer.subscribe(SHARED, Q1);
            peer
        });
        for packet_id in 1..=4 {
            ann.send(qos1(packet_id, "a", "x"));
            ann.expect(puback(packet_id));
        }
        ann.send(qos1(5, "a", "x"));
        ann.expect(because(ReasonCode::QuotaExceeded, puback(5)));
        for peer in &peers {
            peer.expect(qos1(1, "a", "x"));
        }
        peers[1].send(puback(1));
        peers[1].expect(qos1(2, "a", "x"));
        for packet_id in 6..=7 {
            ann.send(qos1(packet_id, "a", "y"));
            if packet_id == 6 {
                ann.expect(puback(6))
            } else {
                ann.expect(because(ReasonCode::QuotaExceeded, puback(7)))
            }
        }
        peers[1].send(puback(2));
        peers[1].expect(qos1(3, "a", "y"));
    });
}

/// [MQTT-3.3.4-5] [MQTT-3.3.4-3]: where more than one copy is sent, each carries the identifier of its own subscription.
#[test]
fn each_copy_carries_the_identifier_of_its_subscription() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        for (packet_id, filter) in [(1, "$share/g/a/+"), (2, "$share/h/a/#"), (3, "a/b"), (4, "a/#")] {
            bob.send(subscribe(packet_id).to(filter, Q0).numbered(u32::from(packet_id)));
            bob.expect(suback(packet_id, &[0]));
        }
        ann.send(qos0("a/b", "x"));
        let mut heard: Vec<Vec<u32>> = (0..3)
            .map(|_| {
                bob.hear_packet(|packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    let mut ids: Vec<u32> = publish.properties.subscription_ids().collect();
                    ids.sort_unstable();
                    ids
                })
            })
            .collect();
        heard.sort();
        assert_eq!(heard, [vec![1], vec![2], vec![3, 4]]);
    });
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]: any other name is one, and each is a group of its own.
#[test]
fn a_share_name_may_be_nearly_anything() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for name in ["g", "G", "$share", "$SYS", "a b", "\u{e9}", "e\u{301}", "*", "0"] {
            let bob = broker.connect(V5, "bob");
            let dan = broker.connect(V5, "dan");
            bob.subscribe(&format!("$share/{name}/a"), Q0);
            dan.subscribe(&format!("$share/{name}./a"), Q0);
            ann.send(qos0("a", name));
            bob.expect(qos0("a", name));
            dan.expect(qos0("a", name));
            bob.leave();
            dan.leave();
        }
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// [MQTT-3.8.3-4]: whatever else the packet holds, and nothing of it stays.
#[test]
fn no_local_on_one_of_several_filters_is_a_protocol_error() {
    everywhere(|broker| {
        let silent = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
        for filter in ["$share/g/#", "$share/g/$SYS/x", "$share/other/a/+"] {
            let bob = broker.connect(V5, "bob");
            bob.send(subscribe(1).to("a", Q0).with("b", silent).with(filter, silent));
            bob.expect_disconnect(ReasonCode::ProtocolError);
        }
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// [MQTT-4.8.2-6] [MQTT-4.4.0-2]: the same of a QoS 2 message that is refused at PUBREC, now and after a reconnect.
#[test]
fn a_qos_2_message_that_a_member_refuses_is_discarded() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe(SHARED, Q2);
        let dan = broker.connect(V5, "dan");
        dan.subscribe(SHARED, Q2);
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "a", "x"));
        bob.send(because(ReasonCode::QuotaExceeded, pubrec(1)));
        dan.expect_nothing();
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect_nothing();
        dan.expect_nothing();
    });
}

/// [MQTT-4.8.2-3]: the granted QoS is that of the member who is chosen, message by message.
#[test]
fn each_member_gets_the_qos_that_it_was_granted() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let peers = [("bob", Q0), ("cat", Q1), ("dan", Q2)].map(|(client_id, qos)| {
            let peer = broker.connect(V5, client_id);
            peer.subscribe(SHARED, qos);
            peer
        });
        for packet_id in 1..=3 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(pubrec(packet_id));
        }
        peers[0].expect(qos0("a", "x"));
        peers[1].expect(qos1(1, "a", "x"));
        peers[2].expect(qos2(1, "a", "x"));
    });
}
