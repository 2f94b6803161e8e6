//! Engine: the narrow interface over the database of a store.
//!
//! Duty: scan, commit, sync; say of every failure whether the same can be tried again. Must not: know what records mean, or try a
//! failed sync again. Neighbours: `writer` commits; whoever starts the broker scans; `opening` opens.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::thread;
use std::time::Duration;

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};

use super::super::panic_policy;
use super::directory::{Directory, sync_folder};
use super::findings::{CommitError, Findings, StoreFault, io_cause, is_of_room};
use super::mending::tree_path;
use super::opening::{self, RECORDS, Records, Refusal, Spare, open_database};
use super::space::{Room, Space as DiskSpace};
use crate::store::{Changes, Space};

/// Above these the database makes a commit wait inside, where it does not see that its own threads have ended (fjall 3.1,
/// `local_backpressure`): we wait before it, and do see it.
const SEALED_MEMTABLES_MAX: usize = 2;
const UNSORTED_TABLES_MAX: usize = 16;

/// How often to look whether the database's threads have caught up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(1);

/// Records in one commit while a damaged keyspace is copied.
const COPIED_AT_ONCE: usize = 1024;

/// What a store is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of the file system that are to stay free, at most a twentieth of it; 0 keeps none. Below that the store is short, below a
    /// quarter of that it takes nothing.
    pub free_bytes_min: u64,
}

/// An open store. One process has it as long as this lives.
pub struct Engine {
    /// Empty between two tries to open it again.
    pub(super) records: Option<Records>,
    directory: Directory,
    space: DiskSpace,
    /// A write has failed for want of room: the database takes no more until it is opened again.
    must_reopen: bool,
    /// Why nothing is committed any more.
    broken: Option<String>,
    findings: Findings,
    #[cfg(test)]
    pub(super) fault: Option<Fault>,
}

/// What a test lets fail.
#[cfg(test)]
pub(super) type Fault = Box<dyn FnMut(Step) -> Option<io::Error> + Send>;

/// What is done with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is given to the system.
    Write,
    /// The system makes it safe.
    Sync,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("directory", &self.directory.path())
            .field("broken", &self.broken)
            .finish()
    }
}

impl Engine {
    /// Opens the store in a folder; makes it if there is none. Damage is mended or set aside, and named in what is found.
    ///
    /// # Errors
    /// Another process has it, it is of another format, or the system does not let us. Nothing was touched.
    pub fn open(directory: &Path, terms: Terms) -> Result<(Self, Findings), StoreFault> {
        let mut findings = Findings::default();
        let directory = Directory::take(directory, &mut findings)?;
        let records = opening::open(&directory, &mut findings)?;
        let space = DiskSpace::new(directory.path(), terms.free_bytes_min);
        let engine = Self {
            records: Some(records),
            directory,
            space,
            must_reopen: false,
            broken: None,
            findings: Findings::default(),
            #[cfg(test)]
            fault: None,
        };
        Ok((engine, findings))
    }

