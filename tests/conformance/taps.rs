//! Taps: whoever watches a client or a topic sees what passes, and nothing else changes.
//!
//! Duty: what is shown of packets in both directions and of messages; bounds. Must not: test how it is carried or printed
//! (`tests/live/room`). Neighbours: `src/shard/tap.rs`.

use ringmq::shard::{Flush, Shown, TAPPED_BYTES_MAX, Tap, Tapped, TraceContext};
use ringmq::wire::{Connect, PINGREQ, Property};

use super::broker::{Broker, everywhere};
use super::packets::*;

/// What was shown since the last time, of all shards: client, direction or message, bytes.
fn shown(broker: &Broker) -> Vec<(String, &'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for shard in 0..broker.shards() {
        let tapped: Vec<Tapped> = broker.act(shard, |shard, outbox| {
            shard.end_taps(outbox);
            std::mem::take(&mut outbox.tapped)
        });
        all.extend(tapped.into_iter().map(|Tapped { client_id, what, .. }| match what {
            Shown::Packets { is_sent: false, bytes, .. } => (client_id.into(), "in", bytes),
            Shown::Packets { is_sent: true, bytes, .. } => (client_id.into(), "out", bytes),
            Shown::Message { topic, payload, .. } => {
                (client_id.into(), "message", [topic.as_bytes(), b" ", &payload].concat())
            }
            Shown::Sampled { context, topic, troubles, .. } => {
                let TraceContext { trace_id, parent_id, state } = context;
                let text = format!("{trace_id:x} {parent_id:x} {state} {topic} {troubles:?}");
                (client_id.into(), "sampled", text.into_bytes())
            }
            Shown::Lost(lost) => (client_id.into(), "lost", lost.to_string().into_bytes()),
        }));
    }
    all
}

fn everybody_watches(broker: &Broker, tap: &Tap) {
    (0..broker.shards()).for_each(|shard| broker.act(shard, |shard, _| shard.tap(7, tap.clone())));
}

#[test]
fn all_packets_of_a_watched_client_are_shown_as_they_came_from_its_connect_on() {
    everywhere(|broker| {
        everybody_watches(broker, &Tap::Client("bob".into()));
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
        ann.send(qos0("a", "not seen"));
        assert_eq!(shown(broker), [("bob".into(), "in", Connect::new(V5, "bob").bytes(V5))]);
        bob.subscribe("b", Q0);
        bob.send_pieces(&[qos0("a", "1").bytes(V5), qos1(1, "a", "2").bytes(V5)]);
        bob.hear();
        let seen: Vec<u8> = shown(broker).into_iter().flat_map(|(_, _, bytes)| bytes).collect();
        let said = [subscribe(9).to("b", Q0).bytes(V5), qos0("a", "1").bytes(V5), qos1(1, "a", "2").bytes(V5)].concat();
        assert_eq!(seen, said);
        (0..broker.shards()).for_each(|shard| broker.act(shard, |shard, _| shard.untap(7)));
        bob.send(qos0("a", "not seen any more"));
        assert_eq!(shown(broker), []);
        ann.ignore_rest();
    });
}

/// What ends a connection is what somebody looks for: DISCONNECT, or what the broker does not understand; not what stands behind it.
#[test]
fn the_packet_that_ends_a_watched_connection_is_shown() {
    for (last, behind) in
        [(&[0xE0, 0][..], &[0xC0, 0][..]), (&[0x30, 3, 0, 9, b'a'], &[0xC0, 0]), (&[0x36, 3, 0, 1, b'a'], &[])]
    {
        let broker = Broker::with(1, ringmq::limits::Limits::default());
        everybody_watches(&broker, &Tap::Client("bob".into()));
        let bob = broker.connect(V5, "bob");
        shown(&broker);
        bob.send_pieces(&[[&PINGREQ[..], last, behind].concat()]);
        bob.ignore_rest();
        assert_eq!(shown(&broker)[0], ("bob".into(), "in", [&PINGREQ[..], last].concat()));
    }
}

/// The last packet too, which the shard has forgotten the client before.
#[test]
fn what_a_watched_client_is_sent_is_shown_to_the_end() {
    let broker = Broker::with(1, ringmq::limits::Limits::default());
    let bob = broker.connect(V5, "bob");
    everybody_watches(&broker, &Tap::Client("bob".into()));
    let id = broker.look(0, |shard, outbox| shard.client("bob", outbox)).and_then(|bob| bob.state.connection);
    let id = id.expect("it is connected");
    bob.leave();
    shown(&broker);
    let last = Flush { bytes: vec![0xE0, 0], splices: Vec::new() };
    broker.act(0, |shard, outbox| shard.show_sent(id, &last, outbox));
    assert_eq!(shown(&broker), [("bob".into(), "out", vec![0xE0, 0])]);
}

