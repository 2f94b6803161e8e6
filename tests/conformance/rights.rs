//! What a client may publish and receive, by the rules of an ACL file (rows A of the case list).
//!
//! Duty: prove that rights hold where stored state is used too: subscriptions, queues, windows, retained messages, wills,
//! aliases. Must not: test how a file is read (`auth`) or who a client is (`identity`). Neighbours: `broker` takes the rules.

use std::sync::Arc;

use ringmq::auth::{Acl, Policy, Rules, Terms};
use ringmq::limits::Limits;
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Property, Publish, QoS, ReasonCode};

use super::broker::Broker;
use super::identity::{as_user, users};
use super::packets::*;
use super::peer::Peer;

const RIGHTS: &str =
    "topic read open/#\nuser alice\ntopic readwrite a/#\nuser bob\ntopic readwrite b/#\nuser admin\ntopic #\n";

/// The usual rights without a line.
fn revoked(line: &str) -> Policy {
    assert!(RIGHTS.contains(line));
    policy(&RIGHTS.replace(line, ""))
}

fn policy(text: &str) -> Policy {
    let acl = Some(Arc::new(Acl::parse(text).expect("a good file")));
    let passwords = users(&["alice", "bob", "admin"]);
    Policy { rules: vec![Rules { passwords, acl, acl_name: "acl".into(), ..Rules::default() }], ..Policy::default() }
}

fn everywhere(conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, Limits::default(), policy(RIGHTS)));
    }
}

fn as_alice(connect: Connect<'_>) -> Connect<'_> {
    as_user(connect, "alice", "ecila")
}

fn admin(broker: &Broker, client_id: &str) -> Peer {
    broker.join(as_user(Connect::new(V5, client_id), "admin", "nimda"))
}

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    qos0(topic, payload).retained()
}

/// Cases A01 and A02 [v3.1.1 MQTT-3.3.5-2]: counted, told to 5.0, acknowledged to 3.x; neither delivered nor retained, however often it
/// is sent.
#[test]
fn a_publish_without_the_right_goes_nowhere() {
    everywhere(|broker| {
        let bob = admin(broker, "bob");
        bob.subscribe("#", Q2);
        let denied = ReasonCode::NotAuthorized;
        for version in DIALECTS {
            let alice = broker.join(as_alice(Connect::new(version, "ann")));
            let is_v5 = version == V5;
            for packet_id in [1, 3] {
                alice.send(retained("b/x", "0"));
                alice.send(qos1(packet_id, "b/x", "1"));
                alice.expect(if is_v5 { because(denied, puback(packet_id)) } else { puback(packet_id) });
                alice.send(qos2(packet_id + 1, "b/x", "2"));
                alice.expect(if is_v5 { because(denied, pubrec(packet_id + 1)) } else { pubrec(packet_id + 1) });
                if !is_v5 {
                    alice.send(pubrel(packet_id + 1));
                    alice.expect(pubcomp(packet_id + 1));
                }
            }
            for _ in 0..3 {
                alice.send(qos0("a/x", "may"));
                bob.expect(qos0("a/x", "may"));
            }
            alice.leave();
        }
        bob.expect_nothing();
        assert_eq!(broker.sizes().retained_messages, 0);
        assert_eq!(broker.count(|counters| counters.publishes_denied), DIALECTS.len() as u64 * 6);
    });
}

/// As Mosquitto: every SUBSCRIBE is granted, and what may not be read is not delivered, live or retained.
#[test]
fn a_subscription_brings_what_may_be_read_and_nothing_else() {
    everywhere(|broker| {
        let admin = admin(broker, "cat");
        admin.send(retained("a/r", "yes"));
        admin.send(retained("b/r", "no"));
        for client_id in ["ann", "bob"] {
            let alice = broker.join(as_alice(Connect::new(V5, client_id)));
            alice.subscribe("#", Q1);
            alice.expect(retained("a/r", "yes"));
            for _ in 0..3 {
                admin.send(qos0("b/x", "no"));
                admin.send(qos0("a/x", "yes"));
                alice.expect(qos0("a/x", "yes"));
            }
            alice.leave();
        }
        admin.leave();
    });
}

