//! Tests: stores that are written as files of Mosquitto's and read again.
//!
//! Duty: nothing that the format can say is lost on the way; what it cannot say is left out. Must not: run Mosquitto:
//! `tests/live/moving.rs` does. Neighbours: `copy` writes, `mosquitto` reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::chunk::{self, Chunk, Clip, Format, MAGIC, NEWEST};
use super::copy::Chunks;
use super::keeping::{Kept, Tally, records};
use super::mosquitto::{Contents, read};
use super::record::{Blob, Message, Queued, Received, Record, Retained, Said, Session, Source, State, Subscription};
use crate::id::Millis;
use crate::limits::Limits;
use crate::store::record::Wall;
use crate::store::{Changes, Reading, Space};
use crate::topic::TopicLimits;

const NOW: u64 = 1_700_000_000_000;

fn store_of(records: &[Record]) -> Changes {
    let mut kept = Kept::new(NOW);
    records.iter().for_each(|record| kept.put(record).unwrap());
    let mut all = Changes::default();
    kept.finish().0.iter().for_each(|changes| all.append(changes));
    all
}

/// The records of one kind in the order of their keys, each once.
fn table(changes: &Changes, space: Space) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let of_space = changes.iter().filter(|change| change.space == space);
    of_space.map(|change| (change.key.to_vec(), change.value.unwrap().to_vec())).collect()
}

fn lines_of(changes: &Changes) -> Vec<String> {
    let mut reading = Reading::new((Millis(0), Wall(NOW)), Box::new(|payload| payload));
    for space in Reading::ORDER {
        table(changes, space).iter().for_each(|(key, value)| reading.take(space, key, value));
    }
    let held = reading.finish();
    assert!(held.damaged.is_empty() && held.cleanup.is_empty(), "{held:?}");
    records(&held, Wall(NOW)).map(|record| record.to_line().unwrap()).collect()
}

/// The store as a file, as the runtime has it written.
fn file_of(changes: &Changes, now: u64) -> (Vec<u8>, Tally) {
    let mut chunks = Chunks::new(Vec::new(), now).unwrap();
    table(changes, Space::Message).iter().for_each(|(key, value)| chunks.take(Space::Message, key, value, 0).unwrap());
    for (session, value) in table(changes, Space::Session) {
        let own = |space| table(changes, space).into_iter().filter(|(key, _)| key.starts_with(&session));
        let last = own(Space::Queue).next_back().map_or(0, |(key, _)| u64::from_be_bytes(*key.last_chunk().unwrap()));
        chunks.take(Space::Session, &session, &value, last).unwrap();
        for space in [Space::Subscription, Space::Received, Space::Queue] {
            own(space).for_each(|(key, value)| chunks.take(space, &key, &value, 0).unwrap());
        }
    }
    for (key, value) in table(changes, Space::Retained) {
        chunks.take(Space::Retained, &key, &value, 0).unwrap();
    }
    chunks.finish()
}

fn contents_of(file: &[u8]) -> Contents {
    read(file, TopicLimits::from(&Limits::default())).unwrap()
}

fn a_message() -> impl Strategy<Value = Message> {
    let said =
        (option::of("[a-z/]{0,9}"), option::of(vec(any::<u8>(), 1..9)), vec(("[a-z]{0,3}", "[a-zäß]{0,3}"), 0..3));
    let said = said.prop_map(|(content_type, data, user)| Said {
        content_type,
        correlation_data: data.map(Blob),
        user,
        ..Said::default()
    });
    let parts = ("[a-c]/[a-cü]", 0_u8..3, any::<bool>(), vec(any::<u8>(), 1..200), option::of(1_u64..90), said);
    parts.prop_map(|(topic, qos, retain, payload, ends, properties)| Message {
        topic,
        qos,
        retain,
        payload: Blob(payload),
        expires_at_ms: ends.map(|secs| NOW + secs * 1000),
        properties,
    })
}

/// Sessions by number, and what each of some messages is for them.
fn some_records() -> impl Strategy<Value = Vec<Record>> {
    let session =
        (option::of("[a-z]{1,5}"), prop_oneof![Just(u32::MAX), 1_u32..9999], option::of(1_u64..999), 1_u16..=u16::MAX);
    let session = (
        session,
        vec((0_usize..6, 0_u8..3, any::<[bool; 2]>(), 0_u8..3, option::of(1_u32..300)), 0..4),
        vec(1_u16..9, 0..3),
    );
    let queued = (a_message(), vec((0_usize..3, 1_u8..3, any::<bool>(), vec(1_u32..70_000, 0..2), 0_u8..5), 1..4));
    let source = option::of(("[a-z]{1,4}", option::of("[a-z]{1,4}")));
    (vec(session, 3), vec(queued, 0..40), vec((a_message(), source), 0..4)).prop_map(|(sessions, queues, kept)| {
        let mut records = Vec::new();
        for (index, ((user, expiry_secs, ends, _), subscriptions, received)) in sessions.iter().enumerate() {
            let client = || format!("c{index}");
            let ends_at_ms = Some(NOW + ends.unwrap_or(5) * 1000).filter(|_| *expiry_secs != u32::MAX);
            let (user, expiry_secs) = (user.clone(), *expiry_secs);
            records.push(Record::Session(Session {
                client: client(),
                user,
                expiry_secs,
                ends_at_ms,
                ..Session::default()
            }));
            for (filter, qos, [no_local, retain_as_published], retain_handling, id) in subscriptions {
                let filter = ["a/#", "a/+", "b", "$share/g/a/b", "x/y", "+/ü"][*filter].to_owned();
                let (qos, no_local) = (*qos, *no_local && !filter.starts_with('$'));
                let (retain_as_published, retain_handling, id) = (*retain_as_published, *retain_handling, *id);
                let client = client();
                records.push(Record::Subscription(Subscription {
                    client,
                    filter,
                    qos,
                    no_local,
                    retain_as_published,
                    retain_handling,
                    id,
                }));
            }
            records.extend(received.iter().map(|id| Record::Received(Received { client: client(), packet_id: *id })));
        }
        let mut first: Vec<_> = sessions.iter().map(|((.., id), ..)| Some(*id)).collect();
        for (message, places) in queues {
            let message = Arc::new(message);
            for (session, qos, retain, subscription_ids, kind) in places {
                let is_released = kind == 0;
                records.push(Record::Queued(Queued {
                    client: format!("c{session}"),
                    state: if is_released { State::Released } else { State::Queued },
                    packet_id: first[session].take(),
                    qos: if is_released { 2 } else { qos },
                    retain: retain && !is_released,
                    subscription_ids: if is_released { Vec::new() } else { subscription_ids },
                    message: (!is_released).then(|| Arc::clone(&message)),
                }));
            }
        }
        records.extend(kept.into_iter().map(|(message, source)| {
            let source = source.map(|(client, user)| Source { client, user, rules: 0 });
            Record::Retained(Retained { message: Arc::new(message), source })
        }));
        records
    })
}

