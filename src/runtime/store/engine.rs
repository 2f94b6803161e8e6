//! Engine: the narrow interface over the database of a store.
//!
//! Duty: scan, commit, sync; say of every failure whether the same can be tried again. Must not: know what records mean, or try a
//! failed sync again. Neighbours: `writer` commits; whoever starts the broker scans; `opening` opens.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fjall::{Keyspace, OwnedWriteBatch, PersistMode};

use super::super::panic_policy;
use super::directory::Directory;
use super::findings::{CommitError, Findings, StoreFault, io_cause, is_of_room};
use super::mending::tree_path;
use super::opening::{self, RECORDS, Records, Refusal, Spare, open_database};
use super::rescue::{Rescue, read_forward};
use super::snapshot::Snapshot;
use super::space::{Room, Space as DiskSpace};
use super::trees::{self, Care};
use crate::store::{Changes, Space};

/// Above these the database makes a commit wait inside, where it does not see that its own threads have ended (fjall 3.1,
/// `local_backpressure`): we wait before it, and do see it.
const SEALED_MEMTABLES_MAX: usize = 2;
const UNSORTED_TABLES_MAX: usize = 16;

/// How often to look whether the database's threads have caught up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(1);

/// The database's own threads may need so much, bytes: tables are written beside those that they take the place of. When one of them
/// has failed, and less than that is free, it was for want of room.
const WORKING_BYTES: u64 = 256 << 20;

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
    /// Whether snapshots are wanted back; who has one, has this.
    lent: Arc<AtomicBool>,
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
            lent: Arc::default(),
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

    /// All records as they are now, with what is not yet synced. `None`: the store is not open at the moment.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let records = self.records.as_ref()?;
        Some(Snapshot::new(records.database.snapshot(), records.keyspaces.clone(), Arc::clone(&self.lent)))
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
            close(&mut self.records, &self.lent);
            let mut findings = Findings::default();
            let opened = opening::open(&self.directory, &mut findings);
            let has_lost = !findings.lost.is_empty();
            self.findings.append(findings);
            self.records = Some(opened.map_err(|fault| CommitError::Full(fault.to_string()))?);
            self.must_reopen = false;
            if has_lost {
                return Err(self.give_up("records were lost when it was opened again".into()));
            }
        }
        Ok(())
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
            None => {
                let is_short = self.space.ask_again() != Room::Enough || self.space.free_bytes() < WORKING_BYTES;
                matches!(error, fjall::Error::Poisoned) && is_short
            }
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

    /// Takes tables that are damaged out of a keyspace; what of them can be read is written anew.
    fn renew(&mut self, space: Space, why: &str) -> Result<Findings, StoreFault> {
        let records_path = self.directory.join(RECORDS);
        let system = |doing, why: String| StoreFault::system(doing, &records_path, &why);
        let tree = tree_path(&records_path, space as usize + 1);
        let mut findings = Findings::default();
        findings.lost.push(format!("records of the kind {:?}: {why}", space.name()));
        let mut spare = Spare::new(&self.directory);
        let opened = open_database(&spare.path()?).map_err(|refusal| match refusal {
            Refusal::System(why) | Refusal::Damaged(why) => system("copy", why),
        })?;
        let copy = Rescue::of(self.keyspace(space)?, &opened, space).map_err(|why| system("copy", why))?;
        // Without the tables that are damaged; if that does not help, without all of them.
        for is_last in [false, true] {
            close(&mut self.records, &self.lent);
            let mended = match is_last {
                false => trees::mend(&tree, Care::Bytes, &self.directory, &mut findings).map(drop),
                true => self.directory.set_aside(&tree, &mut findings),
            };
            mended.map_err(|error| system("mend", error.to_string()))?;
            let records = self.records.insert(opening::open(&self.directory, &mut findings)?);
            if read_forward(&records.keyspaces[space as usize], None, &mut |_, _| true).is_none() {
                copy.put_back(records).map_err(|why| system("copy", why))?;
                return Ok(findings);
            }
        }
        Err(system("read", why.to_owned()))
    }
}

/// Closes the database, once everybody has given back what he had of it.
fn close(records: &mut Option<Records>, lent: &Arc<AtomicBool>) {
    lent.store(true, Ordering::Release);
    while Arc::strong_count(lent) > 1 {
        thread::sleep(CATCH_UP_PAUSE);
    }
    lent.store(false, Ordering::Release);
    drop_quietly(records.take());
}

/// What the database still tries to write when it is closed is the rest of a commit that was told to have failed.
fn drop_quietly(records: Option<Records>) {
    let _ = panic_policy::catch(|| drop(records));
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