    /// Shows all records of a kind in the order of their keys. What cannot be read is left out, named in what is found, and set aside
    /// with the tables in which it is.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn scan(&mut self, space: Space, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Findings, StoreFault> {
        let mut last: Option<Vec<u8>> = None;
        let damage = {
            let mut show = |key: &[u8], value: &[u8]| {
                each(key, value);
                last.get_or_insert_default().clear();
                last.get_or_insert_default().extend_from_slice(key);
                true
            };
            read_forward(self.keyspace(space)?, None, &mut show)
        };
        let Some(why) = damage else { return Ok(Findings::default()) };
        let findings = self.renew(space, &why)?;
        let mut show = |key: &[u8], value: &[u8]| {
            each(key, value);
            true
        };
        match read_forward(self.keyspace(space)?, last.as_deref(), &mut show) {
            None => Ok(findings),
            Some(why) => Err(StoreFault::system("read", self.directory.join(RECORDS), &why)),
        }
    }

    /// Writes changes, all of them or none. With `must_sync` they are safe when it returns, and all that was committed before them.
    ///
    /// # Errors
    /// There is no room, and the same changes can be tried again; or the store is broken, and nothing can.
    pub fn commit(&mut self, changes: &Changes, must_sync: bool) -> Result<(), CommitError> {
        self.check_usable()?;
        if !changes.is_empty() {
            self.require_room(changes.bytes())?;
            self.reopen_if_needed()?;
            self.wait_for_workers()?;
            self.do_step(Step::Write, |records| write(records, changes))?;
        }
        if must_sync { self.sync() } else { Ok(()) }
    }

    /// Makes everything that was committed safe.
    ///
    /// # Errors
    /// As of [`Engine::commit`].
    pub fn sync(&mut self) -> Result<(), CommitError> {
        self.check_usable()?;
        if self.must_reopen {
            return Err(CommitError::Full("a commit waits for room".into()));
        }
        self.do_step(Step::Sync, |records| records.database.persist(PersistMode::SyncData))?;
        // One of the database's threads may have met the error of the system before us, and we would have been told that all is well.
        self.do_step(Step::Sync, |records| records.database.persist(PersistMode::Buffer))
    }

    /// Whether the file system has less room than it should: nothing new is to be taken, what is on its way is still committed.
    pub fn is_short(&mut self) -> bool {
        self.space.room_for(0) != Room::Enough
    }

    /// What was found when the store had to be opened again, since it was asked last.
    pub fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// Bytes that the store takes on its disk, with what is set aside.
    pub fn bytes_on_disk(&self) -> u64 {
        bytes_in(self.directory.path())
    }

    fn check_usable(&self) -> Result<(), CommitError> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(CommitError::Broken(why.clone())))
    }

    fn require_room(&mut self, bytes: usize) -> Result<(), CommitError> {
        match self.space.room_for(bytes) {
            Room::None => Err(CommitError::Full(format!("{} bytes are free", self.space.free_bytes()))),
            Room::Enough | Room::Short => Ok(()),
        }
    }

    fn keyspace(&self, space: Space) -> Result<&Keyspace, StoreFault> {
        let records = self.records.as_ref();
        let closed = || StoreFault::system("read", self.directory.join(RECORDS), &"it is closed");
        records.map(|records| &records.keyspaces[space as usize]).ok_or_else(closed)
    }

    /// After a write that failed: the beginning of it is cut off when the database is opened.
    fn reopen_if_needed(&mut self) -> Result<(), CommitError> {
        if self.must_reopen || self.records.is_none() {
            self.close();
            let opened = opening::open(&self.directory, &mut self.findings);
            self.records = Some(opened.map_err(|fault| CommitError::Full(fault.to_string()))?);
            self.must_reopen = false;
        }
        Ok(())
    }

    fn close(&mut self) {
        let records = self.records.take();
        // What it still tries to write is the rest of a commit that was told to have failed.
        let _ = panic_policy::catch(|| drop(records));
    }

    fn wait_for_workers(&mut self) -> Result<(), CommitError> {
        while self.records.as_ref().is_some_and(is_behind) {
            self.do_step(Step::Write, |records| records.database.persist(PersistMode::Buffer))?;
            thread::sleep(CATCH_UP_PAUSE);
        }
        Ok(())
    }

    fn do_step(&mut self, step: Step, work: impl FnOnce(&Records) -> fjall::Result<()>) -> Result<(), CommitError> {
        let Some(records) = &self.records else {
            return Err(CommitError::Full("the store is not open".into()));
        };
        #[cfg(test)]
        if let Some(error) = self.fault.as_mut().and_then(|fault| fault(step)) {
            return Err(self.judge(step, &fjall::Error::Io(error)));
        }
        match panic_policy::catch(|| work(records)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.judge(step, &error)),
            Err(panic) => Err(self.give_up(panic)),
        }
    }

    /// What it means that a step has failed.
    fn judge(&mut self, step: Step, error: &fjall::Error) -> CommitError {
        let has_no_room = match io_cause(error) {
            // What a sync has not written, for want of room too, may never be written and is told once.
            Some(cause) => step == Step::Write && is_of_room(cause),
            // One of the database's threads has failed, and it does not say why.
            None => matches!(error, fjall::Error::Poisoned) && self.space.ask_again() != Room::Enough,
        };
        if has_no_room {
            self.must_reopen = true;
            return CommitError::Full(
                io_cause(error).map_or("a table could not be written".into(), io::Error::to_string),
            );
        }
        let doing = if step == Step::Sync { "cannot be synced" } else { "cannot be written" };
        self.give_up(format!("{doing}: {}", io_cause(error).map_or_else(|| format!("{error:?}"), io::Error::to_string)))
    }

    fn give_up(&mut self, why: String) -> CommitError {
        CommitError::Broken(self.broken.insert(why).clone())
    }

    /// Puts what can be read of a keyspace into a new one, and sets the old one aside.
    fn renew(&mut self, space: Space, why: &str) -> Result<Findings, StoreFault> {
        let records_path = self.directory.join(RECORDS);
        let system = |doing, why: String| StoreFault::system(doing, &records_path, &why);
        let mut findings = Findings::default();
        let number = space as usize + 1;
        let old_tree = tree_path(&records_path, number);
        let mut spare = Spare::new(&self.directory);
        let copy = {
            let target = open_database(&spare.path()?).map_err(|refusal| match refusal {
                Refusal::System(why) | Refusal::Damaged(why) => system("copy", why),
            })?;
            copy_readable(self.keyspace(space)?, &target.database, &target.keyspaces[space as usize])
        };
        let count = copy.map_err(|why| system("copy", why))?;
        let new_tree = spare.tree(number)?;
        let records = self.records.take();
        let _ = panic_policy::catch(|| drop(records));
        let mut swap = || -> io::Result<()> {
            self.directory.set_aside(&old_tree, &mut findings)?;
            fs::rename(&new_tree, &old_tree)?;
            sync_folder(&records_path.join("keyspaces"))
        };
        swap().map_err(|error| system("mend", error.to_string()))?;
        findings.lost.push(format!("records of the kind {:?} ({why}); {count} others could be read", space.name()));
        self.records = Some(opening::open(&self.directory, &mut findings)?);
        Ok(findings)
    }
}