/// Cases A03 and A05: where it is asked for, a SUBSCRIBE that can bring nothing is refused.
#[test]
fn a_strict_listener_refuses_a_subscription_that_can_bring_nothing() {
    for shards in [1, 2] {
        let mut policy = policy(RIGHTS);
        policy.rules[0].refuses_useless_subscriptions = true;
        let broker = Broker::under(shards, Limits::default(), policy);
        for version in [V311, V5] {
            let alice = broker.join(as_alice(Connect::new(version, "ann")));
            let no = if version == V5 { ReasonCode::NotAuthorized as u8 } else { 0x80 };
            alice.send(subscribe(1).to("b/x", Q1).to("a/+", Q1).to("$share/g/b/#", Q0).to("+/x", Q0));
            alice.expect(suback(1, &[no, 1, no, 0]));
            alice.leave();
        }
        assert_eq!(broker.count(|counters| counters.subscriptions_denied), 4);
    }
}

/// Case A06: it goes to a member who may have it.
#[test]
fn a_shared_message_goes_round_among_those_who_may_have_it() {
    everywhere(|broker| {
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        let other = admin(broker, "bob");
        for member in [&alice, &other] {
            member.subscribe("$share/g/#", Q1);
        }
        let publisher = admin(broker, "cat");
        for packet_id in 1..=6 {
            publisher.send(qos1(packet_id, "b/x", "secret"));
            publisher.expect(puback(packet_id));
            other.expect(qos1(packet_id, "b/x", "secret"));
        }
        alice.expect_nothing();
        publisher.leave();
        alice.leave();
        other.leave();
    });
}

/// Case A07: from the reload on.
#[test]
fn a_right_that_is_revoked_is_gone_for_who_has_subscribed_and_who_publishes() {
    everywhere(|broker| {
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        alice.subscribe("#", Q0);
        let publisher = admin(broker, "bob");
        for _ in 0..3 {
            publisher.send(qos0("a/x", "1"));
            alice.expect(qos0("a/x", "1"));
            alice.send(qos0("a/x", "2"));
            alice.expect(qos0("a/x", "2"));
        }
        broker.rule(revoked("topic readwrite a/#\n"));
        publisher.send(qos0("a/x", "3"));
        alice.send(qos1(1, "a/x", "4"));
        alice.expect(because(ReasonCode::NotAuthorized, puback(1)));
        alice.expect_nothing();
        broker.rule(policy(RIGHTS));
        publisher.send(qos0("a/x", "5"));
        alice.expect(qos0("a/x", "5"));
        publisher.leave();
        alice.leave();
    });
}

/// Case A09, and queued messages: neither sent nor sent again.
#[test]
fn what_waits_for_a_client_is_looked_at_again_when_rights_have_changed() {
    everywhere(|broker| {
        let connect = || as_alice(Connect { receive_maximum: Some(1), ..lasting(V5, "ann", 3600) });
        let alice = broker.join(connect());
        alice.subscribe("a/#", Q1);
        let publisher = admin(broker, "bob");
        for (packet_id, topic) in (1..).zip(["a/1", "a/2", "a/3", "a/2"]) {
            publisher.send(qos1(packet_id, topic, "m"));
            publisher.expect(puback(packet_id));
        }
        alice.expect(qos1(1, "a/1", "m"));
        alice.vanish();
        broker.rule(policy(&RIGHTS.replace("user bob", "topic deny a/1\ntopic deny a/2\nuser bob")));
        let alice = broker.rejoin(connect());
        alice.expect(qos1(3, "a/3", "m"));
        alice.send(puback(3));
        alice.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Denied)), 2);
        assert_eq!(broker.count(|counters| counters.abandoned_in_flight), 1);
        alice.leave();
        publisher.leave();
    });
}

