//! Trees: the folder of one keyspace: its manifest, and the tables that the manifest names.
//!
//! Duty: say whether the database can open it, and take tables out of it that cannot be opened. Must not: know what the records mean.
//! Neighbours: `mending` calls it; `archive` knows the frame of manifests and tables.
//!
//! `current` names the manifest (lsm-tree 3, `version/persist.rs`): its number u64, checksum of the file `v<number>` u128, 0. In the
//! manifest the section `tables` has the tables: levels u8, of each runs u8, of each tables u32, of each number u64, 0, checksum of the
//! file `tables/<number>` u128, sequence number u64. The database deletes tables that the manifest does not name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::archive;
use super::directory::{Directory, sync_folder, write_private};
use super::findings::Findings;

const CURRENT: &str = "current";
const TABLES: &str = "tables";

/// Most of a manifest that is read, bytes: a million tables.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// How closely tables are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Their frames: what the database cannot be trusted with.
    Frames,
    /// Every byte.
    Bytes,
}

/// A manifest.
#[derive(Debug)]
struct Manifest {
    number: u64,
    sections: Vec<(Vec<u8>, Vec<u8>)>,
    levels: Vec<Vec<Vec<Table>>>,
}

#[derive(Clone, Copy, Debug)]
struct Table {
    number: u64,
    checksum: [u8; 16],
    sequence: [u8; 8],
}

/// Takes tables out of a tree that the database cannot open. False: its manifest is damaged.
///
/// # Errors
/// The system does not let us.
pub(super) fn mend(tree: &Path, care: Care, directory: &Directory, findings: &mut Findings) -> io::Result<bool> {
    let Some(manifest) = current_manifest(tree) else { return Ok(false) };
    set_strangers_aside(&tree.join(TABLES), directory, findings)?;
    let tables = manifest.levels.iter().flatten().flatten();
    let bad: Vec<u64> = tables.filter(|table| !is_table_sound(tree, table, care)).map(|table| table.number).collect();
    if !bad.is_empty() {
        take_out(tree, manifest, &bad, directory, findings)?;
    }
    Ok(true)
}

/// Makes a manifest for all tables that are there, side by side on the first level, as if each had just been written: which record is
/// the newer one their sequence numbers say. What is in none of the tables comes from `template`, a new tree. False: there are none.
///
/// # Errors
/// The system does not let us.
pub(super) fn rebuild(
    tree: &Path,
    template: &Path,
    directory: &Directory,
    findings: &mut Findings,
) -> io::Result<bool> {
    let tables = tree.join(TABLES);
    set_strangers_aside(&tables, directory, findings)?;
    let names = if tables.is_dir() { names_in(&tables)? } else { Vec::new() };
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let (Some(mut manifest), false) = (current_manifest(template), numbers.is_empty()) else { return Ok(false) };
    let mut runs = Vec::new();
    for number in numbers.into_iter().rev() {
        let path = table_path(tree, number);
        if is_frame_whole(&path).unwrap_or(false) {
            runs.push(vec![Table { number, checksum: checksum_of(&path)?, sequence: [0; 8] }]);
        } else {
            findings.lost.push(format!("the records of the table {}, which is damaged", path.display()));
            directory.set_aside(&path, findings)?;
        }
    }
    // As many as the number before them can say; there are thirty at most when the database is in order.
    for run in runs.split_off(runs.len().min(usize::from(u8::MAX))) {
        directory.set_aside(&table_path(tree, run[0].number), findings)?;
    }
    let count = runs.len();
    for name in names_in(tree)?.iter().filter(|name| name.starts_with('v') || *name == CURRENT) {
        manifest.number = manifest.number.max(name.trim_start_matches('v').parse().unwrap_or(0));
        directory.set_aside(&tree.join(name), findings)?;
    }
    manifest.levels[0] = runs;
    write_manifest(tree, &mut manifest)?;
    findings.recovered.push(format!(
        "{}: its manifest was damaged and is made anew from the {count} tables that are there; deleted records may be there again",
        tree.display()
    ));
    Ok(true)
}

/// The manifest that is named, if both are whole.
fn current_manifest(tree: &Path) -> Option<Manifest> {
    let named = fs::read(tree.join(CURRENT)).ok()?;
    let (number, checksum) = named.strip_suffix(&[0])?.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let bytes = read_manifest(tree, number)?;
    (xxh3_128(&bytes).to_le_bytes() == checksum).then(|| manifest_of(number, &bytes))?
}

fn read_manifest(tree: &Path, number: u64) -> Option<Vec<u8>> {
    let path = tree.join(format!("v{number}"));
    let is_small = fs::metadata(&path).is_ok_and(|known| known.is_file() && known.len() <= MANIFEST_BYTES_MAX);
    is_small.then(|| fs::read(path).ok())?
}

