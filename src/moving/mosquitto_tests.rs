//! Tests: files of Mosquitto's in each format version, put together byte by byte.
//!
//! Duty: what is made of each chunk, and what of files that are damaged. Must not: run Mosquitto; `tests/live/moving.rs` does. Neighbours:
//! `mosquitto` and `chunk`.

use super::mosquitto::{Contents, is_one, read};
use super::record::{Record, State};
use crate::limits::Limits;
use crate::topic::TopicLimits;

const LATER: u64 = 2_000_000_000;

/// A file of a format version.
struct File {
    version: u32,
    bytes: Vec<u8>,
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

impl File {
    fn new(version: u32) -> Self {
        let bytes = [b"\x00\xB5\x00mosquitto db".as_slice(), &[0; 4], &version.to_be_bytes()].concat();
        Self { version, bytes }.with(1, &[0; 16])
    }

    fn is_old(&self) -> bool {
        self.version < 5
    }

    fn with(mut self, kind: u16, body: &[u8]) -> Self {
        let head = if self.is_old() { kind.to_be_bytes().to_vec() } else { u32::from(kind).to_be_bytes().to_vec() };
        self.bytes.extend([&head[..], &(body.len() as u32).to_be_bytes(), body].concat());
        self
    }

    fn message(self, number: u64, topic: &[u8], payload: &[u8], (qos, retain): (u8, u8)) -> Self {
        let (id, user) = (b"from", b"ann");
        let payload_len = (payload.len() as u32).to_be_bytes();
        let body = if self.is_old() {
            let user = if self.version == 4 { [&string(user)[..], &[7, 0x5B]].concat() } else { Vec::new() };
            let number = number.to_le_bytes();
            [&number[..], &string(id), &user, &[0, 1, 0, 0], &string(topic), &[qos, retain], &payload_len, payload]
                .concat()
        } else {
            let len = |text: &[u8]| (text.len() as u16).to_be_bytes();
            let properties = [5, 0x03, 0, 2, b't', b'x'];
            let lens = [len(b"\x00"), len(id), len(user), len(topic), [7, 0x5B]].concat();
            let head = [&number.to_le_bytes()[..], &LATER.to_le_bytes(), &payload_len, &lens, &[qos, retain]].concat();
            [&head[..], id, user, topic, payload, &properties].concat()
        };
        self.with(2, &body)
    }

    fn client(self, id: &[u8], user: &[u8], expiry_secs: u32, ends_at: u64) -> Self {
        let len = |text: &[u8]| (text.len() as u16).to_be_bytes();
        let times = [&ends_at.to_le_bytes()[..], &expiry_secs.to_be_bytes()].concat();
        let body = match self.version {
            6 => [&times[..], &[0, 9], &len(id), &[7, 0x5B], &len(user), &[0; 4], id, user].concat(),
            5 => [&times[..], &[0, 9], &len(id), id].concat(),
            _ => [&string(id)[..], &[0, 9], &ends_at.to_le_bytes()].concat(),
        };
        self.with(6, &body)
    }

    fn delivery(self, id: &[u8], number: u64, packet_id: u8, (qos, step): (u8, u8), is_incoming: bool) -> Self {
        let (number, direction) = (number.to_le_bytes(), u8::from(!is_incoming));
        let body = if self.is_old() {
            [&string(id)[..], &number, &[0, packet_id, qos, 1, direction, step, 0]].concat()
        } else {
            let head = [&number[..], &[0, packet_id], &(id.len() as u16).to_be_bytes()].concat();
            [&head[..], &[qos, step, 0x11, direction], id, &[3, 0x0B, 0x80, 1]].concat()
        };
        self.with(3, &body)
    }

    fn subscription(self, id: &[u8], filter: &[u8], options: u8) -> Self {
        let body = if self.is_old() {
            [&string(id)[..], &string(filter), &[options & 3]].concat()
        } else {
            let lens = [(id.len() as u16).to_be_bytes(), (filter.len() as u16).to_be_bytes()].concat();
            [&[0, 0, 0, 7][..], &lens, &[options & 3, options & !3, 0, 0], id, filter].concat()
        };
        self.with(5, &body)
    }

    fn retained(self, number: u64) -> Self {
        self.with(4, &number.to_le_bytes())
    }

    fn read(&self) -> Contents {
        read(&self.bytes, TopicLimits::from(&Limits::default())).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.read().records.iter().map(|record| record.to_line().unwrap()).collect()
    }

