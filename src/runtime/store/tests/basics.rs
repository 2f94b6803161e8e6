//! What a store does when nothing is wrong with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::runtime::store::StoreFault;
use crate::runtime::store::directory::{FORMAT, format_line};

#[test]
fn what_is_committed_is_there_when_the_store_is_opened_again() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let mut changes = put(Space::Queue, b"b", b"2");
    changes.put(Space::Queue, b"a", b"1");
    changes.put(Space::Retained, b"a", &[7; 10_000]);
    changes.put(Space::Session, b"gone", b"x");
    engine.commit(&changes, true).expect("committed");
    let mut changes = put(Space::Queue, b"b", b"3");
    changes.delete(Space::Session, b"gone");
    changes.delete(Space::Session, b"never there");
    engine.commit(&changes, false).expect("committed");
    engine.sync().expect("synced");
    let before = read_all(&mut engine);
    drop(engine);
    let after = read_all(&mut open(&folder.0));
    assert_eq!(before, after);
    let keys: Vec<_> = after.0.iter().map(|((space, key), value)| (*space, &key[..], value.len())).collect();
    assert_eq!(keys, [(Space::Queue, &b"a"[..], 1), (Space::Queue, b"b", 1), (Space::Retained, b"a", 10_000)]);
    assert_eq!(after.0[&(Space::Queue, b"b".to_vec())], b"3");
}

/// Many turns of shards are one commit, in which a message is often queued and acknowledged.
#[test]
fn the_last_change_of_a_record_in_a_commit_counts() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let mut changes = put(Space::Queue, b"came and went", b"1");
    changes.delete(Space::Queue, b"came and went");
    changes.delete(Space::Queue, b"went and came");
    changes.put(Space::Queue, b"went and came", b"2");
    changes.put(Space::Queue, b"twice", b"3");
    changes.put(Space::Queue, b"twice", b"4");
    engine.commit(&changes, true).expect("committed");
    let expected: All = [(b"twice".to_vec(), b"4"), (b"went and came".to_vec(), b"2")]
        .map(|(k, v)| ((Space::Queue, k), v.to_vec()))
        .into();
    assert_eq!(read_all(&mut engine).0, expected, "in memory");
    drop(engine);
    let mut engine = open(&folder.0);
    assert_eq!(read_all(&mut engine).0, expected, "in the journal");
    damage::flush(&engine);
    drop(engine);
    assert_eq!(read_all(&mut open(&folder.0)).0, expected, "in a table");
}

/// Two brokers in one directory would destroy each other's store.
#[test]
fn who_comes_second_is_told_who_has_the_store() {
    let folder = Folder::new();
    let engine = open(&folder.0);
    let fault = Engine::open(&folder.0, TERMS).expect_err("taken");
    let text = fault.to_string();
    assert!(matches!(fault, StoreFault::Taken { pid: Some(pid), .. } if pid == std::process::id()), "{text}");
    assert!(text.contains(&folder.0.display().to_string()) && text.contains(&std::process::id().to_string()), "{text}");
    drop(engine);
    open(&folder.0);
}

#[test]
fn nobody_but_the_owner_can_read_a_store() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    engine.commit(&put(Space::Queue, b"key", b"value"), true).expect("committed");
    damage::flush(&engine);
    let is_private = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o077 == 0;
    assert!(is_private(&folder.0));
    let open_to_others: Vec<_> = files_in(&folder.0).into_iter().filter(|path| !is_private(path)).collect();
    assert!(open_to_others.is_empty(), "{open_to_others:?}");
}

/// Case O05: a store of a newer ringmq is not damaged.
#[test]
fn a_store_of_another_format_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    drop(open(&folder.0));
    for found in [format_line(FORMAT + 1).as_str(), "somebody else's words about a format of theirs"] {
        fs::write(folder.0.join("format"), found).expect("written");
        let before: Vec<_> =
            files_in(&folder.0).into_iter().map(|path| (fs::read(&path).expect("read"), path)).collect();
        let text = Engine::open(&folder.0, TERMS).expect_err("foreign").to_string();
        assert!(text.contains(found.trim_end()) && text.contains(format_line(FORMAT).trim_end()), "{text}");
        let after: Vec<_> =
            files_in(&folder.0).into_iter().map(|path| (fs::read(&path).expect("read"), path)).collect();
        assert!(before == after, "nothing was touched");
    }
    fs::write(folder.0.join("format"), format_line(FORMAT)).expect("written");
    open(&folder.0);
}
