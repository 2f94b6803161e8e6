//! What the operator is told, as data: who came, who was denied what and why, who subscribed to what.
//!
//! Duty: prove that it is told, with all its parts, and not too often. Must not: test how a line of the log looks (`runtime`).
//! Neighbours: `rights` tests the denials themselves.

use std::sync::Arc;

use ringmq::auth::{Access, Acl, Policy, Rules};
use ringmq::limits::Limits;
use ringmq::shard::{Cause, Event};
use ringmq::wire::Connect;

use super::broker::Broker;
use super::identity::as_user;
use super::packets::*;

fn everywhere(policy: &Policy, conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, Limits::default(), policy.clone()));
    }
}

/// Case O01: user, client id, access, topic and rule; one line of a flood, and all of it counted.
#[test]
fn a_denial_is_told_with_its_rule_and_not_too_often() {
    let acl = Some(Arc::new(Acl::parse("user alice\ntopic a\ntopic deny b\n").expect("a good file")));
    let rules = Rules { acl, acl_name: "rights".into(), ..Rules::default() };
    everywhere(&Policy { rules: vec![rules], ..Policy::default() }, |broker| {
        let alice = broker.join(as_user(Connect::new(V5, "ann"), "alice", ""));
        broker.take_events();
        let denials_at = |millis| {
            broker.at_millis(millis);
            alice.send(qos0("b", "x"));
            alice.send(qos0("c", "x"));
            let events = broker.take_events().into_iter();
            let denials = events.map(|event| match event {
                Event::Denied { client_id, user, access: Access::Publish, topic, rule, .. } => {
                    format!("{client_id} {} {topic} {rule}", user.unwrap_or_default())
                }
                other => panic!("{other:?}"),
            });
            denials.collect::<Vec<_>>()
        };
        let told = ["ann alice b rights:3"];
        assert_eq!(denials_at(1000), told);
        assert!(denials_at(1099).is_empty());
        assert_eq!(denials_at(1100), told);
        assert_eq!(broker.count(|counters| counters.publishes_denied), 6);
        alice.leave();
    });
}

/// Case O01: the filter stands where the topic would.
#[test]
fn a_refused_subscription_is_told_as_a_denial() {
    let acl = Some(Arc::new(Acl::parse("topic read a\n").expect("a good file")));
    let rules = Rules { acl, acl_name: "rights".into(), refuses_useless_subscriptions: true, ..Rules::default() };
    everywhere(&Policy { rules: vec![rules], ..Policy::default() }, |broker| {
        let ann = broker.connect(V5, "ann");
        broker.take_events();
        ann.send(subscribe(1).to("b/+", Q0));
        ann.expect(suback(1, &[0x87]));
        let [Event::Denied { access: Access::Receive, topic, rule, .. }] = &broker.take_events()[..] else {
            panic!("it is not told");
        };
        assert_eq!((&**topic, &**rule), ("b/+", "no line of rights allows it"));
        ann.leave();
    });
}

/// `log_type subscribe` and `unsubscribe`: told where it is wanted, with the filter and the QoS that was granted.
#[test]
fn a_subscription_is_told_if_the_policy_wants_it() {
    for tells_subscriptions in [false, true] {
        everywhere(&Policy { tells_subscriptions, ..Policy::default() }, |broker| {
            let ann = broker.connect(V5, "ann");
            broker.take_events();
            ann.send(subscribe(1).to("a/+", Q1));
            ann.expect(suback(1, &[1]));
            ann.send(unsubscribe(2, &["a/+"]));
            ann.hear();
            let told = broker.take_events().into_iter().map(|event| match event {
                Event::Subscribed { client_id, filter, qos, .. } => format!("{client_id} {filter} {}", qos as u8),
                Event::Unsubscribed { client_id, filter, .. } => format!("{client_id} {filter}"),
                other => panic!("{other:?}"),
            });
            let expected = if tells_subscriptions { vec!["ann a/+ 1", "ann a/+"] } else { Vec::new() };
            assert_eq!(told.collect::<Vec<_>>(), expected);
            ann.leave();
        });
    }
}

/// Who comes and goes, with what was agreed and the cause.
#[test]
fn a_client_is_told_when_it_comes_and_when_it_goes() {
    everywhere(&Policy::default(), |broker| {
        let ann = broker.join(Connect { keep_alive_secs: 7, ..as_user(Connect::new(V311, "ann"), "alice", "") });
        ann.leave();
        let told = broker.take_events().into_iter().map(|event| match event {
            Event::Connected { client_id, user, version, clean_start, keep_alive_secs, .. } => {
                assert!(version == V311 && clean_start);
                format!("{client_id} {} {keep_alive_secs}", user.unwrap_or_default())
            }
            Event::Disconnected { client_id, cause: Cause::ClientDisconnected, .. } => format!("{client_id} goes"),
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), ["ann alice 7", "ann goes"]);
    });
}
