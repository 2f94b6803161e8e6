//! Opening: a database from a folder, whatever state that is in.
//!
//! Duty: open it; if it does not open, mend more, down to a new one. A damaged store never stops the start. Must not: set anything
//! aside because the system lacks something. Neighbours: `engine` has what is opened; `mending` mends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::super::{panic_policy, signal};
use super::directory::{Directory, sync_folder};
use super::findings::{Findings, StoreFault, io_cause, is_of_system};
use super::mending;
use super::trees::Care;
use crate::store::Space;

/// The folder of the database.
pub(super) const RECORDS: &str = "records";

/// A new database until it is whole.
const UNFINISHED: &str = "records-unfinished";

/// A new database of which parts take the place of damaged ones.
const SPARE: &str = "records-spare";

/// Journals are flushed to tables above this, bytes: what is read at each start, and how much disk deleted records take.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Records of one keyspace that are kept in memory until they become a table, bytes.
const MEMTABLE_BYTES_MAX: u64 = 32 << 20;

/// Blocks of tables that are kept in memory, bytes. Records are read at the start and never again.
const CACHE_BYTES_MAX: u64 = 8 << 20;

/// Tables that are open at once.
const OPEN_FILES_MAX: usize = 128;

/// Threads that flush and compact. With two, one of them spins while the other compacts (fjall 3.1, `worker_pool.rs`).
const WORKERS: usize = 1;

/// An open database.
pub(super) struct Records {
    /// By number of space.
    pub(super) keyspaces: Vec<Keyspace>,
    /// Last, so that it outlives the others.
    pub(super) database: Database,
}

/// Why a database does not open.
pub(super) enum Refusal {
    /// The system lacks something.
    System(String),
    /// It is damaged.
    Damaged(String),
}

/// Opens the database of the folder.
///
/// # Errors
/// The system does not let us.
pub(super) fn open(directory: &Directory, findings: &mut Findings) -> Result<Records, StoreFault> {
    let records = directory.join(RECORDS);
    let system = |why: &str| StoreFault::system("open", &records, &why);
    remove(&directory.join(UNFINISHED)).map_err(|error| system(&error.to_string()))?;
    remove(&directory.join(SPARE)).map_err(|error| system(&error.to_string()))?;
    if fs::symlink_metadata(&records).is_ok_and(|known| !known.is_dir()) {
        directory.set_aside(&records, findings).map_err(|error| system(&error.to_string()))?;
    }
    if !records.exists() {
        make_new(directory, UNFINISHED)?;
        let put = fs::rename(directory.join(UNFINISHED), &records).and_then(|()| sync_folder(directory.path()));
        put.map_err(|error| system(&error.to_string()))?;
    }
    let mut why = String::new();
    for step in [Step::Frames, Step::Bytes, Step::WithoutJournals] {
        match step {
            Step::Frames => mending::mend(directory, Care::Frames, findings)?,
            Step::Bytes => mending::mend(directory, Care::Bytes, findings)?,
            Step::WithoutJournals => {
                mending::set_journals_aside(directory, findings).map_err(|error| system(&error.to_string()))?
            }
        }
        match open_database(&records) {
            Ok(records) => return Ok(records),
            Err(Refusal::System(why)) => return Err(system(&why)),
            Err(Refusal::Damaged(what)) => why = what,
        }
    }
    directory.set_aside(&records, findings).map_err(|error| system(&error.to_string()))?;
    findings.lost.push(format!("all records: {} does not open ({why}); the store is empty now", records.display()));
    make_new(directory, RECORDS)?;
    open_database(&records).map_err(|refusal| match refusal {
        Refusal::System(why) | Refusal::Damaged(why) => system(&why),
    })
}

/// How much is mended before the database is opened.
#[derive(Clone, Copy)]
enum Step {
    Frames,
    Bytes,
    WithoutJournals,
}

/// Makes a database with all its keyspaces, and closes it.
fn make_new(directory: &Directory, name: &str) -> Result<(), StoreFault> {
    let path = directory.join(name);
    match open_database(&path) {
        Ok(records) => {
            drop(records);
            Ok(())
        }
        Err(Refusal::System(why) | Refusal::Damaged(why)) => Err(StoreFault::system("make", path, &why)),
    }
}

/// Removes a database that was made and never used.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A new database, made when it is needed, of which parts take the place of damaged ones.
pub(super) struct Spare<'a> {
    directory: &'a Directory,
    path: Option<PathBuf>,
}

impl<'a> Spare<'a> {
    /// Nothing yet.
    pub(super) fn new(directory: &'a Directory) -> Self {
        Self { directory, path: None }
    }

    /// The folder of its keyspace of that number.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn tree(&mut self, number: usize) -> Result<PathBuf, StoreFault> {
        Ok(mending::tree_path(&self.path()?, number))
    }

    /// Its folder. Whoever opens the database closes it before anything else is asked for.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn path(&mut self) -> Result<PathBuf, StoreFault> {
        let path = self.directory.join(SPARE);
        if self.path.is_none() {
            remove(&path).map_err(|error| StoreFault::system("remove", &path, &error))?;
            make_new(self.directory, SPARE)?;
            self.path = Some(path.clone());
        }
        Ok(path)
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What is left of it is removed at the next start.
            let _ = remove(&path);
        }
    }
}

/// Opens a database as it is, or makes a new one.
pub(super) fn open_database(path: &Path) -> Result<Records, Refusal> {
    let open = || {
        let builder = Database::builder(path).worker_threads(WORKERS).max_journaling_size(JOURNAL_BYTES_MAX);
        let builder = builder.cache_size(CACHE_BYTES_MAX).max_cached_files(Some(OPEN_FILES_MAX));
        // What is written reaches the system when `Engine` says so.
        let database = builder.manual_journal_persist(true).open()?;
        let mut keyspaces = Vec::new();
        for space in Space::ALL {
            let options =
                || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX).manual_journal_persist(true);
            keyspaces.push(database.keyspace(space.name(), options)?);
        }
        // The trees are told apart by these numbers when they are mended.
        let is_in_order = keyspaces.iter().enumerate().all(|(index, keyspace)| keyspace.id() == index as u64 + 1);
        Ok((is_in_order, Records { keyspaces, database }))
    };
    match in_private(open) {
        Ok(Ok((true, records))) => Ok(records),
        Ok(Ok((false, _))) => Err(Refusal::Damaged("its keyspaces have other numbers".into())),
        Ok(Err(error)) => Err(match io_cause(&error) {
            Some(cause) if is_of_system(cause) => Refusal::System(cause.to_string()),
            _ => Refusal::Damaged(format!("{error:?}")),
        }),
        Err(panic) => Err(Refusal::Damaged(panic)),
    }
}

/// Runs `work` on a thread whose files, and those of the threads that it starts, are for their owner alone; a panic becomes its text.
fn in_private<T: Send>(work: impl FnOnce() -> fjall::Result<T> + Send) -> Result<fjall::Result<T>, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("ringmq-store-opening".into());
        let started = thread.spawn_scoped(scope, || {
            signal::block_here();
            // Where this is not allowed, in some containers, the mode of the folder keeps others out alone.
            // SAFETY: no pointers; the mask is that of this thread and its children from here on.
            unsafe {
                if libc::unshare(libc::CLONE_FS) == 0 {
                    libc::umask(0o077);
                }
            }
            panic_policy::catch(work)
        });
        match started {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err("panic".into())),
            Err(error) => Ok(Err(fjall::Error::Io(error))),
        }
    })
}
