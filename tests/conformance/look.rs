//! Questions to a running shard: what operators see is what is so.
//!
//! Duty: answers of `shard/look` against what clients have done, and the operator's end of a connection. Must not: test how an
//! answer is shown (`tests/live/room`). Neighbours: `src/shard/look.rs`; `broker` asks.

use ringmq::id::Millis;
use ringmq::limits::Limits;
use ringmq::session::{Pressure, Search};
use ringmq::shard::{Audience, ClientChoice, ClientState, Input, LOOK_SESSIONS_MAX};
use ringmq::topic::{TopicFilter, TopicName};
use ringmq::wire::{Connect, LastWill, Property, ProtocolVersion, QoS, ReasonCode};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;

/// All clients of all shards, by pieces of so many.
fn clients(broker: &Broker, choice: &ClientChoice, most: usize) -> Vec<ClientState> {
    let mut all = Vec::new();
    for shard in 0..broker.shards() {
        let mut from = Some(0);
        while let Some(start) = from {
            let page = broker.look(shard, |shard, outbox| shard.clients(start, choice, most, outbox));
            assert!(page.clients.len() <= most);
            all.extend(page.clients);
            from = page.next;
        }
    }
    all.sort_by(|one, other| one.client_id.cmp(&other.client_id));
    all
}

fn names(clients: &[ClientState]) -> Vec<&str> {
    clients.iter().map(|client| &*client.client_id).collect()
}

#[test]
fn every_client_is_listed_once_whatever_the_size_of_the_pieces() {
    everywhere(|broker| {
        let peers: Vec<_> = (0..20).map(|number| broker.join(lasting(V5, &format!("c{number:02}"), 100))).collect();
        peers.iter().step_by(2).for_each(|peer| peer.vanish());
        let all: Vec<String> = (0..20).map(|number| format!("c{number:02}")).collect();
        for most in [1, 3, 1000] {
            assert_eq!(names(&clients(broker, &ClientChoice::default(), most)), all);
            let away = ClientChoice { is_connected: Some(false), ..ClientChoice::default() };
            assert_eq!(clients(broker, &away, most).len(), 10);
            let choice = ClientChoice { part: "c1".into(), is_connected: Some(true) };
            assert_eq!(names(&clients(broker, &choice, most)), ["c11", "c13", "c15", "c17", "c19"]);
        }
    });
}

/// A long list comes in pieces of a bounded number of sessions, also when few of them are wanted.
#[test]
fn a_question_looks_at_so_many_sessions_and_no_more() {
    let broker = Broker::with(1, Limits::default());
    let _peers: Vec<_> = (0..LOOK_SESSIONS_MAX + 10).map(|number| broker.connect(V5, &format!("c{number}"))).collect();
    let choice = ClientChoice { part: format!("c{LOOK_SESSIONS_MAX}").into(), ..ClientChoice::default() };
    let first = broker.look(0, |shard, outbox| shard.clients(0, &choice, 100, outbox));
    assert_eq!((first.clients.len(), first.next), (0, Some(LOOK_SESSIONS_MAX)));
    let second = broker.look(0, |shard, outbox| shard.clients(LOOK_SESSIONS_MAX, &choice, 100, outbox));
    assert_eq!((second.clients.len(), second.next), (1, None));
}

