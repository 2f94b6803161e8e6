//! The features of the matrix, each said once for all client libraries.
//!
//! Duty: play a feature through with clients of one library and panic where it differs from the standard. Must not: know
//! libraries (`matrix` says what one cannot do). Neighbours: `station` is how the libraries are spoken to.

use std::time::{Duration, Instant};

use crate::station::{Guest, Station};

/// A library in one protocol version, at one broker.
pub(crate) struct Column<'a> {
    pub(crate) station: &'a Station,
    /// `library version`, for names of clients and topics.
    pub(crate) name: String,
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.0.
    pub(crate) version: u8,
}

/// A row of the matrix.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The first version that has it.
    pub(crate) since: u8,
    /// It waits for the clock: it runs beside the others.
    pub(crate) is_slow: bool,
    pub(crate) check: fn(&Room<'_>),
}

/// Names and options for one check, so that checks that run side by side do not meet.
pub(crate) struct Room<'a> {
    pub(crate) column: &'a Column<'a>,
    pub(crate) prefix: String,
}

/// All that one broker can show that takes packets of 16 MiB. In-flight messages have a broker of their own in `matrix`.
pub(crate) const FEATURES: [Feature; 16] = [
    Feature { name: "QoS 0, 1, 2 published and subscribed", since: 4, is_slow: false, check: every_qos },
    Feature { name: "retained: set, replayed, cleared", since: 4, is_slow: false, check: retained },
    Feature { name: "will", since: 4, is_slow: false, check: will },
    Feature { name: "will delay", since: 5, is_slow: true, check: will_delay },
    Feature { name: "shared subscription", since: 4, is_slow: false, check: shared },
    Feature { name: "topic alias, client to broker", since: 5, is_slow: false, check: alias_in },
    Feature { name: "topic alias, broker to client", since: 5, is_slow: false, check: alias_out },
    Feature { name: "message expiry", since: 5, is_slow: true, check: message_expiry },
    Feature { name: "session expiry", since: 5, is_slow: true, check: session_expiry },
    Feature { name: "payload of 1 MiB", since: 4, is_slow: false, check: one_mebibyte },
    Feature { name: "payload of 16 MiB less the head", since: 4, is_slow: false, check: sixteen_mebibytes },
    Feature { name: "session resumed, messages queued", since: 4, is_slow: false, check: resumed },
    Feature { name: "No Local", since: 5, is_slow: false, check: no_local },
    Feature { name: "Retain As Published", since: 5, is_slow: false, check: retain_as_published },
    Feature { name: "subscription identifiers", since: 5, is_slow: false, check: subscription_ids },
    Feature { name: "user properties", since: 5, is_slow: false, check: user_properties },
];

impl<'a> Room<'a> {
    fn guest(&self, name: &str, options: &str) -> Guest<'a> {
        let options = format!("version={} {options}", self.column.version);
        Guest::connect(self.column.station, &format!("{}-{name}", self.prefix), &options)
    }

    /// A session that outlives its connection.
    fn lasting_guest(&self, name: &str) -> Guest<'a> {
        self.guest(name, "clean=0 expiry=60")
    }

    fn reader(&self, name: &str, topic: &str, options: &str) -> Guest<'a> {
        let guest = self.guest(name, "");
        guest.subscribe(topic, options);
        guest
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }
}

/// [MQTT-3.8.4-8]: at the lower QoS of the two, in order.
fn every_qos(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    let readers = ["0", "1", "2"].map(|qos| room.reader(&format!("r{qos}"), &topic, &format!("qos={qos}")));
    for qos in ["0", "1", "2"] {
        writer.publish(&topic, qos, &format!("qos={qos}"));
    }
    for (most, reader) in readers.iter().enumerate() {
        let found: Vec<u8> = reader.expect(&["0", "1", "2"]).iter().map(|message| message.qos).collect();
        assert_eq!(found, [0, 1, 2].map(|qos| qos.min(most as u8)));
    }
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8].
fn retained(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    writer.publish(&topic, "old", "qos=1 retain=1");
    writer.publish(&topic, "kept", "qos=2 retain=1");
    for name in ["a", "b", "c"] {
        let reader = room.reader(name, &topic, "qos=1");
        assert!(reader.expect(&["kept"])[0].retain);
        reader.disconnect();
    }
    writer.publish(&topic, "", "qos=1 retain=1");
    let late = room.reader("late", &topic, "qos=1");
    writer.publish(&topic, "live", "qos=1");
    assert!(!late.expect(&["live"])[0].retain);
}

