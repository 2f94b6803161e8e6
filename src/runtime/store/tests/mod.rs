//! Tests of the store on real files: what each of them needs.

mod basics;
mod damage;
mod journals;
mod lending;
mod room;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Engine, Findings, Terms};
use crate::store::{Changes, Space};

/// No reserve.
const TERMS: Terms = Terms { free_bytes_min: 0 };

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Thousands of stores are made here, and nothing of them need outlive the machine.
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = place.join(format!("ringmq-store-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn copy_of(other: &Path) -> Self {
        let folder = Self::new();
        copy(other, &folder.0);
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("read") {
        let entry = entry.expect("read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// All files below a folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("read") {
        let path = entry.expect("read").path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn open(folder: &Path) -> Engine {
    let (engine, findings) = Engine::open(folder, TERMS).expect("opens");
    assert_eq!(findings, Findings::default());
    engine
}

type All = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// All records, and what was found on the way.
fn read_all(engine: &mut Engine) -> (All, Findings) {
    let (mut all, mut found) = (All::new(), Findings::default());
    for space in Space::ALL {
        let mut last: Option<Vec<u8>> = None;
        let mut each = |key: &[u8], value: &[u8]| {
            assert!(last.as_deref().is_none_or(|last| last < key), "in order, each once");
            last = Some(key.to_vec());
            all.insert((space, key.to_vec()), value.to_vec());
        };
        found.append(engine.scan(space, &mut each).expect("read"));
    }
    (all, found)
}

fn put(space: Space, key: &[u8], value: &[u8]) -> Changes {
    let mut changes = Changes::default();
    changes.put(space, key, value);
    changes
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next() as u8).take(count).collect()
    }
}

/// How many rounds a test has: so many, or what the environment says for a long run.
fn rounds(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