/// Also where there were no rights to ask for before, or there are none any more.
#[test]
fn what_waits_is_looked_at_again_when_the_first_rights_come() {
    for shards in [1, 2] {
        let broker = Broker::under(shards, Limits::default(), Policy::default());
        let ann = broker.join(lasting(V5, "ann", 3600));
        ann.subscribe("#", Q1);
        ann.leave();
        let publisher = broker.connect(V5, "bob");
        for (packet_id, topic) in [(1, "open/x"), (2, "a/x")] {
            publisher.send(qos1(packet_id, topic, "m"));
            publisher.expect(puback(packet_id));
        }
        let policy = policy(RIGHTS);
        broker.rule(Policy { rules: vec![Rules { passwords: None, ..policy.rules[0].clone() }], ..policy });
        let ann = broker.rejoin(lasting(V5, "ann", 3600));
        ann.expect(qos1(1, "open/x", "m"));
        ann.send(puback(1));
        ann.expect_nothing();
        broker.rule(Policy::default());
        publisher.send(qos1(3, "a/x", "m"));
        publisher.expect(puback(3));
        ann.expect(qos1(3, "a/x", "m"));
        ann.leave();
    }
}

/// [MQTT-3.3.2-8]: new rules change nothing of what was agreed with a client about aliases.
#[test]
fn aliases_go_on_when_rules_change() {
    everywhere(|broker| {
        let connect = Connect { topic_alias_maximum: 1, ..Connect::new(V5, "cat") };
        let reader = broker.join(as_user(connect, "admin", "nimda"));
        reader.subscribe("a/#", Q0);
        let publisher = admin(broker, "bob");
        publisher.send(qos0("a/x", "m"));
        reader.expect(qos0("a/x", "m").with(&[Property::TopicAlias(1)]));
        broker.rule(revoked("topic readwrite b/#\n"));
        publisher.send(qos0("a/x", "m"));
        reader.expect(qos0("", "m").with(&[Property::TopicAlias(1)]));
        publisher.leave();
        reader.leave();
    });
}

/// Case S01: what waits in a session that had no owner is not what its first user gets, unless that user may read it; nor is what
/// was known of the topics.
#[test]
fn what_waits_for_nobody_is_looked_at_again_for_the_user_who_adopts_it() {
    everywhere(|broker| {
        let nobody = broker.join(lasting(V5, "ann", 3600));
        nobody.subscribe("#", Q1);
        nobody.leave();
        let publisher = admin(broker, "bob");
        let publish = |packet_id, topic| {
            publisher.send(qos1(packet_id, topic, "m"));
            publisher.hear();
        };
        publish(1, "open/x");
        publish(2, "a/x");
        assert_eq!(broker.sizes().queued_messages, 1, "of the two, nobody may read one");
        let alice = broker.rejoin(as_alice(lasting(V5, "ann", 3600)));
        alice.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Denied)), 1);
        publish(3, "open/x");
        publish(4, "a/x");
        alice.expect(qos1(2, "a/x", "m"));
        alice.leave();
    });
}

/// The same where another listener has other rules.
#[test]
fn what_waits_is_looked_at_again_for_a_client_that_comes_by_another_listener() {
    let open = policy("topic read #\n").rules.remove(0);
    let (narrow, listeners) = (policy("topic read b/#\n").rules.remove(0), [0, 1]);
    let listeners = listeners.map(|rules| Terms { rules, ..Terms::default() }).to_vec();
    let policy = Policy { rules: vec![open, narrow], listeners, ..Policy::default() };
    for shards in [1, 2] {
        let broker = Broker::under(shards, Limits::default(), policy.clone());
        let ann = broker.join(lasting(V5, "ann", 3600));
        ann.subscribe("#", Q1);
        ann.leave();
        let publisher = broker.connect(V5, "bob");
        broker.rule(Policy { rules: vec![Rules::default(), policy.rules[1].clone()], ..policy.clone() });
        publisher.send(qos1(1, "a", "m"));
        publisher.expect(puback(1));
        let ann = broker.dial_by(1, V5);
        ann.send(lasting(V5, "ann", 3600));
        ann.expect_admission(true);
        ann.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Denied)), 1);
        ann.leave();
    }
}

/// Case A11: what its publisher may no longer publish is not sent, unless that is not asked for.
#[test]
fn a_retained_message_is_as_good_as_the_right_of_its_publisher() {
    for (shards, checks_retain_source) in [(1, true), (2, true), (2, false)] {
        let mut without = revoked("topic readwrite a/#\n");
        without.rules[0].checks_retain_source = checks_retain_source;
        let broker = Broker::under(shards, Limits::default(), policy(RIGHTS));
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        alice.send(retained("a/r", "m"));
        alice.leave();
        broker.rule(without);
        let reader = admin(&broker, "bob");
        reader.send(subscribe(1).to("a/r", Q0));
        reader.expect(suback(1, &[0]));
        if !checks_retain_source {
            reader.expect(retained("a/r", "m"));
        }
        reader.expect_nothing();
        reader.leave();
    }
}

