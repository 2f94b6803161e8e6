//! Mending: the files of a database are put into a state that it can open, with the least loss.
//!
//! Duty: look at every file before the database does, as that one may fail, end the process, or delete what it does not know. Must
//! not: delete anything, or touch what is whole. Neighbours: `opening` calls it; `journals` and `trees` know the files.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::directory::{Directory, make_folder, sync_folder, write_private};
use super::findings::{Findings, StoreFault};
use super::journals::{self, Walk};
use super::opening::{RECORDS, Spare};
use super::trees::{self, Care};
use crate::store::Space;

/// The folder of a keyspace that the database has for itself: names and options of the others, the same in every store.
pub(super) const OWN_TREE: usize = 0;

/// What the file `version` says (fjall 3).
const VERSION: [u8; 4] = *b"FJL\x03";

const JOURNAL_ENDING: &str = ".jnl";

/// Mends all files.
///
/// # Errors
/// The system does not let us.
pub(super) fn mend(directory: &Directory, care: Care, findings: &mut Findings) -> Result<(), StoreFault> {
    let records = directory.join(RECORDS);
    let system = |error: &io::Error| StoreFault::system("mend", &records, error);
    mend_marks(&records, directory, findings).map_err(|error| system(&error))?;
    mend_journals(&records, directory, findings).map_err(|error| system(&error))?;
    mend_trees(&records, care, directory, findings)
}

/// Sets all journals aside.
pub(super) fn set_journals_aside(directory: &Directory, findings: &mut Findings) -> io::Result<()> {
    let records = directory.join(RECORDS);
    for (_, path) in journals_in(&records, directory, findings)? {
        findings.lost.push(format!("what was last written, in {}", path.display()));
        directory.set_aside(&path, findings)?;
    }
    mend_journals(&records, directory, findings)
}

/// The files by which the database knows that it is one.
fn mend_marks(records: &Path, directory: &Directory, findings: &mut Findings) -> io::Result<()> {
    let version = records.join("version");
    if !fs::read(&version).is_ok_and(|found| found == VERSION) {
        if fs::symlink_metadata(&version).is_ok() {
            directory.set_aside(&version, findings)?;
        }
        write_private(&version, &VERSION)?;
        findings.recovered.push(format!("{} was damaged or missing and is written anew", version.display()));
    }
    let lock = records.join("lock");
    if !lock.is_file() {
        if fs::symlink_metadata(&lock).is_ok() {
            directory.set_aside(&lock, findings)?;
        }
        write_private(&lock, &[])?;
    }
    sync_folder(records)
}

/// The journals in order, without what the database would stumble on.
fn journals_in(records: &Path, directory: &Directory, findings: &mut Findings) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(records)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_str();
        let is_journal = text.is_none_or(|name| name.to_ascii_lowercase().ends_with(JOURNAL_ENDING));
        let number = text.and_then(|name| name.strip_suffix(JOURNAL_ENDING)?.parse::<u64>().ok());
        match number {
            Some(number) if entry.file_type()?.is_file() => journals.push((number, entry.path())),
            _ if is_journal => directory.set_aside(&entry.path(), findings)?,
            _ => {}
        }
    }
    journals.sort();
    Ok(journals)
}

fn mend_journals(records: &Path, directory: &Directory, findings: &mut Findings) -> io::Result<()> {
    let journals = journals_in(records, directory, findings)?;
    for (_, path) in &journals {
        mend_journal(path, directory, findings)?;
    }
    // Without any the database would number its commits from the beginning, below those that its tables have.
    if !journals.iter().any(|(_, path)| path.exists()) {
        if journals.is_empty() {
            findings.lost.push(format!("what was last written: there is no journal in {}", records.display()));
        }
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(records.join("0.jnl"))?;
        sync_folder(records)?;
    }
    Ok(())
}