#[test]
fn a_client_is_described_as_it_is() {
    everywhere(|broker| {
        let will = LastWill { retain: true, ..will(Q1, "gone", "bye") };
        let bob = broker.join(Connect { receive_maximum: Some(2), last_will: Some(will), ..lasting(V5, "bob", 100) });
        bob.subscribe("a/#", Q1);
        bob.subscribe("b", Q0);
        let ann = broker.connect(V5, "ann");
        (1..=3).for_each(|packet_id| ann.send(qos1(packet_id, "a/b", "four")));
        let owner = broker.owner("bob").index();
        let detail = broker.look(owner, |shard, outbox| shard.client("bob", outbox)).expect("there is one");
        let state = &detail.state;
        assert_eq!(
            (&*state.client_id, state.version, state.connection.is_some()),
            ("bob", Some(ProtocolVersion::V5), true)
        );
        assert_eq!((state.subscriptions, state.in_flight, state.window, state.queued), (2, 2, 2, 1));
        assert_eq!((state.expiry_secs, state.ends_at, state.pressure), (100, None, Pressure::None));
        assert!(state.queue_bytes > 0 && state.held_bytes > state.queue_bytes && state.arrears() > 0);
        let filters: Vec<_> =
            detail.subscriptions.iter().map(|(filter, options, _)| (&**filter, options.qos)).collect();
        assert_eq!(filters, [("a/#", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)]);
        let will = detail.will.expect("it has one");
        assert_eq!((&*will.topic, will.qos, will.retain, will.payload_bytes), ("gone", QoS::AtLeastOnce, true, 3));
        let waiting = broker.look(owner, |shard, _| shard.waiting_messages("bob", 10)).expect("there is one");
        let rows: Vec<_> = waiting.iter().map(|row| (&*row.topic, row.payload_bytes, row.is_in_flight)).collect();
        assert_eq!(rows, [("a/b", 4, true), ("a/b", 4, true), ("a/b", 4, false)]);
        bob.vanish();
        let gone = broker.look(owner, |shard, outbox| shard.client("bob", outbox)).expect("its session is");
        assert_eq!((gone.state.connection, gone.state.ends_at), (None, Some(Millis(100_000))));
        assert!(broker.look(owner, |shard, outbox| shard.client("nobody", outbox)).is_none());
        ann.ignore_rest();
        bob.ignore_rest();
    });
}

#[test]
fn who_keeps_most_waiting_comes_first() {
    let broker = Broker::with(1, Limits::default());
    let ann = broker.connect(V5, "ann");
    for (client_id, messages) in [("few", 1), ("many", 9), ("some", 5), ("none", 0)] {
        let peer = broker.join(lasting(V5, client_id, 100));
        peer.subscribe(client_id, Q1);
        peer.vanish();
        (0..messages).for_each(|number| ann.send(qos1(number + 1, client_id, "x")));
    }
    let slowest = broker.look(0, |shard, outbox| shard.slowest_clients(0, 2, outbox));
    assert_eq!(names(&slowest.clients), ["many", "some"]);
    let all = broker.look(0, |shard, outbox| shard.slowest_clients(0, 10, outbox));
    assert_eq!(names(&all.clients), ["many", "some", "few"], "who waits for nothing is not among them");
    ann.ignore_rest();
}

#[test]
fn the_audience_of_a_topic_is_who_would_get_it() {
    everywhere(|broker| {
        let (bob, cat) = (broker.connect(V5, "bob"), broker.join(lasting(V5, "cat", 100)));
        bob.subscribe("a/+", Q0);
        bob.subscribe("a/b", Q1);
        cat.subscribe("#", Q0);
        cat.vanish();
        let dan = broker.connect(V5, "dan");
        dan.subscribe("$share/g/a/b", Q1);
        dan.send(qos0("a/b", "kept").retained());
        let audiences: Vec<Audience> = (0..broker.shards())
            .map(|shard| broker.look(shard, |shard, _| shard.audience(TopicName::trusted("a/b"))))
            .collect();
        let mut clients: Vec<_> = audiences.iter().flat_map(|audience| audience.clients.clone()).collect();
        clients.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        assert_eq!(clients, [("bob".into(), true, QoS::AtLeastOnce), ("cat".into(), false, QoS::AtMostOnce)]);
        assert_eq!(audiences.iter().map(|audience| audience.clients_in_all).sum::<usize>(), 2);
        for audience in &audiences {
            assert_eq!(audience.groups, [("$share/g/a/b".into(), 1)], "each shard knows of it");
            assert!(audience.is_retained && !audience.is_too_wide);
        }
        bob.ignore_rest();
        dan.ignore_rest();
    });
}

