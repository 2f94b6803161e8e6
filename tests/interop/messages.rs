//! What travels with a message in MQTT 5.0, and what limits its way.
//!
//! Duty: show with the Mosquitto clients that properties pass through and that a client's limits are kept. Must not: test
//! encodings (`wire` does). Neighbours: `client` runs the clients; the libraries' suites test what these clients cannot say.

use crate::broker::on_each_shard_count;
use crate::client::{publish, publish_lines, subscribe, subscribe_and_leave, subscribe_printing};

const PROPERTIES: [&str; 25] = [
    "-D",
    "publish",
    "content-type",
    "text/plain",
    "-D",
    "publish",
    "response-topic",
    "answer/here",
    "-D",
    "publish",
    "correlation-data",
    "c0ffee",
    "-D",
    "publish",
    "payload-format-indicator",
    "1",
    "-D",
    "publish",
    "user-property",
    "k1",
    "v1",
    "-D",
    "publish",
    "user-property",
    "k1",
];

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]: unchanged and in order, live, queued and retained.
#[test]
fn properties_pass_through_unchanged() {
    const SHOWN: &str = "%p|%C|%R|%D|%F|%P";
    let line = "x|text/plain|answer/here|c0ffee|1|k1:v1 k1:v2";
    on_each_shard_count(|broker| {
        for qos in ["0", "1", "2"] {
            let topic = format!("props/{qos}");
            let session = ["-V", "mqttv5", "-q", "2", "-t", &topic, "-i", "absent", "-c", "-x", "60"];
            subscribe_and_leave(broker, &session);
            let live = subscribe_printing(broker, SHOWN, &["-V", "mqttv5", "-q", "2", "-t", &topic]);
            let older = subscribe_printing(broker, SHOWN, &["-V", "mqttv311", "-q", "2", "-t", &topic]);
            let message = ["-V", "mqttv5", "-q", qos, "-r", "-t", &topic, "-m", "x"];
            publish(broker, &[&message[..], &PROPERTIES, &["v2"]].concat());
            live.expect(&[line]);
            older.expect(&["x|||||"]);
            let retained = subscribe_printing(broker, SHOWN, &["-V", "mqttv5", "-q", "2", "-t", &topic]);
            retained.expect(&[line]);
            if qos != "0" {
                let queued = subscribe_printing(broker, &format!("%r {SHOWN}"), &[&session[..], &["-R"]].concat());
                queued.wait_for_line(&format!("0 {line}"));
            }
            publish(broker, &["-r", "-n", "-t", &topic, "-q", "1"]);
        }
    });
}

/// [MQTT-3.3.4-3]: a message carries the identifier of the subscription that it came by.
#[test]
fn messages_carry_the_subscription_identifier() {
    on_each_shard_count(|broker| {
        for (id, number) in [("one", "1"), ("two", "128"), ("three", "268435455")] {
            let identifier = ["-D", "subscribe", "subscription-identifier", number];
            let subscriber = subscribe_printing(
                broker,
                "%S %p",
                &[&["-V", "mqttv5", "-i", id, "-t", "s/+"][..], &identifier].concat(),
            );
            publish(broker, &["-t", "s/x", "-m", id]);
            subscriber.expect(&[format!("{number} {id}")]);
        }
    });
}

/// [MQTT-3.3.2-12]: an alias stands for the topic it was set with.
#[test]
fn a_publisher_may_use_a_topic_alias() {
    on_each_shard_count(|broker| {
        let subscriber = subscribe(broker, &["-q", "2", "-t", "long/+/topic"]);
        let mut expected = Vec::new();
        for qos in ["0", "1", "2"] {
            let topic = format!("long/{qos}/topic");
            let alias = ["-D", "publish", "topic-alias", "3"];
            publish_lines(
                broker,
                &[&["-V", "mqttv5", "-l", "-q", qos, "-t", &topic][..], &alias].concat(),
                "a\nb\nc\n",
            );
            expected.extend(["a", "b", "c"].map(|payload| format!("{qos} 0 {topic} {payload}")));
            subscriber.expect(&expected);
        }
    });
}

