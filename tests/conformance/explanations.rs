//! Reason Strings and answers that are too large (sections 3.1.2.11.4, 3.1.2.11.7 and those of each packet).
//!
//! Duty: who is told why, who is not, and what happens at the client's Maximum Packet Size. Must not: test which requests
//! fail (the other chapters). Neighbours: `words` checks every packet of every conversation besides.

use std::sync::Arc;

use ringmq::auth::{Acl, Policy, Rules};
use ringmq::limits::Limits;
use ringmq::wire::{Connect, Packet, Property, ReasonCode};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;
use super::peer::Peer;
use super::words::hear_words;

/// Something that fails, the packet that says so when it says nothing more, and whether that is the last one.
struct Failure {
    name: &'static str,
    request: Box<dyn Say>,
    bare: &'static str,
    is_last: bool,
}

fn failure(name: &'static str, request: impl Say + 'static, bare: &'static str, is_last: bool) -> Failure {
    Failure { name, request: Box::new(request), bare, is_last }
}

/// One failure of each packet that has a Reason String.
fn failures() -> Vec<Failure> {
    vec![
        failure("PUBACK", qos1(3, "$SYS/x", "x"), "4003000387", false),
        failure("PUBREC", qos2(3, "$SYS/x", "x"), "5003000387", false),
        failure("SUBACK", subscribe(1).to("a/#/b", Q0), "90040001008f", false),
        failure("SUBACK of many", subscribe(1).to("a", Q2).to("#/b", Q0).to("c", Q1), "9006000100028f01", false),
        failure("UNSUBACK", unsubscribe(2, &["a/#/b"]), "b0040002008f", false),
        failure("DISCONNECT", Connect::new(V5, "bob"), "e0028200", true),
    ]
}

fn end(peer: &Peer, failure: &Failure) {
    if failure.is_last {
        peer.expect_close();
    } else {
        peer.expect_alive();
        peer.leave();
    }
}

/// Decision D6: what the broker refuses it explains.
#[test]
fn every_failure_is_explained() {
    everywhere(|broker| {
        for failure in failures() {
            let bob = broker.connect(V5, "bob");
            bob.send(&*failure.request);
            assert!(hear_words(&bob).is_some(), "{}", failure.name);
            end(&bob, &failure);
        }
        let long_id = "x".repeat(300);
        let peer = broker.dial(V5);
        peer.send(Connect::new(V5, &long_id));
        assert_eq!(hear_words(&peer).as_deref(), Some("client id longer than client_id_bytes_max"));
        peer.expect_close();
    });
}

/// A denial names the line that decided, in the log and to the client.
#[test]
fn a_denied_publish_is_told_the_line_that_denies_it() {
    let acl = Acl::parse("topic #\ntopic deny a\n").expect("a good file");
    let rules = Rules { acl: Some(Arc::new(acl)), ..Rules::default() };
    let broker = Broker::under(1, Limits::default(), Policy { rules: vec![rules], ..Policy::default() });
    let ann = broker.connect(V5, "ann");
    ann.send(qos1(1, "a", "x"));
    assert_eq!(hear_words(&ann).as_deref(), Some("line 2 of the ACL file denies it"));
    ann.leave();
}

/// Decision D6: a payload that the operator does not want names the option.
#[test]
fn a_payload_that_is_too_large_is_told_the_limit() {
    let policy = Policy { payload_bytes_max: 3, ..Policy::default() };
    let broker = Broker::under(1, Limits::default(), policy);
    let ann = broker.connect(V5, "ann");
    ann.send(qos1(1, "a", "four"));
    assert!(hear_words(&ann).expect("words").contains("message_size_limit"));
    ann.leave();
}

/// Decision D6: each refusal of a message has its own words.
#[test]
fn a_message_is_refused_in_the_words_of_its_reason() {
    let limits = Limits { retained_messages_max: 0, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        let words = |peer: &Peer| hear_words(peer).expect("words");
        ann.send(qos1(1, "$SYS/x", "x"));
        assert!(words(&ann).contains("begins with $"));
        ann.send(qos1(2, "b", "x").retained());
        assert!(words(&ann).contains("retained_messages_max"));
        broker.hold_store();
        ann.send(qos1(3, "a", "x"));
        broker.release_store(false);
        assert!(words(&ann).contains("stored"));
        bob.ignore_rest();
    });
}

/// [MQTT-3.1.2-29]: Request Problem Information 0 leaves words to CONNACK and DISCONNECT alone.
#[test]
fn who_wants_no_words_gets_them_only_at_the_end() {
    everywhere(|broker| {
        let plain = |client_id| Connect { request_problem_information: false, ..Connect::new(V5, client_id) };
        for failure in failures() {
            let bob = broker.join(plain("bob"));
            bob.send(&*failure.request);
            if failure.is_last {
                assert!(hear_words(&bob).is_some(), "{}", failure.name);
            } else {
                assert_eq!(bob.hear(), hex(failure.bare), "{}", failure.name);
            }
            end(&bob, &failure);
        }
        let peer = broker.dial(V5);
        peer.send(Connect { authentication_method: Some("none"), ..plain("bob") });
        assert!(hear_words(&peer).is_some());
        peer.expect_close();
    });
}