/// [MQTT-3.1.2-8], [MQTT-3.14.4-3].
fn will(room: &Room<'_>) {
    let (topic, writer) = (room.topic("will"), room.guest("w", ""));
    let watcher = room.reader("watch", &topic, "qos=1");
    for (name, breaks) in [("polite", false), ("broken", true)] {
        let dying = room.guest(name, &format!("will={topic}"));
        dying.subscribe(&room.topic("idle"), "qos=0");
        if breaks { dying.break_off() } else { dying.disconnect() }
    }
    watcher.expect(&["gone"]);
    writer.publish(&topic, "end", "qos=1");
    watcher.expect(&["end"]);
}

/// [MQTT-3.1.3-9]: not before its time, and not at all when the client is back in time.
fn will_delay(room: &Room<'_>) {
    let topic = room.topic("will");
    let watcher = room.reader("watch", &topic, "qos=1");
    let options = format!("clean=0 expiry=60 will={topic} will_delay=1");
    let dying = ["late", "back"].map(|name| {
        let guest = room.guest(name, &options);
        guest.subscribe(&room.topic("idle"), "qos=0");
        guest
    });
    let broken_at = Instant::now();
    dying.into_iter().for_each(Guest::break_off);
    let back = room.lasting_guest("back");
    watcher.expect(&["gone"]);
    assert!(broken_at.elapsed() >= Duration::from_millis(900), "after {:?}", broken_at.elapsed());
    std::thread::sleep(Duration::from_millis(300));
    room.guest("w", "").publish(&topic, "end", "qos=1");
    watcher.expect(&["end"]);
    back.disconnect();
}

/// Section 4.8.2: each message once, every member served.
fn shared(room: &Room<'_>) {
    let (topic, writer) = (room.topic("work"), room.guest("w", ""));
    let filter = format!("$share/team/{topic}/+");
    let members = ["a", "b", "c"].map(|name| room.reader(name, &filter, "qos=1"));
    let texts: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| writer.publish(&format!("{topic}/x"), text, "qos=1"));
    let mut dealt: Vec<u32> = Vec::new();
    for member in &members {
        dealt.extend(member.take(4).iter().map(|message| message.text.parse::<u32>().expect("texts are numbers")));
    }
    dealt.sort_unstable();
    assert_eq!(dealt, (0..12).collect::<Vec<_>>());
}

/// [MQTT-3.3.2-12]: what follows the first message carries the alias alone.
fn alias_in(room: &Room<'_>) {
    let (topic, writer) = (room.topic("long"), room.guest("w", ""));
    let reader = room.reader("r", &topic, "qos=2");
    for qos in ["1", "2"] {
        writer.publish(&topic, qos, &format!("qos={qos} alias=3 repeat=3"));
        (0..2).for_each(|_| writer.wait_for("published"));
        let texts = ["0", "1", "2"].map(|number| format!("{qos}{number}"));
        let messages = reader.expect(&texts.each_ref().map(|text| &text[..]));
        assert!(messages.iter().all(|message| message.topic == topic), "{messages:?}");
    }
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27]: aliases from 1 to the maximum that the client announced.
fn alias_out(room: &Room<'_>) {
    let (topic, writer) = (room.topic("long"), room.guest("w", ""));
    let reader = room.guest("r", "alias_max=2");
    reader.subscribe(&format!("{topic}/+"), "qos=1");
    let topics = ["a", "b", "a", "b", "c", "a"].map(|level| format!("{topic}/{level}"));
    topics.iter().for_each(|topic| writer.publish(topic, "x", "qos=1"));
    let messages = reader.take(topics.len());
    assert_eq!(messages.iter().map(|message| message.topic.clone()).collect::<Vec<_>>(), topics);
    assert!(messages.iter().all(|message| message.alias.is_none_or(|alias| (1..=2).contains(&alias))));
    assert!(messages.iter().any(|message| message.alias.is_some()), "no alias was set: {messages:?}");
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6].
fn message_expiry(room: &Room<'_>) {
    let (topic, writer) = (room.topic("news"), room.guest("w", ""));
    let reader = room.lasting_guest("r");
    reader.subscribe(&topic, "qos=1");
    reader.disconnect();
    writer.publish(&topic, "stale", "qos=1 expiry=1");
    writer.publish(&topic, "fresh", "qos=1 expiry=100");
    std::thread::sleep(Duration::from_millis(2100));
    writer.publish(&topic, "end", "qos=1");
    let left_secs = room.lasting_guest("r").expect(&["fresh", "end"])[0].expiry_secs;
    assert!(left_secs.is_some_and(|secs| (60..=98).contains(&secs)), "{left_secs:?} s are left of 100 after 2.1 s");
}