/// Whether the database's threads have more to do than they should.
fn is_behind(records: &Records) -> bool {
    let is_behind = |keyspace: &Keyspace| {
        keyspace.sealed_memtable_count() > SEALED_MEMTABLES_MAX || keyspace.l0_table_count() > UNSORTED_TABLES_MAX
    };
    records.keyspaces.iter().any(is_behind)
}

/// One commit over all keyspaces. A later change of a record takes the place of an earlier one.
fn write(records: &Records, changes: &Changes) -> fjall::Result<()> {
    let mut batch =
        OwnedWriteBatch::with_capacity(records.database.clone(), changes.len()).durability(Some(PersistMode::Buffer));
    for change in changes.iter() {
        let keyspace = &records.keyspaces[change.space as usize];
        match change.value {
            Some(value) => batch.insert(keyspace, change.key, value),
            None => batch.remove(keyspace, change.key),
        }
    }
    batch.commit()
}

/// Reads a keyspace up to its end or to what cannot be read, of which the reason is returned. `each` says whether to go on.
fn read_forward(
    keyspace: &Keyspace,
    after: Option<&[u8]>,
    each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Option<String> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    read(&mut keyspace.range::<&[u8], _>((from, Bound::Unbounded)), each)
}

fn read(records: &mut dyn Iterator<Item = fjall::Guard>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Option<String> {
    loop {
        match panic_policy::catch(|| records.next().map(fjall::Guard::into_inner)) {
            Ok(None) => return None,
            Ok(Some(Ok((key, value)))) => {
                if !each(&key, &value) {
                    return None;
                }
            }
            Ok(Some(Err(error))) => return Some(format!("{error:?}")),
            Err(panic) => return Some(panic),
        }
    }
}

/// Copies what is before the first record that cannot be read, and what is behind the last one. Says how many they were.
fn copy_readable(from: &Keyspace, database: &Database, to: &Keyspace) -> Result<usize, String> {
    let mut copy = Copy { database, to, batch: None, count: 0, failed: None };
    let mut last: Option<Vec<u8>> = None;
    let mut put = |key: &[u8], value: &[u8]| {
        last = Some(key.to_vec());
        copy.put(key, value)
    };
    if read_forward(from, None, &mut put).is_some() {
        let mut put = |key: &[u8], value: &[u8]| last.as_deref().is_none_or(|last| key > last) && copy.put(key, value);
        let _ = read(&mut from.iter().rev(), &mut put);
    }
    copy.finish()
}

struct Copy<'a> {
    database: &'a Database,
    to: &'a Keyspace,
    batch: Option<OwnedWriteBatch>,
    count: usize,
    failed: Option<String>,
}

impl Copy<'_> {
    /// False: it has failed, and there is no use in going on.
    fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let batch = self.batch.get_or_insert_with(|| {
            OwnedWriteBatch::with_capacity(self.database.clone(), COPIED_AT_ONCE).durability(Some(PersistMode::Buffer))
        });
        batch.insert(self.to, key, value);
        self.count += 1;
        if batch.len() >= COPIED_AT_ONCE { self.flush() } else { true }
    }

    fn flush(&mut self) -> bool {
        if let Some(batch) = self.batch.take()
            && let Err(error) = batch.commit()
        {
            self.failed = Some(format!("{error:?}"));
        }
        self.failed.is_none()
    }

    /// All of it is in tables then, as the journal of that database is not taken along.
    fn finish(mut self) -> Result<usize, String> {
        self.flush();
        if let Some(why) = self.failed {
            return Err(why);
        }
        let text = |error| format!("{error:?}");
        self.to.rotate_memtable().map_err(text)?;
        while self.to.sealed_memtable_count() > 0 {
            // An error: the thread that should write it has failed.
            self.database.persist(PersistMode::Buffer).map_err(text)?;
            thread::sleep(CATCH_UP_PAUSE);
        }
        Ok(self.count)
    }
}

/// Bytes of all files in a folder, as the file system counts them.
fn bytes_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(known) if known.is_dir() => bytes_in(&entry.path()),
        Ok(known) => known.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(bytes_of).sum()
}
