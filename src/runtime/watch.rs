//! Watch: files that the configuration names, and that somebody changes.
//!
//! Duty: notice it, wait until the writer rests, tell the main thread once. Must not: read the files. Neighbours: `serving` is told, and
//! says which files count; `reloading` reads them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchMask, Watches};

use crate::config::{Config, files_of};

/// How long nothing may happen before files are taken as written.
const REST: Duration = Duration::from_millis(100);

/// A writer that does not rest is waited for so often.
const RESTS_MAX: usize = 20;

/// Bytes of events read at once.
const EVENT_BYTES: usize = 4096;

/// What files look like from outside: name, file number, length, time of the last change in seconds and nanoseconds.
type Looks = Vec<(PathBuf, u64, u64, i64, i64)>;

/// A thread that watches files.
#[derive(Debug)]
pub(super) struct Watch {
    watches: Watches,
    folders: HashSet<PathBuf>,
    watched: Arc<Mutex<Watched>>,
}

/// The files, and how they looked when they were read.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<PathBuf>,
    looks: Looks,
}

impl Watched {
    /// The files of a configuration as they look now; to be asked before they are read.
    pub(super) fn of(config: &Config) -> Self {
        let files: Vec<_> = files_of(config).into_iter().map(|(_, file)| file.to_owned()).collect();
        Self { looks: look_at(&files), files }
    }
}

impl Watch {
    /// Watches, and calls `told` from a thread of its own when a file has changed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn start(watched: Watched, told: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut inotify = Inotify::init()?;
        let watches = inotify.watches();
        let watched = Arc::new(Mutex::new(watched));
        let mut watch = Self { watches, folders: HashSet::new(), watched: Arc::clone(&watched) };
        watch.watch_folders();
        thread::Builder::new().name("ringmq-watch".into()).spawn(move || {
            let mut buffer = [0; EVENT_BYTES];
            while wait(&mut inotify, &mut buffer).is_ok() {
                let mut watched = lock(&watched);
                let looks = look_at(&watched.files);
                if looks != watched.looks {
                    watched.looks = looks;
                    told();
                }
            }
        })?;
        Ok(watch)
    }

    /// From now on these files count.
    pub(super) fn follow(&mut self, watched: Watched) {
        *lock(&self.watched) = watched;
        self.watch_folders();
    }

    /// Files are replaced by others of the same name, so that their folders are what is watched; that of a link and of what it leads to.
    fn watch_folders(&mut self) {
        let mask = WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        for file in &lock(&self.watched).files {
            let real = fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            let of_folder = real.is_dir().then(|| real.clone());
            let parents = [file.as_path(), &real].map(|path| path.parent().map(Path::to_owned));
            for folder in parents.into_iter().flatten().chain(of_folder) {
                let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
                if self.folders.insert(folder.clone()) && self.watches.add(&folder, mask).is_err() {
                    // It may be there at the next reload.
                    self.folders.remove(&folder);
                }
            }
        }
    }
}

/// Returns when something has happened in a folder, and then nothing for a while.
fn wait(inotify: &mut Inotify, buffer: &mut [u8]) -> io::Result<()> {
    inotify.read_events_blocking(buffer)?.for_each(drop);
    for _ in 0..RESTS_MAX {
        thread::sleep(REST);
        match inotify.read_events(buffer) {
            Ok(mut events) => {
                if events.all(|event| event.mask.contains(EventMask::IGNORED)) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn look_at(files: &[PathBuf]) -> Looks {
    let mut looks = Looks::new();
    for file in files {
        look_at_one(file, &mut looks);
        let mut inside: Vec<_> = fs::read_dir(file).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        inside.sort_unstable();
        inside.iter().for_each(|file| look_at_one(file, &mut looks));
    }
    looks
}

fn look_at_one(file: &Path, looks: &mut Looks) {
    let look = |found: fs::Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    let (number, bytes, secs, nanos) = fs::metadata(file).map_or((0, 0, 0, 0), look);
    looks.push((file.to_owned(), number, bytes, secs, nanos));
}

/// Nothing is half-written when a thread panics here.
fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::config::Security;

    #[test]
    fn a_file_that_is_written_or_replaced_is_told_once_and_its_neighbour_is_not() {
        let folder = std::env::temp_dir().join(format!("ringmq-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("passwords");
        fs::write(&file, "a").unwrap();
        let security = Security { password_file: Some(file.clone()), ..Security::default() };
        let config = Config { securities: vec![security], ..Config::of_cpus(vec![0]) };
        let (tell, told) = unbounded();
        let _watch = Watch::start(Watched::of(&config), move || {
            let _ = tell.send(());
        })
        .unwrap();
        let limit = Duration::from_secs(20);
        fs::write(folder.join("neighbour"), "").unwrap();
        fs::write(&file, "half").unwrap();
        fs::write(&file, "the whole").unwrap();
        told.recv_timeout(limit).unwrap();
        fs::write(folder.join("new"), "another").unwrap();
        fs::rename(folder.join("new"), &file).unwrap();
        told.recv_timeout(limit).unwrap();
        assert!(told.is_empty());
        fs::remove_dir_all(&folder).unwrap();
        told.recv_timeout(limit).unwrap();
    }
}