/// [MQTT-3.1.2-23]: what waited for a session ends with it.
fn session_expiry(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    for (name, secs) in [("short", 1), ("long", 60)] {
        let guest = room.guest(name, &format!("clean=0 expiry={secs}"));
        guest.subscribe(&topic, "qos=1");
        guest.disconnect();
    }
    writer.publish(&topic, "early", "qos=1");
    std::thread::sleep(Duration::from_millis(2200));
    for (name, expected) in [("short", &["end"][..]), ("long", &["early", "end"])] {
        let back = room.lasting_guest(name);
        back.subscribe(&topic, "qos=1");
        writer.publish(&topic, "end", "qos=1");
        back.expect(expected);
        back.disconnect();
    }
}

fn one_mebibyte(room: &Room<'_>) {
    large(room, 1 << 20, &["0", "1", "2"]);
}

/// The largest packet that the broker is set to take, by its payload.
fn sixteen_mebibytes(room: &Room<'_>) {
    let (fixed_header, packet_id, properties) = (5, 2, usize::from(room.column.version == 5));
    large(room, (16 << 20) - fixed_header - 2 - room.topic("large").len() - packet_id - properties, &["1"]);
}

fn large(room: &Room<'_>, bytes: usize, qos: &[&str]) {
    let (topic, writer) = (room.topic("large"), room.guest("w", ""));
    let reader = room.reader("r", &topic, "qos=2");
    for qos in qos {
        writer.publish(&topic, &format!("*{bytes}"), &format!("qos={qos}"));
        reader.expect(&[&format!("*{bytes}")]);
    }
}

/// [MQTT-3.1.2-4], [MQTT-4.4.0-1]: all that came while the client was away, each QoS in order, before what is live. Some
/// clients show a QoS 2 message only when it is released.
fn resumed(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    let reader = room.lasting_guest("r");
    reader.subscribe(&topic, "qos=2");
    reader.disconnect();
    for (text, qos) in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")] {
        writer.publish(&topic, text, &format!("qos={qos}"));
    }
    let back = room.lasting_guest("r");
    let mut found: Vec<(u8, String)> = back.take(4).into_iter().map(|message| (message.qos, message.text)).collect();
    found.sort_by_key(|(qos, _)| *qos);
    assert_eq!(found, [(1, "a"), (1, "c"), (2, "b"), (2, "d")].map(|(qos, text)| (qos, text.to_owned())));
    writer.publish(&topic, "live", "qos=1");
    back.expect(&["live"]);
}

/// [MQTT-3.8.3-3].
fn no_local(room: &Room<'_>) {
    let topic = room.topic("x");
    let both = ["a", "b"].map(|name| room.reader(name, &topic, "qos=1 nl=1"));
    both[0].publish(&topic, "from_a", "qos=1");
    both[1].publish(&topic, "from_b", "qos=1");
    let other = room.guest("w", "");
    other.publish(&topic, "end", "qos=1");
    both[0].expect(&["from_b", "end"]);
    both[1].expect(&["from_a", "end"]);
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13].
fn retain_as_published(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    for (name, option) in [("as", true), ("not", false)] {
        let reader = room.reader(name, &topic, if option { "qos=1 rap=1" } else { "qos=1" });
        writer.publish(&topic, "kept", "qos=1 retain=1");
        writer.publish(&topic, "passing", "qos=1");
        let found: Vec<bool> = reader.expect(&["kept", "passing"]).iter().map(|message| message.retain).collect();
        assert_eq!(found, [option, false], "Retain As Published {option}");
        writer.publish(&topic, "", "qos=1 retain=1");
        reader.disconnect();
    }
}

/// [MQTT-3.3.4-3].
fn subscription_ids(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    for number in [1, 128, 268_435_455] {
        let reader = room.reader(&format!("r{number}"), &topic, &format!("qos=1 sid={number}"));
        writer.publish(&topic, "x", "qos=1");
        assert_eq!(reader.expect(&["x"])[0].subscription_id, Some(number));
        reader.disconnect();
    }
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]: unchanged and in order, one name twice.
fn user_properties(room: &Room<'_>) {
    let (topic, writer) = (room.topic("x"), room.guest("w", ""));
    let reader = room.reader("r", &topic, "qos=2");
    for qos in ["0", "1", "2"] {
        writer.publish(&topic, "x", &format!("qos={qos} user=k:1,k:2,a:3"));
        assert_eq!(reader.expect(&["x"])[0].user, "k:1 k:2 a:3");
    }
}