proptest! {
    /// A store that was written as Mosquitto's file, and imported from it, is the same store.
    #[test]
    fn a_store_comes_back_from_mosquittos_file_as_it_was(records in some_records()) {
        let store = store_of(&records);
        let (file, tally) = file_of(&store, NOW);
        let contents = contents_of(&file);
        prop_assert_eq!(&contents.notes, &[""; 0]);
        prop_assert_eq!((tally.ended, tally.damaged), (0, 0));
        prop_assert_eq!(lines_of(&store_of(&contents.records)), lines_of(&store));
    }
}

fn queued(client: &str, message: Message) -> Record {
    Record::Queued(Queued {
        client: client.into(),
        state: State::Queued,
        packet_id: None,
        qos: 1,
        retain: false,
        subscription_ids: vec![],
        message: Some(Arc::new(message)),
    })
}

fn session(client: &str, expiry_secs: u32, ends_at_ms: Option<u64>) -> Record {
    Record::Session(Session { client: client.into(), expiry_secs, ends_at_ms, ..Session::default() })
}

/// [MQTT-3.3.1-1]: what may have been sent is sent with DUP, under the packet id that it had; no more than Mosquitto has in flight.
#[test]
fn the_first_messages_of_a_queue_may_have_been_sent() {
    let message = || Message { topic: "t".into(), payload: Blob(b"x".to_vec()), ..Message::default() };
    let all: Vec<_> = [session("c", 9, None)].into_iter().chain((0..25).map(|_| queued("c", message()))).collect();
    let (file, tally) = file_of(&store_of(&all), NOW);
    assert_eq!(tally, Tally { sessions: 1, queued: 25, ..Tally::default() });
    let (mut clip, mut found) = (Clip::new(&file), Vec::new());
    clip.take(MAGIC.len() + 8, "the head").unwrap();
    while !clip.is_empty() {
        match chunk::next(&mut clip, Format { version: NEWEST }).unwrap().chunk {
            Chunk::Delivery(delivery) => found.push((delivery.packet_id, delivery.step, delivery.dup)),
            Chunk::Client(client) => {
                assert_eq!((client.last_packet_id, client.ends_at_secs), (25, Some(NOW / 1000 + 9)));
            }
            _ => {}
        }
    }
    let expected = (1..=25).map(|id| if id <= 20 { (id, 3, true) } else { (id, 11, false) });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn what_has_ended_or_is_damaged_is_left_out_and_counted() {
    let ends = Message {
        topic: "t".into(),
        payload: Blob(b"x".to_vec()),
        expires_at_ms: Some(NOW + 1000),
        ..Message::default()
    };
    let stays = Message { expires_at_ms: None, ..ends.clone() };
    let all = [
        session("ends", 60, Some(NOW + 1000)),
        queued("ends", stays.clone()),
        session("stays", u32::MAX, None),
        queued("stays", ends.clone()),
        queued("stays", stays),
        Record::Retained(Retained { message: Arc::new(ends), source: None }),
    ];
    let mut store = store_of(&all);
    store.put(Space::Retained, b"t/2", b"damaged");
    let (file, tally) = file_of(&store, NOW + 1000);
    assert_eq!(tally, Tally { sessions: 1, queued: 1, ended: 3, damaged: 1, ..Tally::default() });
    let lines: Vec<_> = contents_of(&file).records.iter().map(|record| record.to_line().unwrap()).collect();
    let expected = [
        r#"{"kind":"session","client":"stays","expiry_secs":4294967295}"#,
        r#"{"kind":"queued","client":"stays","state":"sent","packet_id":2,"qos":1,"message":{"topic":"t","qos":0,"payload":{"text":"x"}}}"#,
    ];
    assert_eq!(lines, expected);
    let told = "1 sessions, 0 subscriptions, 1 waiting and 0 retained messages, without 3 records that have ended, without 1 records that \
                are damaged";
    assert_eq!(tally.to_string(), told);
}
