//! What arrives where: QoS, wildcards, order, size, shared subscriptions, retained messages.
//!
//! Duty: show with the Mosquitto clients that messages reach those who want them, whichever shards they live on. Must not:
//! test sessions that outlive a connection (`sessions`). Neighbours: `client` runs the clients.

use crate::broker::on_each_shard_count;
use crate::client::{VERSIONS, publish, publish_lines, subscribe, subscribe_printing};

const LARGE_PAYLOAD_BYTES: usize = 1 << 20;
const MANY_MESSAGES: usize = 10_000;
const QOS: [&str; 3] = ["0", "1", "2"];

/// [MQTT-3.8.4-8]: a message arrives at the lower of its own QoS and the subscription's.
#[test]
fn clients_of_every_version_exchange_messages_at_every_qos() {
    on_each_shard_count(|broker| {
        let mut subscribers = Vec::new();
        for version in VERSIONS {
            for qos in QOS {
                let id = format!("reader-{version}-{qos}");
                subscribers.push((qos, subscribe(broker, &["-V", version, "-i", &id, "-q", qos, "-t", "room/#"])));
            }
        }
        let mut sent = Vec::new();
        for version in VERSIONS {
            for qos in QOS {
                let id = format!("writer-{version}-{qos}");
                let topic = format!("room/{version}/{qos}");
                publish(broker, &["-V", version, "-i", &id, "-q", qos, "-t", &topic, "-m", &id]);
                sent.push((qos, format!("0 {topic} {id}")));
            }
        }
        for (wanted_qos, subscriber) in &subscribers {
            let arrives = |(qos, rest): &(&str, String)| format!("{} {rest}", qos.min(wanted_qos));
            subscriber.expect_in_any_order(&sent.iter().map(arrives).collect::<Vec<_>>());
        }
        assert!(broker.every_shard_had_a_client(), "the client ids do not cover all shards");
    });
}

/// The default listener answers on both loopback addresses.
#[test]
fn clients_reach_the_broker_by_either_address_family() {
    on_each_shard_count(|broker| {
        let subscriber = subscribe(broker, &["-h", "::1", "-t", "six"]);
        publish(broker, &["-t", "six", "-m", "from four"]);
        subscriber.expect(&["0 0 six from four"]);
    });
}

/// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1], [MQTT-4.7.3-4]; of two filters that match, a client gets one copy.
#[test]
fn wildcards_match_whole_levels_and_spare_dollar_topics() {
    const END: &str = "end/end/end";
    let matching = [
        ("#", "a a/ a/b a/b/c a//c /b A/b ä/b"),
        ("+", "a"),
        ("a/#", "a a/ a/b a/b/c a//c"),
        ("a/+", "a/ a/b"),
        ("+/b", "a/b /b A/b ä/b"),
        ("/+", "/b"),
        ("a/+/c", "a/b/c a//c"),
        ("a//c", "a//c"),
        ("+/+/#", "a/ a/b a/b/c a//c /b A/b ä/b"),
        ("ä/+", "ä/b"),
    ];
    on_each_shard_count(|broker| {
        let listen =
            |(filter, _): &(&str, &str)| subscribe_printing(broker, "%t", &["-t", filter, "-t", END, "-q", "1"]);
        let subscribers: Vec<_> = matching.iter().map(listen).collect();
        for topic in ["a", "a/", "a/b", "a/b/c", "a//c", "$lab/b", "/b", "A/b", "ä/b", END] {
            publish(broker, &["-t", topic, "-m", "x", "-q", "1"]);
        }
        for (subscriber, (_, expected)) in subscribers.iter().zip(matching) {
            let expected: Vec<&str> = expected.split(' ').chain([END]).collect();
            subscriber.expect(&expected);
        }
    });
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6]: in order, nothing lost, nothing twice; readers on every shard.
#[test]
fn ten_thousand_messages_arrive_in_order_and_once() {
    on_each_shard_count(|broker| {
        for qos in ["1", "2"] {
            let topic = format!("order/{qos}");
            let listen = |number: u32| {
                subscribe_printing(broker, "%p", &["-q", qos, "-t", &topic, "-i", &format!("order{number}{qos}")])
            };
            let subscribers: Vec<_> = (0..3).map(listen).collect();
            let lines: Vec<String> = (0..MANY_MESSAGES).map(|number| format!("number {number}")).collect();
            publish_lines(broker, &["-l", "-q", qos, "-t", &topic, "-i", "counter"], &(lines.join("\n") + "\n"));
            subscribers.iter().for_each(|subscriber| subscriber.expect(&lines));
        }
    });
}

/// A payload larger than any buffer arrives byte for byte.
#[test]
fn a_mebibyte_arrives_whole_at_every_qos() {
    let payload: Vec<u8> =
        (0..LARGE_PAYLOAD_BYTES).map(|at| u8::try_from(at * 31 % 251).expect("it is below 251")).collect();
    let expected: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    on_each_shard_count(|broker| {
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("large-{}", broker.port));
        std::fs::write(&file, &payload).expect("the folder for test files is writable");
        let path = file.to_str().expect("the path is UTF-8");
        for qos in QOS {
            let listen = |number: u32| {
                subscribe_printing(broker, "%x", &["-q", qos, "-t", "large", "-i", &format!("large{number}")])
            };
            let subscribers: Vec<_> = (0..3).map(listen).collect();
            publish(broker, &["-q", qos, "-t", "large", "-f", path]);
            subscribers.iter().for_each(|subscriber| subscriber.expect(&[&expected]));
            subscribers.into_iter().for_each(crate::client::Client::stop);
        }
        std::fs::remove_file(&file).expect("it was written above");
    });
}

