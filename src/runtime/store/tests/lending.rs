//! Stores that are read by somebody else while they are written.

use std::io;
use std::thread;

use super::*;
use crate::runtime::store::CommitError;
use crate::runtime::store::engine::Step;

fn key(session: u64, rest: u64) -> Vec<u8> {
    [session.to_be_bytes(), rest.to_be_bytes()].concat()
}

/// Each session comes before what is its own, with the end of its queue; what is of no session goes to the next one.
#[test]
fn a_snapshot_shows_one_moment_session_by_session() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    for session in [1, 3] {
        engine.commit(&put(Space::Session, &key(session, 0)[..8], b"s"), false).expect("committed");
    }
    for (session, last) in [(1, 2), (2, 9), (3, 1)] {
        for sequence in 1..=last {
            engine.commit(&put(Space::Queue, &key(session, sequence), b"q"), false).expect("committed");
        }
        engine.commit(&put(Space::Subscription, &key(session, 0), b"f"), false).expect("committed");
    }
    engine.commit(&put(Space::Retained, b"r", b"r"), false).expect("committed");
    engine.commit(&put(Space::Message, &key(7, 0)[..8], b"m"), false).expect("committed");
    let snapshot = engine.snapshot().expect("open");
    engine.commit(&put(Space::Session, &key(4, 0)[..8], b"too late"), true).expect("committed");
    engine.commit(&put(Space::Queue, &key(3, 2), b"too late"), true).expect("committed");
    let mut seen = Vec::new();
    snapshot
        .show(&mut |space, key, _, last| {
            let session = key.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
            seen.push((space, session, last));
            Ok(())
        })
        .expect("shown");
    let own =
        |session, queue| [vec![(Space::Subscription, session, 0)], vec![(Space::Queue, session, 0); queue]].concat();
    let expected = [
        vec![(Space::Message, 7, 0), (Space::Session, 1, 2)],
        own(1, 2),
        vec![(Space::Session, 3, 1), (Space::Subscription, 2, 0), (Space::Subscription, 3, 0)],
        vec![(Space::Queue, 2, 0); 9],
        vec![(Space::Queue, 3, 0), (Space::Retained, 0, 0)],
    ];
    assert_eq!(seen, expected.concat());
}

/// Case O06: who reads gives the store back when it has to be opened again.
#[test]
fn a_store_that_is_opened_again_waits_for_who_reads_it() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    engine.commit(&put(Space::Queue, b"a", b"1"), true).expect("committed");
    let snapshot = engine.snapshot().expect("open");
    let reader = thread::spawn(move || {
        loop {
            if let Err(error) = snapshot.show(&mut |_, _, _, _| Ok(())) {
                return error.to_string();
            }
        }
    });
    engine.fault = Some(Box::new(|step| (step == Step::Write).then(|| io::Error::from_raw_os_error(libc::ENOSPC))));
    let full = engine.commit(&put(Space::Queue, b"b", b"2"), true);
    assert!(matches!(full, Err(CommitError::Full(_))), "{full:?}");
    engine.fault = None;
    engine.commit(&put(Space::Queue, b"b", b"2"), true).expect("opened again");
    let why = reader.join().expect("given back");
    assert_eq!(why, "the store is opened again meanwhile");
    assert_eq!(read_all(&mut engine).0.len(), 2);
    assert!(engine.snapshot().expect("open").show(&mut |_, _, _, _| Ok(())).is_ok(), "the next one is whole");
}
