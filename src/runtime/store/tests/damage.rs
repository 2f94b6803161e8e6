//! Stores that are not as they should be: they always open, and say what they have lost.

use std::fs::{self, OpenOptions};
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;

const RECORDS: u64 = 400;

/// What is in memory becomes tables.
pub(super) fn flush(engine: &Engine) {
    for keyspace in &engine.records.as_ref().expect("open").keyspaces {
        keyspace.rotate_memtable_and_wait().expect("written");
    }
}

/// Each value says which record it is of, and in which version.
fn value_of(space: Space, number: u64, version: u8) -> Vec<u8> {
    let mut value = vec![space as u8, version];
    value.extend(number.to_be_bytes());
    value.extend(Dice(number).bytes(40 + (number % 90) as usize));
    value
}

fn write(engine: &mut Engine, numbers: impl Iterator<Item = u64>, version: u8) {
    for number in numbers {
        let space = Space::ALL[(number % 7) as usize];
        engine.commit(&put(space, &number.to_be_bytes(), &value_of(space, number, version)), true).expect("committed");
    }
}

/// A store with tables, and with commits that are in the journal alone.
fn store_with_tables() -> (Folder, All) {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    write(&mut engine, 0..RECORDS / 2, 1);
    flush(&engine);
    write(&mut engine, RECORDS / 4..RECORDS / 2 + 20, 2);
    flush(&engine);
    write(&mut engine, RECORDS / 2..RECORDS, 3);
    drop(engine);
    let mut engine = open(&folder.0);
    let (all, _) = read_all(&mut engine);
    assert_eq!(all.len() as u64, RECORDS);
    (folder, all)
}

/// No record is one that was never written.
fn check_content(all: &All, seed: u64) {
    for ((space, key), value) in all {
        let number = u64::from_be_bytes(key[..].try_into().expect("eight bytes"));
        let is_ours = (1..=3).any(|version| *value == value_of(*space, number, version));
        assert!(is_ours, "seed {seed}: {space:?} {number} is {value:?}");
    }
}

fn damage(path: &Path, dice: &mut Dice) -> &'static str {
    let mut bytes = fs::read(path).expect("read");
    let what = match dice.below(7) {
        _ if bytes.is_empty() => {
            bytes = dice.bytes(100);
            "filled"
        }
        0 | 1 => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            "one bit"
        }
        2 => {
            for _ in 0..8 {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            "eight bits"
        }
        3 => {
            bytes.truncate(dice.below(bytes.len()));
            "cut"
        }
        4 => {
            bytes.clear();
            "empty"
        }
        5 => {
            let at = dice.below(bytes.len());
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            "zeros"
        }
        _ => {
            let at = dice.below(bytes.len());
            let garbage = dice.bytes((bytes.len() - at).min(512));
            bytes[at..at + garbage.len()].copy_from_slice(&garbage);
            "garbage"
        }
    };
    fs::write(path, bytes).expect("written");
    what
}

/// Case O05: 300 stores here, 10,000 in a long run (`RINGMQ_STORE_SEEDS`).
#[test]
fn a_damaged_store_opens_and_says_what_is_lost() {
    let (template, all) = store_with_tables();
    for seed in 0..rounds("RINGMQ_STORE_SEEDS", 300) {
        let mut dice = Dice(seed);
        let folder = Folder::copy_of(&template.0);
        let files: Vec<_> = files_in(&folder.0).into_iter().filter(|path| !path.ends_with("lock")).collect();
        // Every fourth has two files damaged.
        let (mut hurt, first) = (Vec::new(), dice.below(files.len()));
        for step in 0..if seed % 4 == 3 { 2 } else { 1 } {
            let path = &files[(first + step * (1 + dice.below(files.len() - 1))) % files.len()];
            let what = match dice.below(12) {
                0 => fs::remove_file(path).map(|()| "removed").expect("removed"),
                _ => damage(path, &mut dice),
            };
            hurt.push((path, what));
        }
        let said = format!("seed {seed}: {hurt:?}");
        let (mut engine, mut findings) = match Engine::open(&folder.0, TERMS) {
            Ok(opened) => opened,
            // Who writes other words into the file that says whose the store is, gets them back.
            Err(fault) => {
                let is_format = hurt.iter().any(|(path, _)| path.ends_with("format"));
                assert!(is_format && fault.to_string().contains("has the format"), "{said}: {fault}");
                continue;
            }
        };
        let (after, found) = read_all(&mut engine);
        findings.append(found);
        check_content(&after, seed);
        let is_less = all.iter().any(|(key, value)| after.get(key) != Some(value));
        // A journal that ends early looks like one that was not written to its end, and which tables a damaged manifest had named
        // nobody knows when one of them is gone as well.
        let is_shorter = hurt.iter().any(|(path, what)| {
            path.extension().is_some_and(|ending| ending == "jnl") && ["cut", "empty", "zeros"].contains(what)
        });
        let is_unknown =
            hurt.len() == 2 && hurt.iter().any(|(_, what)| *what == "removed") && !findings.recovered.is_empty();
        assert!(
            !is_less || is_shorter || is_unknown || !findings.lost.is_empty(),
            "{said}: something is lost and not said: {findings:?}"
        );
        for aside in &findings.set_aside {
            assert!(
                aside.to.exists() && findings.lines().iter().any(|line| line.contains(&*aside.to.to_string_lossy()))
            );
        }
        engine.commit(&put(Space::Queue, &u64::MAX.to_be_bytes(), b"new"), true).expect("committed");
        drop(engine);
        let (mut engine, findings) = Engine::open(&folder.0, TERMS).expect("opens again");
        assert!(findings.is_empty(), "{said}: what is mended stays so: {findings:?}");
        let (mut again, _) = read_all(&mut engine);
        assert_eq!(
            again.remove(&(Space::Queue, u64::MAX.to_be_bytes().to_vec())).as_deref(),
            Some(&b"new"[..]),
            "{said}"
        );
        assert!(again == after, "{said}: what could be read is still there");
    }
}