/// [MQTT-3.1.2-29]: the wish belongs to the connection, not to the session or the client.
#[test]
fn each_connection_says_anew_whether_it_wants_words() {
    everywhere(|broker| {
        for wants in [false, true, false] {
            let connect = Connect { request_problem_information: wants, ..lasting(V5, "bob", 100) };
            let bob = broker.dial(V5);
            bob.send(connect);
            bob.hear();
            bob.send(qos1(1, "$SYS/x", "x"));
            assert_eq!(hear_words(&bob).is_some(), wants);
            bob.vanish();
        }
    });
}

/// [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.9.2-2] [MQTT-3.11.2-2] [MQTT-3.14.2-3]: words at exactly the client's Maximum Packet
/// Size, none one byte below; the answer itself comes in either case.
#[test]
fn words_are_left_out_where_they_would_be_too_much() {
    everywhere(|broker| {
        for failure in failures() {
            let bob = broker.connect(V5, "bob");
            bob.send(&*failure.request);
            let whole = bob.hear();
            end(&bob, &failure);
            for (bytes_max, expected) in [(whole.len(), whole.clone()), (whole.len() - 1, hex(failure.bare))] {
                let bob = broker.join(taking(bytes_max, Connect::new(V5, "bob")));
                bob.send(&*failure.request);
                assert_eq!(bob.hear(), expected, "{} within {bytes_max}", failure.name);
                end(&bob, &failure);
            }
        }
    });
}

fn taking(bytes_max: usize, connect: Connect<'_>) -> Connect<'_> {
    Connect { maximum_packet_size: u32::try_from(bytes_max).ok(), ..connect }
}

/// [MQTT-3.2.2-19] [MQTT-3.2.2-16]: the same of a CONNACK that refuses; below its bare size nothing is said.
#[test]
fn a_refusal_is_no_larger_than_the_client_takes() {
    everywhere(|broker| {
        let refused = Connect { authentication_method: Some("none"), ..Connect::new(V5, "bob") };
        let peer = broker.dial(V5);
        peer.send(refused);
        let whole = peer.hear();
        for (bytes_max, expected) in [
            (whole.len(), Some(whole.clone())),
            (whole.len() - 1, Some(hex("2003008c00"))),
            (5, Some(hex("2003008c00"))),
            (4, None),
        ] {
            let peer = broker.dial(V5);
            peer.send(taking(bytes_max, refused));
            assert_eq!(peer.try_hear(), expected, "within {bytes_max}");
            peer.expect_close();
        }
    });
}

/// [MQTT-3.2.2-19] [MQTT-3.1.2-24]: what a CONNECT says of the maximum before it goes wrong holds for its refusal.
#[test]
fn a_connect_that_does_not_parse_is_refused_within_its_maximum() {
    everywhere(|broker| {
        // Maximum Packet Size of 5 and of 4, then a user name that is not there.
        for (bytes_max, expected) in [("05", Some(hex("2003008100"))), ("04", None)] {
            let peer = broker.dial(V5);
            peer.send_hex(&format!("101300044d5154540582003c0527000000{bytes_max}000178"));
            assert_eq!(peer.try_hear(), expected);
            peer.expect_close();
        }
    });
}

/// [MQTT-3.2.2-16] [MQTT-3.1.2-24]: a client that could not take its CONNACK is refused, before anybody is taken over.
#[test]
fn a_client_that_takes_no_connack_is_refused() {
    everywhere(|broker| {
        let first = broker.connect(V5, "bob");
        let size = granted().bytes(V5).len();
        for bytes_max in [size - 1, 5, 4, 1] {
            let second = broker.dial(V5);
            second.send(taking(bytes_max, Connect::new(V5, "bob")));
            if bytes_max > 4 {
                second.expect_refusal(ReasonCode::PacketTooLarge);
            } else {
                second.expect_close();
            }
        }
        first.expect_alive();
        broker.join(taking(size, Connect::new(V5, "bob"))).expect_alive();
        first.expect_disconnect(ReasonCode::SessionTakenOver);
    });
}

/// [MQTT-3.2.2-16]: an assigned client id is part of the CONNACK that must fit.
#[test]
fn an_assigned_client_id_counts_for_the_size_of_its_connack() {
    everywhere(|broker| {
        let nameless = broker.dial(V5);
        nameless.send(Connect::new(V5, ""));
        let size = nameless.hear().len();
        let sessions = broker.sizes().sessions;
        let peer = broker.dial(V5);
        peer.send(taking(size - 1, Connect::new(V5, "")));
        peer.expect_refusal(ReasonCode::PacketTooLarge);
        assert_eq!(broker.sizes().sessions, sessions);
        let peer = broker.dial(V5);
        peer.send(taking(size, Connect::new(V5, "")));
        assert_eq!(peer.hear().len(), size);
    });
}

/// [MQTT-3.2.2-20] [MQTT-3.4.2-3] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.14.2-4]
/// [MQTT-3.1.2-24]: the smallest client that can be admitted is served in full, and no packet of ours has user properties.
#[test]
fn the_smallest_client_gets_every_packet_in_a_size_that_it_takes() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let smallest = taking(granted().bytes(V5).len(), lasting(V5, "bob", 100));
        let bob = broker.join(smallest);
        bob.subscribe("a", Q2);
        for publish in [qos1(1, "a", "x"), qos2(2, "a", "x")] {
            ann.send(publish);
            ann.hear();
        }
        bob.expect_all(&[&qos1(1, "a", "x"), &qos2(2, "a", "x")]);
        bob.send(pubrec(2));
        assert_eq!(bob.hear(), hex("62020002"));
        bob.send(pubrec(9));
        assert_eq!(bob.hear(), hex("6203000992"));
        bob.send(pubrel(9));
        assert_eq!(bob.hear(), hex("7003000992"));
        bob.send(qos1(3, "nobody", "x"));
        assert_eq!(bob.hear(), hex("4003000310"));
        bob.send(qos2(4, "$SYS/x", "x"));
        assert_eq!(bob.hear(), hex("5003000487"));
        bob.send(unsubscribe(5, &["b"]));
        assert_eq!(bob.hear(), hex("b00400050011"));
        bob.expect_alive();
        bob.vanish();
        let bob = broker.rejoin(smallest);
        bob.expect_all(&[&qos1(1, "a", "x").again(), &pubrel(2)]);
        bob.send_hex("c001ff");
        assert_eq!(bob.hear(), hex("e0028100"));
        bob.expect_close();
    });
}