/// [MQTT-3.3.4-9]: no more unacknowledged messages than Receive Maximum; the rest waits and comes in order.
#[test]
fn a_small_receive_maximum_is_kept() {
    on_each_shard_count(|broker| {
        for qos in ["1", "2"] {
            let limit = ["-D", "connect", "receive-maximum", "1"];
            let topic = format!("narrow/{qos}");
            let subscriber =
                subscribe_printing(broker, "%p", &[&["-V", "mqttv5", "-q", qos, "-t", &topic][..], &limit].concat());
            let lines: Vec<String> = (0..200).map(|number| number.to_string()).collect();
            publish_lines(broker, &["-l", "-q", qos, "-t", &topic], &(lines.join("\n") + "\n"));
            subscriber.expect(&lines);
            let printed = subscriber.printed();
            let (came, done) = if qos == "1" {
                ("received PUBLISH", "sending PUBACK")
            } else {
                ("received PUBLISH", "sending PUBCOMP")
            };
            let steps = printed.lines().filter_map(|line| {
                let is_step = [came, done].into_iter().find(|step| line.contains(step))?;
                Some(is_step == came)
            });
            let steps: Vec<bool> = steps.collect();
            assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "two messages were in flight");
        }
    });
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: a packet that is too large is left out, as if it had been sent.
#[test]
fn a_packet_above_the_maximum_packet_size_is_left_out() {
    on_each_shard_count(|broker| {
        let limit = ["-D", "connect", "maximum-packet-size", "200"];
        let small = subscribe(broker, &[&["-V", "mqttv5", "-q", "2", "-t", "size"][..], &limit].concat());
        let large = subscribe_printing(broker, "%l", &["-V", "mqttv5", "-q", "2", "-t", "size"]);
        for qos in ["0", "1", "2"] {
            publish(broker, &["-q", qos, "-t", "size", "-m", &"x".repeat(300)]);
            publish(broker, &["-q", "2", "-t", "size", "-m", qos]);
        }
        small.expect(&["2 0 size 0", "2 0 size 1", "2 0 size 2"]);
        large.expect_in_any_order(&["300", "300", "300", "1", "1", "1"]);
    });
}

/// [MQTT-3.3.1-11]: an empty payload without RETAIN is a message like any other, and no topic is too plain.
#[test]
fn an_empty_payload_and_odd_topics_arrive() {
    on_each_shard_count(|broker| {
        let subscriber = subscribe_printing(broker, "[%t][%p]", &["-q", "1", "-t", "#"]);
        for topic in ["/", " ", "a b", "//", "日本/語", "-"] {
            publish(broker, &["-q", "1", "-t", topic, "-n"]);
        }
        subscriber.expect(&["[/][]", "[ ][]", "[a b][]", "[//][]", "[日本/語][]", "[-][]"]);
    });
}

/// What Mosquitto says of itself under `$SYS/broker/`, we say under the same names, and it is retained; a client that has
/// subscribed and published is counted at the next interval.
#[test]
fn sys_topics_have_the_names_of_mosquitto() {
    let plain = [
        "bytes/received",
        "bytes/sent",
        "clients/connected",
        "clients/disconnected",
        "clients/expired",
        "clients/total",
        "heap/current",
        "heap/maximum",
        "messages/received",
        "messages/sent",
        "messages/stored",
        "publish/bytes/received",
        "publish/bytes/sent",
        "publish/messages/dropped",
        "publish/messages/received",
        "publish/messages/sent",
        "retained messages/count",
        "shared_subscriptions/count",
        "store/messages/bytes",
        "store/messages/count",
        "subscriptions/count",
        "uptime",
        "version",
    ];
    let counted = ["bytes", "messages", "publish"]
        .into_iter()
        .flat_map(|name| [format!("{name}/received"), format!("{name}/sent")]);
    let counted = counted.chain(["connections", "publish/dropped", "sockets"].map(String::from));
    let loads = counted.flat_map(|name| ["1min", "5min", "15min"].map(|span| format!("load/{name}/{span}")));
    let names: Vec<_> =
        plain.map(String::from).into_iter().chain(loads).map(|name| format!("$SYS/broker/{name}")).collect();
    on_each_shard_count(|broker| {
        let subscriber = subscribe_printing(broker, "%r %t", &["-t", "$SYS/#"]);
        subscriber.wait_for("every name", |lines| {
            let is_said = |name: &String| lines.iter().any(|line| line.ends_with(name.as_str()));
            names.iter().all(is_said).then_some(())
        });
        let again = subscribe_printing(broker, "%r %t", &["-t", "$SYS/broker/version"]);
        again.wait_for_line("MSG 1 $SYS/broker/version");
        let connected = subscribe_printing(broker, "%t=%p", &["-t", "$SYS/broker/clients/connected"]);
        connected.wait_for_line("clients/connected=3");
    });
}