/// Case O05: one block of a table is a few records.
#[test]
fn a_damaged_table_costs_the_records_of_a_block() {
    let (folder, all) = store_with_tables();
    let tree = folder.0.join("records/keyspaces").join((Space::Queue as usize + 1).to_string());
    let tables = files_in(&tree.join("tables"));
    let mut bytes = fs::read(&tables[0]).expect("read");
    bytes[100] ^= 1;
    fs::write(&tables[0], bytes).expect("written");
    let (mut engine, findings) = Engine::open(&folder.0, TERMS).expect("opens");
    assert!(findings.is_empty(), "only a reader sees it");
    let (after, findings) = read_all(&mut engine);
    assert!(!findings.lost.is_empty() && findings.set_aside[0].from == tables[0], "{findings:?}");
    assert!(after.len() < all.len() && after.len() > all.len() * 19 / 20, "{} of {}", after.len(), all.len());
    let missing = all.keys().filter(|key| !after.contains_key(*key));
    assert!(missing.clone().all(|(space, _)| *space == Space::Queue), "{:?}", missing.collect::<Vec<_>>());
    check_content(&after, 0);
}

/// Case O09: wherever the newest file ends, what was synced before that place is there. Every byte is tried on the journal alone
/// (`journals`), here some of them (all with `RINGMQ_STORE_CUTS`).
#[test]
fn a_store_that_is_cut_has_what_was_synced_before_the_cut() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let journal = folder.0.join("records/0.jnl");
    let mut ends = vec![0];
    for number in 0..150_u64 {
        engine.commit(&put(Space::Queue, &number.to_be_bytes(), &cut_value(number)), true).expect("committed");
        let bytes = fs::read(&journal).expect("read");
        ends.push(bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count());
    }
    drop(engine);
    let last = ends[ends.len() - 1];
    let first = last.saturating_sub(64 << 10);
    let mut dice = Dice(11);
    let tries = rounds("RINGMQ_STORE_CUTS", 60) as usize;
    let mut cuts: Vec<usize> = ends.iter().rev().take(10).flat_map(|end| [*end - 1, *end]).collect();
    if tries >= last - first {
        cuts.extend(first..last);
    } else {
        cuts.extend(std::iter::repeat_with(|| first + dice.below(last - first)).take(tries));
    }
    drop(OpenOptions::new().write(true).open(&journal).and_then(|file| file.set_len(last as u64)));
    // Opening waits for threads and files more than it computes.
    let (next, workers) = (AtomicUsize::new(0), if cuts.len() > 1000 { LONG_RUN_THREADS } else { 1 });
    let work = || {
        while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
            check_cut(&folder.0, &ends, *cut);
        }
    };
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    println!("\n{} cuts of the newest file between {first} and {last}, all as they should be", cuts.len());
}

/// Threads of a run with many cuts.
const LONG_RUN_THREADS: usize = 8;

/// The value of each commit of the store that is cut.
fn cut_value(number: u64) -> Vec<u8> {
    Dice(number).bytes(400)
}

/// A copy of the store whose journal ends at `cut` has what was committed through the last of the `ends` before that, and no damage.
fn check_cut(store: &Path, ends: &[usize], cut: usize) {
    let copy = Folder::copy_of(store);
    let file = OpenOptions::new().write(true).open(copy.0.join("records/0.jnl")).expect("opens");
    file.set_len(cut as u64).expect("cut");
    let (mut engine, findings) = Engine::open(&copy.0, TERMS).expect("opens");
    let whole = ends.iter().filter(|end| **end <= cut && **end > 0).count();
    let (all, _) = read_all(&mut engine);
    let expected = (0..whole as u64).map(|number| ((Space::Queue, number.to_be_bytes().to_vec()), cut_value(number)));
    assert!(all.into_iter().eq(expected), "cut at {cut}");
    assert!(findings.lost.is_empty() && findings.set_aside.is_empty(), "a torn end is no damage: {findings:?}");
    assert_eq!(findings.recovered.is_empty(), ends.contains(&cut), "cut at {cut}: {findings:?}");
}

/// Case O09: the files of a running store are at every moment a store that opens with all that was synced, with several journals too.
#[test]
fn the_files_of_a_running_store_are_whole() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let count = 800_u64;
    for number in 0..count {
        engine
            .commit(&put(Space::Queue, &number.to_be_bytes(), &Dice(number).bytes(100_000)), false)
            .expect("committed");
        let mut changes = Changes::default();
        changes.delete(Space::Queue, &(number / 2).to_be_bytes());
        engine.commit(&changes, true).expect("committed");
    }
    let expected = read_all(&mut engine).0;
    assert_eq!(expected.len() as u64, count / 2);
    // A copy would be torn where the database's own threads are at work.
    flush(&engine);
    engine.commit(&put(Space::Queue, &count.to_be_bytes(), b"last"), true).expect("committed");
    let copy = Folder::copy_of(&folder.0);
    drop(engine);
    let mut engine = open(&copy.0);
    let (mut found, _) = read_all(&mut engine);
    assert_eq!(found.remove(&(Space::Queue, count.to_be_bytes().to_vec())).as_deref(), Some(&b"last"[..]));
    assert!(found == expected);
}