    fn wrong(&self) -> String {
        let wrong = read(&self.bytes, TopicLimits::from(&Limits::default())).unwrap_err();
        format!("{}: {}", wrong.offset, wrong.what)
    }
}

/// One of everything.
fn whole(version: u32) -> File {
    File::new(version)
        .message(1, b"a/b", b"one", (2, 0))
        .message(2, b"r", b"\xFF", (1, 1))
        .client(b"c", b"ann", 60, LATER)
        .delivery(b"c", 1, 5, (1, 3), false)
        .delivery(b"c", 1, 6, (2, 9), false)
        .delivery(b"c", 1, 7, (2, 11), false)
        .subscription(b"c", b"a/#", 0x2E)
        .retained(2)
}

#[test]
fn the_newest_format_is_read_with_all_that_it_says() {
    let message = r#"{"topic":"a/b","qos":2,"payload":{"text":"one"},"expires_at_ms":2000000000000,"properties":{"content_type":"tx"}}"#;
    let sent = r#"{"kind":"queued","client":"c","state":"sent""#;
    let retained = message.replace("a/b", "r").replace("\"qos\":2", "\"qos\":1,\"retain\":true");
    let retained = retained.replace(r#"{"text":"one"}"#, r#"{"base64":"/w=="}"#);
    let expected = [
        r#"{"kind":"session","client":"c","user":"ann","expiry_secs":60,"ends_at_ms":2000000000000}"#.to_owned(),
        concat!(
            r#"{"kind":"subscription","client":"c","filter":"a/#","qos":2,"no_local":true"#,
            r#","retain_as_published":true,"retain_handling":2,"id":7}"#
        ).to_owned(),
        format!(r#"{sent},"packet_id":5,"qos":1,"retain":true,"subscription_ids":[128],"message":{message}}}"#),
        r#"{"kind":"queued","client":"c","state":"released","packet_id":6,"qos":2,"retain":true,"subscription_ids":[128]}"#.to_owned(),
        format!(r#"{{"kind":"queued","client":"c","state":"queued","qos":2,"retain":true,"subscription_ids":[128],"message":{message}}}"#),
        format!(r#"{{"kind":"retained","message":{retained},"source":{{"client":"from","user":"ann"}}}}"#),
    ];
    assert_eq!(whole(6).lines(), expected);
    let without_user = expected.map(|line| line.replace(r#""client":"c","user":"ann","#, r#""client":"c","#));
    assert_eq!(whole(5).lines(), without_user);
}

/// Before MQTT 5.0 there was no expiry, and no option of a subscription but its QoS.
#[test]
fn older_formats_say_less() {
    let message = r#"{"topic":"a/b","qos":2,"payload":{"text":"one"}}"#;
    let source = r#""source":{"client":"from","user":"ann"}"#;
    let expected = [
        r#"{"kind":"session","client":"c","expiry_secs":4294967295}"#.to_owned(),
        r#"{"kind":"subscription","client":"c","filter":"a/#","qos":2}"#.to_owned(),
        format!(
            r#"{{"kind":"queued","client":"c","state":"sent","packet_id":5,"qos":1,"retain":true,"message":{message}}}"#
        ),
        r#"{"kind":"queued","client":"c","state":"released","packet_id":6,"qos":2,"retain":true}"#.to_owned(),
        format!(r#"{{"kind":"queued","client":"c","state":"queued","qos":2,"retain":true,"message":{message}}}"#),
        format!(
            r#"{{"kind":"retained","message":{{"topic":"r","qos":1,"retain":true,"payload":{{"base64":"/w=="}}}},{source}}}"#
        ),
    ];
    assert_eq!(whole(4).lines(), expected);
    let without_user = expected.map(|line| line.replace(r#","user":"ann""#, ""));
    assert_eq!(whole(3).lines(), without_user);
}

/// Wherever a file was cut off: if not between two chunks, the place is said.
#[test]
fn a_file_that_ends_too_early_is_said_with_the_place() {
    for version in 3..=6 {
        let whole = whole(version);
        let mut whole_chunks = 0;
        for len in 0..whole.bytes.len() {
            match read(&whole.bytes[..len], TopicLimits::from(&Limits::default())) {
                Ok(_) => whole_chunks += 1,
                Err(wrong) => assert!(wrong.offset <= len && !wrong.what.contains('\n'), "{len}: {wrong:?}"),
            }
        }
        assert_eq!(whole_chunks, 9, "as many places as there are ends of the head and of chunks but the last");
    }
}

#[test]
fn what_is_no_file_of_mosquittos_or_damaged_is_said_with_the_place() {
    let foreign = File { version: 6, bytes: b"SQLite format 3\x00 and more".to_vec() };
    assert!(!is_one(&foreign.bytes) && is_one(&File::new(6).bytes));
    assert_eq!(foreign.wrong(), "0: it is no file of Mosquitto's");
    assert_eq!(File::new(7).wrong(), "19: its format is version 7; 3 to 6 are known");
    assert_eq!(File::new(6).with(9, b"x").wrong(), "47: a chunk of kind 9, which is none");
    assert_eq!(File::new(6).with(4, b"x").wrong(), "55: a retained message needs 8 bytes and 1 are left");
    assert!(File::new(6).message(1, b"a/#", b"", (1, 0)).wrong().starts_with("47: wildcard in a topic name"));
    assert!(File::new(6).message(1, b"a\xFF", b"", (1, 0)).wrong().starts_with("47: a topic that is no text"));
    assert!(File::new(6).message(1, b"a", b"", (3, 0)).wrong().starts_with("47: a QoS that is none"));
    assert!(File::new(6).client(b"c", b"", 9, 0).subscription(b"c", b"#a", 1).wrong().contains("misplaced wildcard"));
    assert!(File::new(6).client(b"c", b"", 9, 0).subscription(b"c", b"a", 0x31).wrong().contains("options of"));
}

#[test]
fn what_belongs_to_nobody_is_left_out_and_told() {
    let contents = File::new(6)
        .client(b"ends", b"", 0, 0)
        .client(b"c", b"", 9, 0)
        .delivery(b"c", 5, 1, (1, 11), false)
        .delivery(b"nobody", 5, 1, (1, 11), false)
        .subscription(b"ends", b"a", 1)
        .message(2, b"$SYS/broker/version", b"x", (2, 1))
        .retained(2)
        .retained(3)
        .read();
    assert!(matches!(&contents.records[..], [Record::Session(session)] if session.client == "c"), "{contents:?}");
    assert!(contents.notes[0].starts_with("1 entries of queues were left out, as the file does not have their mess"));
    assert!(contents.notes[1].contains("does not have their sessions"), "{:?}", contents.notes);
    let deep = File::new(6).message(1, "a/".repeat(300).as_bytes(), b"", (1, 0)).read();
    assert!(deep.records.is_empty() && deep.notes[0].contains("too many levels"), "{:?}", deep.notes);
}

/// Mosquitto 2.0.11 writes what lies in its memory as the name of a client that has none.
#[test]
fn a_user_name_that_is_none_is_left_out_and_told() {
    let contents = File::new(6).client(b"c", b"ann\0\xD3\x7F", 9, 0).client(b"d", b"", 9, 0).read();
    let users: Vec<_> = contents
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Session(session) => Some(session.user.as_deref()),
            _ => None,
        })
        .collect();
    assert_eq!(users, [None, None]);
    assert!(contents.notes.len() == 1 && contents.notes[0].contains("user names are damaged"), "{:?}", contents.notes);
}

/// A QoS 2 message between PUBLISH and PUBREL: its packet id is known, and whoever is to get it has it, once.
#[test]
fn a_message_that_waits_for_pubrel_is_given_to_its_receivers() {
    let contents = File::new(6)
        .message(1, b"a/b", b"one", (2, 1))
        .message(2, b"a/b", b"before", (1, 1))
        .client(b"from", b"", 9, 0)
        .delivery(b"from", 1, 10, (2, 7), true)
        .delivery(b"from", 1, 11, (2, 11), true)
        .client(b"c", b"", 9, 0)
        .client(b"d", b"", 9, 0)
        .subscription(b"c", b"a/#", 1)
        .subscription(b"c", b"a/b", 2 | 8)
        .subscription(b"c", b"x", 2)
        .subscription(b"d", b"#", 0)
        .subscription(b"from", b"#", 2 | 4)
        .subscription(b"c", b"$share/g/a/+", 2)
        .retained(2)
        .read();
    let received = contents.records.iter().filter(|record| matches!(record, Record::Received(_))).count();
    assert_eq!(received, 1, "the one that was not yet answered comes again");
    let queued: Vec<_> = contents
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Queued(queued) => Some(queued),
            _ => None,
        })
        .collect();
    assert_eq!(queued.len(), 1, "{queued:?}");
    let queued = queued[0];
    assert_eq!((queued.client.as_str(), queued.qos, queued.retain, queued.state), ("c", 2, true, State::Queued));
    let payloads = contents.records.iter().filter_map(|record| match record {
        Record::Retained(retained) => Some(retained.message.payload.0.as_slice()),
        _ => None,
    });
    assert_eq!(payloads.collect::<Vec<_>>(), [b"one"]);
}