fn mend_journal(path: &Path, directory: &Directory, findings: &mut Findings) -> io::Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if super::findings::is_of_system(&error) => return Err(error),
        Err(error) => {
            findings.lost.push(format!("what was last written, in {}: {error}", path.display()));
            return directory.set_aside(path, findings);
        }
    };
    let walk = journals::walk(&bytes);
    if walk.is_whole() {
        return Ok(());
    }
    let shown = path.display();
    if !walk.tail.is_empty() {
        let count = walk.tail.len();
        if walk.is_torn {
            let text = format!(
                "{shown}: its last {count} bytes are the beginning of a commit, as when a process ends in the middle of one: cut off"
            );
            findings.recovered.push(text);
        } else {
            findings.lost.push(format!("the last {count} bytes of {shown}, which are no commits"));
            if walk.is_mendable_by_cutting() {
                directory.keep_part(path, &bytes[walk.tail.clone()], findings)?;
            }
        }
    }
    if walk.is_mendable_by_cutting() {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(walk.whole_bytes() as u64)?;
        return file.sync_all();
    }
    rewrite_journal(path, &bytes, &walk, directory, findings)
}

/// Writes a journal anew from the commits that are whole.
fn rewrite_journal(
    path: &Path,
    bytes: &[u8],
    walk: &Walk,
    directory: &Directory,
    findings: &mut Findings,
) -> io::Result<()> {
    let shown = path.display();
    if walk.damaged_bytes > 0 {
        let text = format!(
            "{} bytes in the middle of {shown}, one commit or more; {} others are whole",
            walk.damaged_bytes, walk.commits
        );
        findings.lost.push(text);
    }
    if walk.mended_heads() > 0 {
        findings.recovered.push(format!("{shown}: {} commits had a damaged head, and are whole", walk.mended_heads()));
    }
    directory.set_aside(path, findings)?;
    write_private(path, &walk.mended(bytes))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// The folder of one keyspace, by its number.
pub(super) fn tree_path(records: &Path, number: usize) -> PathBuf {
    records.join("keyspaces").join(number.to_string())
}

/// All trees, the database's own first.
fn mend_trees(records: &Path, care: Care, directory: &Directory, findings: &mut Findings) -> Result<(), StoreFault> {
    let system = |error: &io::Error| StoreFault::system("mend", records, error);
    let folder = records.join("keyspaces");
    let strangers = || -> io::Result<Vec<PathBuf>> {
        make_folder(&folder)?;
        let is_known = |name: &str| name.parse::<usize>().is_ok_and(|number| number <= Space::ALL.len());
        let mut strangers = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(is_known) || !entry.file_type()?.is_dir() {
                strangers.push(entry.path());
            }
        }
        Ok(strangers)
    };
    for stranger in strangers().map_err(|error| system(&error))? {
        directory.set_aside(&stranger, findings).map_err(|error| system(&error))?;
    }
    let mut spare = Spare::new(directory);
    for number in OWN_TREE..=Space::ALL.len() {
        let tree = tree_path(records, number);
        let is_there = tree.is_dir();
        // What is in the database's own tree is known: after a failure it is put in anew, whatever it is.
        let is_renewed = number == OWN_TREE && care == Care::Bytes;
        if !is_renewed && is_there {
            let before = findings.lost.len();
            let mended = trees::mend(&tree, care, directory, findings).map_err(|error| system(&error))?;
            if number == OWN_TREE {
                // Nothing of it is ever lost.
                let is_whole = mended && findings.lost.len() == before;
                findings.lost.truncate(before);
                if is_whole {
                    continue;
                }
            } else if mended {
                continue;
            } else {
                let template = spare.tree(number)?;
                if trees::rebuild(&tree, &template, directory, findings).map_err(|error| system(&error))? {
                    continue;
                }
            }
        }
        if is_there {
            directory.set_aside(&tree, findings).map_err(|error| system(&error))?;
        }
        say_renewed(number, is_there, &tree, findings);
        let fresh = spare.tree(number)?;
        fs::rename(fresh, &tree).and_then(|()| sync_folder(&folder)).map_err(|error| system(&error))?;
    }
    Ok(())
}

fn say_renewed(number: usize, is_there: bool, tree: &Path, findings: &mut Findings) {
    let why = if is_there { "is damaged" } else { "is missing" };
    match number.checked_sub(1).and_then(|index| Space::ALL.get(index)) {
        None => findings.recovered.push(format!("{} {why} and is made anew", tree.display())),
        Some(space) => {
            let text = format!("the older records of the kind {:?}: {} {why}", space.name(), tree.display());
            findings.lost.push(text);
        }
    }
}