/// Section 4.8.2: each message goes to one member; here strictly in turn, in the order in which they subscribed.
#[test]
fn a_shared_subscription_deals_messages_in_turn() {
    const MEMBERS: usize = 3;
    const MESSAGES: usize = 30;
    on_each_shard_count(|broker| {
        for version in ["mqttv311", "mqttv5"] {
            let filter = format!("$share/team/{version}/+");
            let join = |number: usize| {
                let id = format!("member-{version}-{number}");
                subscribe_printing(broker, "%p", &["-V", version, "-q", "1", "-i", &id, "-t", &filter, "-t", "end"])
            };
            let members: Vec<_> = (0..MEMBERS).map(join).collect();
            let watcher = subscribe_printing(broker, "%p", &["-q", "1", "-t", &format!("{version}/#")]);
            let lines: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
            publish_lines(broker, &["-l", "-q", "1", "-t", &format!("{version}/x")], &(lines.join("\n") + "\n"));
            watcher.expect(&lines);
            publish(broker, &["-q", "1", "-t", "end", "-m", "end"]);
            let mut dealt: Vec<Vec<usize>> = Vec::new();
            for member in &members {
                dealt.push(member.messages_until("end").iter().map(|text| text.parse().expect("a number")).collect());
            }
            let first = dealt[0].first().copied().unwrap_or(0);
            for (number, hand) in dealt.iter().enumerate() {
                let turn = (first + number) % MEMBERS;
                let expected: Vec<usize> = (0..MESSAGES).filter(|message| message % MEMBERS == turn).collect();
                assert_eq!(*hand, expected, "{version}: what member {number} got; all: {dealt:?}");
            }
            members.into_iter().for_each(crate::client::Client::stop);
        }
    });
}

/// Publishers on different shards share one turn: each message still goes to exactly one member.
#[test]
fn a_shared_subscription_is_exactly_once_with_many_publishers() {
    on_each_shard_count(|broker| {
        let join = |number: u32| {
            subscribe_printing(
                broker,
                "%p",
                &["-q", "1", "-i", &format!("hand{number}"), "-t", "$share/g/work/#", "-t", "end"],
            )
        };
        let members: Vec<_> = (0..4).map(join).collect();
        std::thread::scope(|scope| {
            for publisher in 0..4 {
                scope.spawn(move || {
                    let lines: String = (0..50).map(|number| format!("{publisher}-{number}\n")).collect();
                    publish_lines(
                        broker,
                        &["-l", "-q", "1", "-t", "work/x", "-i", &format!("boss{publisher}")],
                        &lines,
                    );
                });
            }
        });
        publish(broker, &["-q", "1", "-t", "end", "-m", "end"]);
        let hands: Vec<_> = members.iter().map(|member| member.messages_until("end")).collect();
        assert!(
            hands.iter().all(|hand| hand.len() == 50),
            "the turns are uneven: {:?}",
            hands.iter().map(Vec::len).collect::<Vec<_>>()
        );
        let mut all: Vec<String> = hands.concat();
        let mut expected: Vec<String> = (0..200).map(|number| format!("{}-{}", number / 50, number % 50)).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
    });
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8]: stored, replayed with the flag set, cleared by an empty payload.
#[test]
fn a_retained_message_is_replayed_replaced_and_cleared() {
    on_each_shard_count(|broker| {
        for version in VERSIONS {
            for qos in QOS {
                let topic = format!("kept/{version}/{qos}");
                let live = subscribe(broker, &["-V", version, "-q", "2", "-t", &topic]);
                publish(broker, &["-V", version, "-q", qos, "-r", "-t", &topic, "-m", "old"]);
                live.expect(&[format!("{qos} 0 {topic} old")]);
                publish(broker, &["-V", version, "-q", qos, "-r", "-t", &topic, "-m", "new"]);
                live.expect(&[format!("{qos} 0 {topic} old"), format!("{qos} 0 {topic} new")]);
                for reader in ["reader-a", "reader-b", "reader-c"] {
                    let late = subscribe(
                        broker,
                        &["-V", version, "-q", "2", "-t", &format!("kept/{version}/{qos}/#"), "-i", reader],
                    );
                    late.expect(&[format!("{qos} 1 {topic} new")]);
                }
                publish(broker, &["-V", version, "-q", "1", "-r", "-t", &topic, "-n"]);
                let after = subscribe(broker, &["-V", version, "-q", "1", "-t", &topic]);
                publish(broker, &["-V", version, "-q", "1", "-t", &topic, "-m", "live"]);
                after.expect(&[format!("1 0 {topic} live")]);
            }
        }
    });
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13].
#[test]
fn retain_as_published_decides_about_the_flag_of_live_messages() {
    on_each_shard_count(|broker| {
        let as_published = subscribe(broker, &["-V", "mqttv5", "-t", "flag", "-q", "1", "--retain-as-published"]);
        let cleared = subscribe(broker, &["-V", "mqttv5", "-t", "flag", "-q", "1"]);
        publish(broker, &["-V", "mqttv5", "-q", "1", "-r", "-t", "flag", "-m", "kept"]);
        publish(broker, &["-V", "mqttv5", "-q", "1", "-t", "flag", "-m", "passing"]);
        as_published.expect(&["1 1 flag kept", "1 0 flag passing"]);
        cleared.expect(&["1 0 flag kept", "1 0 flag passing"]);
    });
}