/// [MQTT-3.1.2-24] [MQTT-3.9.2-2]: a SUBACK at the maximum is sent; one that cannot be sent ends the connection, and nothing
/// of its SUBSCRIBE is left.
#[test]
fn a_suback_above_the_maximum_packet_size_ends_the_connection() {
    everywhere(|broker| {
        let filters: Vec<String> = (0..16).map(|number| number.to_string()).collect();
        let all = |count: usize| {
            let request = subscribe(1);
            filters.iter().take(count).fold(request, |request, filter| request.to(filter, Q0))
        };
        let bob = broker.join(taking(20, lasting(V5, "bob", 100)));
        bob.send(all(15));
        bob.expect(suback(1, &[0; 15]));
        let before = broker.sizes().subscriptions;
        bob.send(all(16));
        bob.expect_disconnect(ReasonCode::PacketTooLarge);
        assert_eq!(broker.sizes().subscriptions, before);
    });
}

/// [MQTT-3.1.2-24] [MQTT-3.11.2-2]: the same of UNSUBACK: what cannot be confirmed is not done.
#[test]
fn an_unsuback_above_the_maximum_packet_size_ends_the_connection() {
    everywhere(|broker| {
        let bob = broker.join(taking(20, lasting(V5, "bob", 100)));
        bob.subscribe("a", Q0);
        bob.send(unsubscribe(1, &["x"; 15]));
        bob.expect(unsuback(1, &[0x11; 15]));
        bob.send(unsubscribe(2, &["a"; 16]));
        bob.expect_disconnect(ReasonCode::PacketTooLarge);
        broker.connect(V5, "ann").send(qos0("a", "x"));
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect_nothing();
        broker.connect(V5, "ann").send(qos0("a", "y"));
        bob.expect(qos0("a", "y"));
    });
}

/// Ends the connection of a client from the broker's side.
type Cause<'a> = &'a dyn Fn(&Broker, &Peer);

/// [MQTT-3.14.2-2]: whatever ends the connection of a client with a Session Expiry Interval, the broker's DISCONNECT has none.
#[test]
fn a_disconnect_of_the_broker_has_no_session_expiry() {
    everywhere(|broker| {
        let causes: [Cause; 3] = [
            &|_, bob| bob.send_hex("c001ff"),
            &|broker, _| broker.join(Connect { clean_start: true, ..lasting(V5, "bob", 50) }).ignore_rest(),
            &|broker, _| broker.stop(),
        ];
        for cause in causes {
            let bob = broker.join(Connect { clean_start: true, ..lasting(V5, "bob", 50) });
            cause(broker, &bob);
            bob.hear_packet(|packet| {
                let Packet::Disconnect(disconnect) = packet else { panic!("{packet:?}") };
                let mut properties = disconnect.properties.iter();
                assert!(properties.all(|property| matches!(property, Property::ReasonString(_))), "{disconnect:?}");
            });
            bob.expect_close();
        }
    });
}

/// [MQTT-3.1.2-28]: Response Information is never sent, whether it was asked for or not.
#[test]
fn no_response_information_is_sent() {
    everywhere(|broker| {
        for request_response_information in [false, true] {
            let bob = broker.dial(V5);
            bob.send(Connect { request_response_information, ..Connect::new(V5, "bob") });
            bob.expect(granted());
            bob.leave();
        }
    });
}
