//! What is whole in a journal of the real database.

use std::fs;

use super::*;
use crate::runtime::store::journals::walk;

const COMMITS: u64 = 40;

/// The bytes of a journal with so many commits, and where each of them ends.
fn journal() -> (Vec<u8>, Vec<usize>) {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let path = folder.0.join("records/0.jnl");
    let mut dice = Dice(7);
    let mut ends = Vec::new();
    for number in 0..COMMITS {
        // Some values are compressed, some records deleted.
        let mut changes = put(Space::Queue, &number.to_be_bytes(), &dice.bytes(300));
        changes.put(Space::Retained, &number.to_be_bytes(), &vec![number as u8; 5000]);
        changes.delete(Space::Session, &number.to_be_bytes());
        engine.commit(&changes, true).expect("committed");
        let bytes = fs::read(&path).expect("read");
        ends.push(bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count());
    }
    let bytes = fs::read(&path).expect("read");
    (bytes[..ends[ends.len() - 1]].to_vec(), ends)
}

#[test]
fn a_journal_of_the_real_database_is_understood() {
    let (mut bytes, _) = journal();
    let found = walk(&bytes);
    assert!(found.is_whole() && found.commits == COMMITS as usize, "{found:?}");
    assert_eq!(found.mended(&bytes), bytes);
    bytes.resize(bytes.len() + 100_000, 0);
    assert!(walk(&bytes).is_whole(), "zeros were allocated in advance");
}

/// Case O09: at every byte.
#[test]
fn a_journal_that_is_cut_has_the_commits_before_the_cut() {
    let (bytes, ends) = journal();
    for cut in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let end = whole.checked_sub(1).map_or(0, |last| ends[last]);
        for padding in [0, 1000] {
            let mut part = bytes[..cut].to_vec();
            part.resize(cut + padding, 0);
            let found = walk(&part);
            assert_eq!((found.commits, found.whole_bytes(), found.damaged_bytes), (whole, end, 0), "cut at {cut}");
            assert!(found.tail.is_empty() || found.is_torn, "cut at {cut}");
        }
    }
}

/// Case O05: what comes after the damage is not lost.
#[test]
fn one_wrong_byte_costs_one_commit_at_most() {
    let (bytes, ends) = journal();
    let mut dice = Dice(3);
    for _ in 0..400 {
        let at = dice.below(bytes.len());
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << dice.below(8);
        let found = walk(&damaged);
        let is_last = at >= ends[ends.len() - 2];
        assert!(found.commits + 1 >= ends.len(), "byte {at}: {found:?}");
        assert!(!found.is_whole() || walk(&found.mended(&damaged)).is_whole());
        assert!(found.tail.is_empty() || is_last, "byte {at}: {found:?}");
        let mended = walk(&found.mended(&damaged));
        assert!(mended.is_whole() && mended.commits == found.commits, "byte {at}: {mended:?}");
        if found.commits == ends.len() {
            assert!(found.mended(&damaged) == bytes, "byte {at}: a head that is known again");
        }
    }
}

/// What a client has sent must not become records, however it looks.
#[test]
fn a_commit_inside_of_a_value_is_never_believed() {
    let (inner, ends) = journal();
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    engine.commit(&put(Space::Queue, b"before", b"1"), true).expect("committed");
    engine.commit(&put(Space::Queue, b"payload", &inner[..ends[0]]), true).expect("committed");
    engine.commit(&put(Space::Queue, b"after", b"2"), true).expect("committed");
    drop(engine);
    let bytes = fs::read(folder.0.join("records/0.jnl")).expect("read");
    let whole = walk(&bytes);
    assert_eq!(whole.commits, 3);
    let inside = bytes.windows(8).position(|window| window == b"payload\x01").expect("there") + 7;
    for at in inside - 40..inside {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let found = walk(&damaged);
        let content = found.mended(&damaged);
        assert!(found.commits <= 3);
        assert!(!content.windows(40).any(|window| window == &inner[..40]) || found.commits == 3, "byte {at}");
    }
}