/// Cases A13 and A14: asked for at CONNECT, and again when it is published.
#[test]
fn a_will_needs_the_right_to_be_published() {
    everywhere(|broker| {
        let mourner = admin(broker, "bob");
        mourner.subscribe("#", Q0);
        let with_will =
            |topic| Connect { last_will: Some(will(Q0, topic, "gone")), ..as_alice(Connect::new(V5, "ann")) };
        let refused = broker.dial(V5);
        refused.send(with_will("b/x"));
        refused.expect_refusal(ReasonCode::NotAuthorized);
        broker.join(with_will("a/x")).vanish();
        mourner.expect(qos0("a/x", "gone"));
        let alice = broker.join(with_will("a/x"));
        broker.rule(revoked("topic readwrite a/#\n"));
        alice.vanish();
        mourner.expect_nothing();
        assert_eq!(broker.count(|counters| counters.publishes_denied), 2);
        mourner.leave();
    });
}

/// Case A21: an alias is not a right.
#[test]
fn a_topic_alias_is_asked_for_each_time() {
    everywhere(|broker| {
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        let aliased = |packet_id, topic| qos1(packet_id, topic, "m").with(&[Property::TopicAlias(1)]);
        alice.send(aliased(1, "a/x"));
        alice.expect(unmatched(puback(1)));
        broker.rule(revoked("topic readwrite a/#\n"));
        alice.send(aliased(2, ""));
        alice.expect(because(ReasonCode::NotAuthorized, puback(2)));
        alice.leave();
    });
}

/// Case A10: it was routed when it came, so the rest of the handshake is only that.
#[test]
fn a_qos_2_message_that_was_allowed_is_brought_to_its_end() {
    everywhere(|broker| {
        let reader = admin(broker, "bob");
        reader.subscribe("a/x", Q0);
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        alice.send(qos2(1, "a/x", "m"));
        alice.expect(pubrec(1));
        reader.expect(qos0("a/x", "m"));
        broker.rule(revoked("topic readwrite a/#\n"));
        alice.send(pubrel(1));
        alice.expect(pubcomp(1));
        reader.expect_nothing();
        alice.leave();
        reader.leave();
    });
}

/// Case A22: nobody but the receiver follows a response topic.
#[test]
fn a_response_topic_is_no_way_round_the_rights() {
    everywhere(|broker| {
        let reader = admin(broker, "bob");
        reader.subscribe("#", Q0);
        let alice = broker.join(as_alice(Connect::new(V5, "ann")));
        let asking = qos0("a/x", "m").with(&[Property::ResponseTopic("b/x")]);
        alice.send(asking.clone());
        reader.expect(asking);
        reader.expect_nothing();
        alice.leave();
        reader.leave();
    });
}

/// Clients without a name have the lines before the first user.
#[test]
fn clients_without_a_name_have_rights_of_their_own() {
    everywhere(|broker| {
        let anybody = broker.connect(V5, "ann");
        anybody.subscribe("#", Q0);
        let publisher = admin(broker, "bob");
        for topic in ["a/x", "open/x", "open"] {
            publisher.send(qos0(topic, "m"));
        }
        anybody.expect_all(&[&qos0("open/x", "m"), &qos0("open", "m")]);
        anybody.send(qos1(1, "open/x", "m"));
        anybody.expect(because(ReasonCode::NotAuthorized, puback(1)));
        publisher.leave();
        anybody.leave();
    });
}

/// Case A18: `$` topics are not the clients', whatever the file says.
#[test]
fn no_line_allows_to_publish_to_a_dollar_topic() {
    let broker = Broker::under(2, Limits::default(), policy("user admin\ntopic readwrite $SYS/#\ntopic #\n"));
    let admin = admin(&broker, "ann");
    admin.subscribe("$SYS/#", QoS::AtMostOnce);
    admin.send(qos1(1, "$SYS/x", "m"));
    admin.expect(because(ReasonCode::NotAuthorized, puback(1)));
    admin.leave();
}
