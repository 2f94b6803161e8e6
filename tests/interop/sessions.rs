//! What outlives a connection: wills, persistent sessions, takeover.
//!
//! Duty: show with the Mosquitto clients what happens when a client goes, comes back, or comes twice. Must not: test what
//! happens while all stay connected (`delivery`). Neighbours: `client` runs the clients.

use std::time::{Duration, Instant};

use crate::broker::on_each_shard_count;
use crate::client::{VERSIONS, publish, subscribe, subscribe_and_leave, subscribe_printing};

/// [v3.1.1 MQTT-3.1.2-8] [v3.1.1 MQTT-3.14.4-3]: a broken connection publishes the will, DISCONNECT forgets it.
#[test]
fn a_will_is_published_when_its_client_is_killed_and_not_when_it_disconnects() {
    on_each_shard_count(|broker| {
        for version in VERSIONS {
            let watched = format!("will/{version}/#");
            let watchers = ["watch-a", "watch-b"].map(|id| subscribe(broker, &["-q", "2", "-t", &watched, "-i", id]));
            let with_will = |id: &str, more: &[&str]| {
                let topic = format!("will/{version}/{id}");
                let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "2", "--will-retain"];
                subscribe(broker, &[&["-V", version, "-i", id, "-t", &format!("idle/{id}")][..], &will, more].concat())
            };
            let mut polite = with_will("polite", &["-C", "1"]);
            publish(broker, &["-t", "idle/polite", "-m", "leave"]);
            assert!(polite.wait_for_end(), "{}", polite.shown());
            with_will("killed", &[]).kill();
            let expected = [format!("2 0 will/{version}/killed gone")];
            watchers.iter().for_each(|watcher| watcher.expect(&expected));
            publish(broker, &["-q", "2", "-t", &format!("will/{version}/end"), "-m", "end"]);
            let expected = [&expected[..], &[format!("2 0 will/{version}/end end")]].concat();
            watchers.iter().for_each(|watcher| watcher.expect(&expected));
            let late = subscribe(broker, &["-q", "2", "-t", &watched]);
            late.expect(&[format!("2 1 will/{version}/killed gone")]);
        }
    });
}

/// [MQTT-3.1.3-9]: with a will delay the will comes later, and not before.
#[test]
fn a_will_waits_for_its_delay() {
    on_each_shard_count(|broker| {
        let watcher = subscribe(broker, &["-q", "1", "-t", "delayed"]);
        let will = ["--will-topic", "delayed", "--will-payload", "gone", "-D", "will", "will-delay-interval", "1"];
        let client =
            subscribe(broker, &[&["-V", "mqttv5", "-x", "30", "-i", "slowly", "-t", "idle"][..], &will].concat());
        let killed_at = Instant::now();
        client.kill();
        watcher.expect(&["0 0 delayed gone"]);
        let waited = killed_at.elapsed();
        assert!(waited >= Duration::from_millis(900), "the will came after {waited:?}");
    });
}

/// [v3.1.1 MQTT-3.1.2-5] [MQTT-3.1.2-23]: QoS 1 and 2 messages wait for the client, in order.
#[test]
fn a_persistent_session_gets_what_was_queued() {
    on_each_shard_count(|broker| {
        for (version, keep) in [("mqttv31", &["-c"][..]), ("mqttv311", &["-c"]), ("mqttv5", &["-c", "-x", "60"])] {
            for number in 0..3 {
                let id = format!("keep-{number}-{version}");
                let topic = format!("queue/{id}");
                let session = [&["-V", version, "-i", &id, "-q", "2", "-t", &topic][..], keep].concat();
                subscribe_and_leave(broker, &session);
                let qos = if number == 0 { "1" } else { "2" };
                let line = |payload: &str| format!("{qos} 0 {topic} {payload}");
                for payload in ["first", "second", "third"] {
                    publish(broker, &["-V", version, "-q", qos, "-t", &topic, "-m", payload]);
                }
                let resumed = subscribe(broker, &session);
                publish(broker, &["-q", qos, "-t", &topic, "-m", "live"]);
                resumed.expect(&["first", "second", "third", "live"].map(line));
                resumed.stop();
                subscribe_and_leave(broker, &["-V", version, "-i", &id, "-t", "elsewhere"]);
                publish(broker, &["-q", "1", "-t", &topic, "-m", "lost"]);
                let clean = subscribe(broker, &session);
                publish(broker, &["-q", "1", "-t", &topic, "-m", "after clean"]);
                clean.expect(&[format!("1 0 {topic} after clean")]);
            }
        }
    });
}

/// [MQTT-3.1.4-3]: the older connection of a client id hears reason 0x8E (142) and is closed.
#[test]
fn a_second_client_with_the_same_id_takes_over() {
    on_each_shard_count(|broker| {
        for number in 0..4 {
            let id = format!("twin-{number}");
            let older = subscribe(broker, &["-V", "mqttv5", "-i", &id, "-t", "idle"]);
            publish(broker, &["-V", "mqttv5", "-i", &id, "-t", "other", "-m", "x"]);
            older.wait_for_line("Received DISCONNECT (142)");
        }
    });
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: an expired message is not delivered; another says what is left of its time.
#[test]
fn a_queued_message_expires() {
    on_each_shard_count(|broker| {
        let session = ["-V", "mqttv5", "-i", "later", "-c", "-x", "60", "-q", "1", "-t", "news"];
        subscribe_and_leave(broker, &session);
        let kept = subscribe(broker, &["-V", "mqttv5", "-q", "1", "-t", "news"]);
        for (expiry_secs, payload) in [("1", "stale"), ("100", "fresh")] {
            let expiry = ["-D", "publish", "message-expiry-interval", expiry_secs];
            publish(broker, &[&["-V", "mqttv5", "-q", "1", "-t", "news", "-m", payload][..], &expiry].concat());
        }
        publish(broker, &["-V", "mqttv5", "-q", "1", "-t", "news", "-m", "lasting"]);
        kept.expect(&["1 0 news stale", "1 0 news fresh", "1 0 news lasting"]);
        std::thread::sleep(Duration::from_millis(2100));
        let resumed = subscribe_printing(broker, "%E %p", &session);
        let [fresh] = &resumed.messages_until("lasting")[..] else { panic!("not one message before the last one") };
        let left_secs: u32 = fresh.strip_suffix(" fresh").expect("the stale message is gone").parse().expect("seconds");
        assert!((90..=98).contains(&left_secs), "{left_secs} s are left of 100 after 2.1 s");
    });
}