#[test]
fn messages_to_a_watched_topic_are_shown_whoever_publishes_them_and_however() {
    everywhere(|broker| {
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V311, "bob"));
        bob.subscribe("a/#", Q1);
        for _ in 0..3 {
            // Remembered, so that they would pass the rooms by.
            ann.send(qos0("a/b", "early"));
        }
        everybody_watches(broker, &Tap::Topic("a/+".into()));
        ann.send_pieces(&[qos0("a/b", "1").bytes(V5), qos0("a/b", "2").bytes(V5), qos1(1, "a/b", "3").bytes(V5)]);
        bob.send(qos0("a/c", "4"));
        bob.send(qos0("b", "5"));
        let mut seen = shown(broker);
        seen.sort();
        let wanted = [("ann", "a/b 1"), ("ann", "a/b 2"), ("ann", "a/b 3"), ("bob", "a/c 4")];
        let wanted: Vec<_> = wanted.into_iter().map(|(who, what)| (who.to_owned(), "message", what.into())).collect();
        assert_eq!(seen, wanted);
        ann.ignore_rest();
        bob.ignore_rest();
    });
}

#[test]
fn what_is_too_much_for_a_turn_is_counted_and_not_shown() {
    let broker = Broker::with(1, ringmq::limits::Limits::default());
    let ann = broker.connect(V5, "ann");
    everybody_watches(&broker, &Tap::Topic("#".into()));
    let large = "x".repeat(TAPPED_BYTES_MAX / 2);
    (0..3).for_each(|_| ann.send(qos0("a", &large)));
    let kinds: Vec<_> = shown(&broker).into_iter().map(|(_, kind, bytes)| (kind, bytes.len())).collect();
    assert_eq!(kinds, [("message", large.len() + 2), ("lost", 1)]);
    ann.send(qos0("a", "y"));
    assert_eq!(shown(&broker).len(), 1, "the next turn has its own part");
}

/// [MQTT-3.3.2-17]
#[test]
fn a_sampled_message_is_shown_with_what_became_of_it_and_reaches_subscribers_unaltered() {
    everywhere(|broker| {
        everybody_watches(broker, &Tap::Sampled);
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
        bob.subscribe("a", Q1);
        let parent = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let (sampled, unsampled) = (parent("01"), parent("00"));
        let state = Property::UserProperty("tracestate", "vendor=1");
        let traced = [Property::UserProperty("traceparent", &sampled), state];
        ann.send(qos0("a", "not traced"));
        ann.send(qos0("a", "not sampled").with(&[Property::UserProperty("traceparent", &unsampled), state]));
        ann.send(qos0("a", "1").with(&traced));
        ann.send(qos0("$SYS/a", "2").with(&traced));
        let context = "af7651916cd43dd8448eb211c80319c b7ad6b7169203331 vendor=1";
        let wanted = [format!("{context} a []"), format!("{context} $SYS/a [\"publishes_denied\"]")];
        assert_eq!(shown(broker), wanted.map(|text| ("ann".to_owned(), "sampled", text.into_bytes())));
        bob.expect(qos0("a", "not traced"));
        bob.expect(qos0("a", "not sampled").with(&[Property::UserProperty("traceparent", &unsampled), state]));
        bob.expect(qos0("a", "1").with(&traced));
        (0..broker.shards()).for_each(|shard| broker.act(shard, |shard, _| shard.untap(7)));
        ann.send(qos0("a", "3").with(&traced));
        assert_eq!(shown(broker), []);
        bob.expect(qos0("a", "3").with(&traced));
    });
}

#[test]
fn a_sampled_message_that_ends_its_connection_is_shown_with_the_reason() {
    let broker = Broker::with(1, ringmq::limits::Limits::default());
    everybody_watches(&broker, &Tap::Sampled);
    let ann = broker.connect(V5, "ann");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    ann.send(qos0("a/+", "1").with(&[Property::UserProperty("traceparent", parent)]));
    let seen = shown(&broker);
    let text = String::from_utf8_lossy(&seen[0].2);
    assert!(text.ends_with("a/+ [\"the topic name is not valid\"]"), "{text}");
    ann.ignore_rest();
}
