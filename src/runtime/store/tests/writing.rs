//! The thread that writes, and what shards hear of it.

use std::fs;
use std::io;

use crossbeam_channel::{Receiver, unbounded};

use super::room::Disk;
use super::*;
use crate::id::ShardId;
use crate::runtime::store::engine::Step;
use crate::runtime::store::{State, Store, Voice, WriterEnd, start};
use crate::store::{Batch, Group};

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);

/// A writer whose wakes and lines can be read.
struct Scene {
    store: Store,
    end: WriterEnd,
    woken: Receiver<ShardId>,
    lines: Receiver<(bool, String)>,
}

impl Scene {
    fn new(engine: Engine) -> Self {
        let ((wake, woken), (tell, lines)) = (unbounded(), unbounded());
        let voice = Voice {
            wake: Box::new(move |shard| wake.send(shard).unwrap_or_default()),
            tell: Box::new(move |is_error, line| tell.send((is_error, line)).unwrap_or_default()),
        };
        let (store, end) = start(engine, Group::new(2), 2, voice, false).expect("started");
        Self { store, end, woken, lines }
    }

    fn send(&self, shard: ShardId, ticket: u64, must_sync: bool, bytes: usize) {
        let key = [&[shard.0 as u8][..], &ticket.to_be_bytes()].concat();
        let changes = put(Space::Retained, &key, &Dice(ticket).bytes(bytes));
        self.store.send(shard, Batch { ticket, must_sync, changes, ..Batch::default() });
    }

    /// The answer that covers a ticket.
    fn answer(&self, shard: ShardId, ticket: u64) -> bool {
        loop {
            let (through, unsafe_through) = self.store.answered(shard);
            if through >= ticket {
                return unsafe_through < ticket;
            }
            self.woken.recv().expect("somebody is woken");
        }
    }

    fn line(&self, part: &str) -> bool {
        loop {
            let (is_error, line) = self.lines.recv().expect("a line");
            if line.contains(part) {
                return is_error;
            }
        }
    }

    /// Ends it as a stop of the broker does.
    fn end(self) -> Option<Engine> {
        let Self { store, end, .. } = self;
        drop(store);
        end.join()
    }
}

#[test]
fn each_shard_hears_how_far_its_batches_are_safe() {
    let folder = Folder::new();
    let scene = Scene::new(open(&folder.0));
    for ticket in 1..=200 {
        scene.send(A, ticket, true, 100);
        scene.send(B, 2 * ticket, true, 100);
    }
    assert!(scene.answer(A, 200) && scene.answer(B, 400));
    assert_eq!((scene.store.answered(A).0, scene.store.answered(B).0), (200, 400));
    let tally = scene.store.tally();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((count(&tally.changes), count(&tally.full), count(&tally.broken)), (400, 0, 0));
    assert!(count(&tally.commits) <= 400 && count(&tally.commit_micros) >= count(&tally.commit_micros_max));
    let mut engine = scene.end().expect("it ended well");
    assert_eq!(read_all(&mut engine).0.len(), 400);
}

/// Nobody waits for what need not be synced, and nothing else has to come for it to be written.
#[test]
fn what_need_not_be_synced_is_written_too() {
    let folder = Folder::new();
    let scene = Scene::new(open(&folder.0));
    scene.send(A, 1, false, 100);
    assert!(scene.answer(A, 1));
    assert_eq!(scene.store.tally().synced_commits.load(Ordering::Relaxed), 1);
    scene.send(A, 2, false, 100);
    scene.send(B, 1, true, 100);
    assert!(scene.answer(B, 1) && scene.answer(A, 2), "it rides along");
    scene.send(A, 3, false, 100);
    drop(scene.end());
    assert_eq!(read_all(&mut open(&folder.0)).0.len(), 4, "the last one is written at the end");
}

/// Case O06: what is refused while the disk is full is told so at once; with room again all goes on, and the disk has all changes
/// that memory has.
#[test]
fn a_full_disk_is_told_and_left_behind() {
    let disk = Disk::new("size=2m,mode=700");
    let folder = disk.path().join("store");
    let scene = Scene::new(open(&folder));
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 500_000]).expect("written");
    let mut ticket = 0;
    while scene.store.state() == State::Ok {
        ticket += 1;
        scene.send(A, ticket, true, 1500);
        scene.answer(A, ticket);
    }
    assert_eq!(scene.store.state(), State::Full);
    assert!(!scene.answer(A, ticket), "it was not safe");
    assert!(scene.line("FULL"));
    scene.send(B, 1, true, 10);
    assert!(!scene.answer(B, 1));
    fs::remove_file(&filler).expect("removed");
    assert!(!scene.line("room again"));
    assert_eq!(scene.store.state(), State::Ok);
    scene.send(A, ticket + 1, true, 1500);
    assert!(scene.answer(A, ticket + 1));
    assert_eq!(scene.store.tally().full.load(Ordering::Relaxed), 1);
    drop(scene.end());
    assert_eq!(read_all(&mut open(&folder)).0.len() as u64, ticket + 2);
}

/// Case O07: after a sync that has failed nothing is ever answered as safe again.
#[test]
fn a_broken_store_says_so_for_good() {
    let folder = Folder::new();
    let mut engine = open(&folder.0);
    let mut syncs = 0;
    engine.fault = Some(Box::new(move |step| {
        syncs += u32::from(step == Step::Sync);
        // A commit that is synced syncs twice: for itself, and to hear of the database's threads.
        (step == Step::Sync && syncs == 3).then(|| io::Error::from_raw_os_error(libc::EIO))
    }));
    let scene = Scene::new(engine);
    scene.send(A, 1, true, 100);
    assert!(scene.answer(A, 1));
    scene.send(A, 2, true, 100);
    assert!(!scene.answer(A, 2));
    assert!(scene.line("BROKEN"));
    assert_eq!(scene.store.state(), State::Broken);
    for ticket in 3..10 {
        scene.send(A, ticket, ticket % 2 == 0, 100);
        scene.send(B, ticket, true, 100);
        assert!(!scene.answer(A, ticket) && !scene.answer(B, ticket));
    }
    assert_eq!(scene.store.tally().broken.load(Ordering::Relaxed), 1);
    drop(scene.end());
}
