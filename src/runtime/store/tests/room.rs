//! A disk that is full, and one that fails.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::runtime::store::engine::Step;
use crate::runtime::store::findings::CommitError;

/// A small file system of its own.
pub(super) struct Disk(Folder);

impl Disk {
    pub(super) fn new(options: &str) -> Self {
        let folder = Folder::new();
        fs::create_dir(&folder.0).expect("made");
        let place = CString::new(folder.0.as_os_str().as_bytes()).expect("no zero");
        let options = CString::new(options).expect("no zero");
        // SAFETY: strings with their ends, which live through the call.
        let mounted =
            unsafe { libc::mount(c"none".as_ptr(), place.as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()) };
        assert_eq!(mounted, 0, "a tmpfs cannot be mounted ({}): run this test as root", io::Error::last_os_error());
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.0
    }

    /// Fills it up to the last block.
    pub(super) fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).expect("made");
        while io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let place = CString::new(self.path().as_os_str().as_bytes()).expect("no zero");
        // SAFETY: a string with its end, which lives through the call.
        unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Commits until there is no room; says how many were taken.
fn commit_until_full(engine: &mut Engine, first: u64) -> u64 {
    for number in first.. {
        match engine.commit(&put(Space::Queue, &number.to_be_bytes(), &Dice(number).bytes(1500)), true) {
            Ok(()) => {}
            Err(CommitError::Full(_)) => return number,
            Err(CommitError::Broken(why)) => panic!("{why}"),
        }
    }
    unreachable!("the disk is small")
}

/// Case O06: the same changes are taken when there is room again, and nothing that was taken is lost.
#[test]
fn a_full_disk_is_not_the_end() {
    let disk = Disk::new("size=2m,mode=700");
    let mut engine = open(&disk.path().join("store"));
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 500_000]).expect("written");
    let full_at = commit_until_full(&mut engine, 0);
    assert!(full_at > 100, "{full_at}");
    let changes = put(Space::Queue, &full_at.to_be_bytes(), &Dice(full_at).bytes(1500));
    assert!(matches!(engine.commit(&changes, true), Err(CommitError::Full(_))), "still no room");
    fs::remove_file(&filler).expect("removed");
    engine.commit(&changes, true).expect("there is room");
    let (all, _) = read_all(&mut engine);
    assert_eq!(all.len() as u64, full_at + 1);
    let full_at = commit_until_full(&mut engine, full_at + 1);
    drop(engine);
    let (mut engine, findings) = Engine::open(&disk.path().join("store"), TERMS).expect("opens on a full disk");
    assert!(findings.lost.is_empty(), "{findings:?}");
    let (all, _) = read_all(&mut engine);
    assert!(all.len() as u64 >= full_at, "{} of {full_at}", all.len());
}

/// Case O06: before the disk is full the store says so, and what is on its way is still taken.
#[test]
fn a_reserve_is_kept_free() {
    let disk = Disk::new("size=16m,mode=700");
    let (mut engine, _) = Engine::open(&disk.path().join("store"), Terms { free_bytes_min: 1 << 40 }).expect("opens");
    assert!(!engine.is_short(), "the reserve is no more than a twentieth");
    let mut number = 0_u64;
    while !engine.is_short() {
        engine.commit(&put(Space::Queue, &number.to_be_bytes(), &Dice(number).bytes(100_000)), true).expect("room");
        number += 1;
    }
    engine.commit(&put(Space::Queue, b"one more", b"x"), true).expect("the reserve is for that");
    let end = commit_until_full(&mut engine, number);
    let filler = disk.fill();
    let left = fs::metadata(filler).expect("there").len();
    assert!(left > 100_000 && end > number, "the rest is for the database's own files: {left}");
}

/// Case O07: what a failed sync has not written may never be written, and the system says so once.
#[test]
fn a_store_that_could_not_sync_takes_nothing_more() {
    for number in [libc::EIO, libc::ENOSPC] {
        let folder = Folder::new();
        let mut engine = open(&folder.0);
        engine.commit(&put(Space::Queue, b"before", b"1"), true).expect("committed");
        let syncs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&syncs);
        engine.fault = Some(Box::new(move |step| {
            let is_sync = step == Step::Sync;
            is_sync.then(|| counted.fetch_add(1, Ordering::Relaxed));
            is_sync.then(|| io::Error::from_raw_os_error(number))
        }));
        let changes = put(Space::Queue, b"at", b"2");
        assert!(matches!(engine.commit(&changes, true), Err(CommitError::Broken(_))));
        engine.fault = engine.fault.take().filter(|_| false);
        for must_sync in [true, false] {
            assert!(matches!(engine.commit(&changes, must_sync), Err(CommitError::Broken(_))));
        }
        assert!(matches!(engine.sync(), Err(CommitError::Broken(_))));
        assert_eq!(syncs.load(Ordering::Relaxed), 1, "never tried again");
        drop(engine);
        assert!(read_all(&mut open(&folder.0)).0.contains_key(&(Space::Queue, b"before".to_vec())));
    }
}

/// Case O07: a write that fails for another reason than room.
#[test]
fn a_store_that_could_not_write_takes_nothing_more() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    engine.fault = Some(Box::new(|step| (step == Step::Write).then(|| io::Error::from_raw_os_error(libc::EIO))));
    assert!(matches!(engine.commit(&put(Space::Queue, b"at", b"2"), false), Err(CommitError::Broken(_))));
    engine.fault = None;
    assert!(matches!(engine.commit(&put(Space::Queue, b"at", b"2"), false), Err(CommitError::Broken(_))));
}