/// Also over changes of subscriptions, which make the broker forget what it has remembered of topics.
#[test]
fn topics_are_ranked_by_what_is_published_to_them() {
    let broker = Broker::with(1, Limits::default());
    let ann = broker.connect(V5, "ann");
    for round in 0..4 {
        for (topic, messages) in [("hot", 50), ("warm", 20), ("cold", 1)] {
            (0..messages).for_each(|_| ann.send(qos0(topic, "x")));
        }
        ann.subscribe(&format!("other/{round}"), Q0);
    }
    let page = broker.look(0, |shard, _| shard.published_topics(0));
    let mut hottest = page.topics;
    hottest.sort_by_key(|(_, published)| std::cmp::Reverse(*published));
    let topics: Vec<_> = hottest.iter().map(|(topic, _)| &**topic).collect();
    assert_eq!((topics, page.next), (vec!["hot", "warm", "cold"], None));
    // The first message of a topic is not yet one that comes again.
    assert_eq!(hottest.iter().map(|(_, published)| *published).collect::<Vec<_>>(), [199, 79, 3]);
}

#[test]
fn retained_messages_are_found_by_filter_and_by_topic() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for topic in ["a/1", "a/2", "b/1"] {
            ann.send(qos0(topic, topic).retained());
        }
        ann.send(qos0("a/ends", "x").retained().with(&[Property::MessageExpiryInterval(5)]));
        broker.at(6);
        for shard in 0..broker.shards() {
            let now = broker.now();
            let filter = TopicFilter::trusted("a/#");
            let page = broker.look(shard, |shard, _| shard.retained_messages(now, filter, Search::Begin));
            let mut topics: Vec<_> = page.messages.iter().map(|message| message.topic().to_owned()).collect();
            topics.sort();
            assert_eq!((topics, page.next.is_none()), (vec!["a/1".to_owned(), "a/2".to_owned()], true));
            let one = |topic| broker.look(shard, |shard, _| shard.retained_message(now, TopicName::trusted(topic)));
            assert_eq!(one("b/1").expect("it is there").view().payload, b"b/1");
            assert!(one("a/ends").is_none() && one("c").is_none());
        }
    });
}

/// Section 3.14.2.1, 0x98: the session stays unless it is to end, and the will is published, as the client has not said goodbye.
#[test]
fn an_operator_ends_a_connection_and_the_session_if_that_is_wanted() {
    everywhere_with(&Limits::default(), |broker| {
        let ann = broker.connect(V5, "ann");
        ann.subscribe("gone", Q0);
        for ends_session in [false, true] {
            let last = Connect { last_will: Some(will(Q0, "gone", "bye")), ..lasting(V5, "bob", 100) };
            let bob = broker.join(last);
            broker.tell(broker.owner("bob").index(), Input::Kick { client_id: "bob".into(), ends_session });
            bob.expect_disconnect(ReasonCode::AdministrativeAction);
            ann.expect(qos0("gone", "bye"));
            assert_eq!(broker.sizes().sessions, if ends_session { 1 } else { 2 });
            if !ends_session {
                broker.tell(broker.owner("bob").index(), Input::Kick { client_id: "bob".into(), ends_session: true });
                assert_eq!(broker.sizes().sessions, 1, "also that of a client who is away");
            }
        }
        broker.tell(0, Input::Kick { client_id: "nobody".into(), ends_session: true });
    });
}

/// What operators see of queues and windows adds up, on each shard.
#[test]
fn gauges_say_what_waits_and_what_is_on_its_way() {
    everywhere(|broker| {
        let bob = broker.join(Connect { receive_maximum: Some(2), ..lasting(V5, "bob", 100) });
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        (1..=5).for_each(|packet_id| ann.send(qos1(packet_id, "a", "x")));
        assert_eq!((broker.gauges().queued_messages, broker.gauges().in_flight), (3, 2));
        bob.expect(qos1(1, "a", "x"));
        bob.send(puback(1));
        assert_eq!((broker.gauges().queued_messages, broker.gauges().in_flight), (2, 2));
        bob.vanish();
        broker.at(101);
        assert_eq!((broker.gauges().queued_messages, broker.gauges().in_flight), (0, 0));
        ann.ignore_rest();
        bob.ignore_rest();
    });
}