fn manifest_of(number: u64, bytes: &[u8]) -> Option<Manifest> {
    let sections = archive::read(bytes)?;
    let (_, tables) = sections.iter().find(|(name, _)| name == TABLES.as_bytes())?;
    let levels = levels_of(tables)?;
    Some(Manifest { number, sections, levels })
}

fn levels_of(section: &[u8]) -> Option<Vec<Vec<Vec<Table>>>> {
    let mut rest = section;
    let mut take = |bytes: usize| {
        let (taken, after) = rest.split_at_checked(bytes)?;
        rest = after;
        Some(taken)
    };
    let mut levels = Vec::new();
    for _ in 0..take(1)?[0] {
        let mut runs = Vec::new();
        for _ in 0..take(1)?[0] {
            let mut tables = Vec::new();
            for _ in 0..u32::from_le_bytes(take(4)?.try_into().ok()?) {
                let number = u64::from_le_bytes(take(8)?.try_into().ok()?);
                take(1)?;
                let (checksum, sequence) = (take(16)?.try_into().ok()?, take(8)?.try_into().ok()?);
                tables.push(Table { number, checksum, sequence });
            }
            runs.push(tables);
        }
        levels.push(runs);
    }
    rest.is_empty().then_some(levels)
}

fn section_of(levels: &[Vec<Vec<Table>>]) -> Vec<u8> {
    let mut section = vec![levels.len() as u8];
    for runs in levels {
        section.push(runs.len() as u8);
        for tables in runs {
            section.extend((tables.len() as u32).to_le_bytes());
            for table in tables {
                section.extend(table.number.to_le_bytes());
                section.push(0);
                section.extend(table.checksum);
                section.extend(table.sequence);
            }
        }
    }
    section
}

/// Writes the tables into the next manifest, and makes that the current one.
fn write_manifest(tree: &Path, manifest: &mut Manifest) -> io::Result<()> {
    let section = section_of(&manifest.levels);
    for (name, content) in &mut manifest.sections {
        if name == TABLES.as_bytes() {
            content.clone_from(&section);
        }
    }
    manifest.number += 1;
    let bytes = archive::write(&manifest.sections);
    write_private(&tree.join(format!("v{}", manifest.number)), &bytes)?;
    let mut current = manifest.number.to_le_bytes().to_vec();
    current.extend(xxh3_128(&bytes).to_le_bytes());
    current.push(0);
    write_private(&tree.join(CURRENT), &current)?;
    sync_folder(tree)
}

/// Takes tables out of the manifest and sets them aside. What older tables have of the same records is there again.
fn take_out(
    tree: &Path,
    mut manifest: Manifest,
    bad: &[u64],
    directory: &Directory,
    findings: &mut Findings,
) -> io::Result<()> {
    for runs in &mut manifest.levels {
        for tables in runs.iter_mut() {
            tables.retain(|table| !bad.contains(&table.number));
        }
        runs.retain(|tables| !tables.is_empty());
    }
    write_manifest(tree, &mut manifest)?;
    for number in bad {
        let path = table_path(tree, *number);
        let text = format!("the records of the table {}, which is damaged or missing", path.display());
        findings.lost.push(text);
        if path.exists() {
            directory.set_aside(&path, findings)?;
        }
    }
    Ok(())
}

fn table_path(tree: &Path, number: u64) -> PathBuf {
    tree.join(TABLES).join(number.to_string())
}

/// Names on which the database would stumble.
fn set_strangers_aside(tables: &Path, directory: &Directory, findings: &mut Findings) -> io::Result<()> {
    if !tables.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(tables)? {
        let entry = entry?;
        let is_number = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if !is_number || !entry.file_type()?.is_file() {
            directory.set_aside(&entry.path(), findings)?;
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn is_table_sound(tree: &Path, table: &Table, care: Care) -> bool {
    let path = table_path(tree, table.number);
    match care {
        Care::Frames => is_frame_whole(&path).unwrap_or(false),
        Care::Bytes => checksum_of(&path).is_ok_and(|found| found == table.checksum),
    }
}

fn is_frame_whole(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let Some(trailer_at) = bytes.checked_sub(archive::TRAILER_BYTES as u64) else { return Ok(false) };
    let mut trailer = [0; archive::TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let Some((at, table_bytes)) = archive::table_place(&trailer, bytes) else { return Ok(false) };
    let mut table = vec![0; table_bytes as usize];
    file.read_exact_at(&mut table, at)?;
    Ok(archive::is_table_whole(&trailer, &table, at))
}

fn checksum_of(path: &Path) -> io::Result<[u8; 16]> {
    let file = File::open(path)?;
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(hasher.digest128().to_le_bytes());
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}
