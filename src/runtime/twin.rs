//! Twin: the file of Mosquitto's beside a store, to go back with.
//!
//! Duty: write it anew in one piece; know whether somebody else has written it since, and keep what somebody else wrote. Must not:
//! overwrite anything that is not ours and is not kept. Neighbours: `copying` says when; `moving` knows the format; `adopting` takes
//! what is there before a store is.
//!
//! How the file looked when it was ours stands in the store's folder, before it is put in its place: whenever the process ends, either what
//! is there is known, or what is to come there.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::clock::wall_millis;
use super::store::{DiskSpace, Room, Snapshot, sync_folder, write_private};
use crate::moving::{Chunks, Tally, mosquitto};

/// The file in the store's folder that says how the twin looks.
const KNOWN: &str = "mosquitto-file";

/// Bytes that are written before they are synced, so that the last sync does not hold up those of the store.
const SYNC_BYTES: usize = 16 << 20;

/// Bytes that are gathered for a write, or read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    Ours,
    Theirs,
}

/// How a file looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    bytes: u64,
    /// When it was changed last: seconds and nanoseconds.
    changed: (i64, i64),
    checksum: u64,
}

/// Who may write to the place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// We: nothing is there, or what we have written.
    Ours,
    /// We, once what is there is kept: it is Mosquitto's, and we have seen nothing that came after it.
    Theirs,
    /// Not we: somebody has written it after us.
    Changed,
    /// Not we: it is something else.
    Foreign,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    tally: Tally,
    bytes: u64,
    /// What was there before, if it was Mosquitto's own.
    pub(super) kept: Option<PathBuf>,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {} bytes", self.tally, self.bytes)
    }
}

/// The file, and what we know of it.
#[derive(Debug)]
pub(super) struct Twin {
    file: PathBuf,
    known: PathBuf,
    free_bytes_min: u64,
}

impl Twin {
    /// `file` beside the store in `directory`. So much of the file system is to stay free.
    pub(super) fn new(file: &Path, directory: &Path, free_bytes_min: u64) -> Self {
        Self { file: file.to_owned(), known: directory.join(KNOWN), free_bytes_min }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Remembers that the file is as Mosquitto has left it.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn remember_theirs(&self) -> io::Result<()> {
        self.remember(&[(Author::Theirs, looks_of(&self.file)?)])
    }

    /// Who may write to its place.
    ///
    /// # Errors
    /// The system does not let us look.
    pub(super) fn standing(&self) -> io::Result<Standing> {
        Ok(self.look()?.0)
    }

    /// The looks are those that were known; their checksum was only reckoned if the rest has changed.
    fn look(&self) -> io::Result<(Standing, Option<(Author, Looks)>)> {
        let found = match fs::metadata(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Standing::Ours, None)),
            found => found?,
        };
        if found.len() == 0 && found.is_file() {
            return Ok((Standing::Ours, None));
        }
        if !found.is_file() || !is_mosquittos(&self.file)? {
            return Ok((Standing::Foreign, None));
        }
        let known = self.known();
        let changed = (found.mtime(), found.mtime_nsec());
        let is_untouched = |looks: &Looks| looks.bytes == found.len() && looks.changed == changed;
        let mut same = known.iter().find(|(_, looks)| is_untouched(looks)).copied();
        if same.is_none() && known.iter().any(|(_, looks)| looks.bytes == found.len()) {
            // It may have been copied away and back.
            let checksum = looks_of(&self.file)?.checksum;
            same = known.iter().find(|(_, looks)| looks.bytes == found.len() && looks.checksum == checksum).copied();
        }
        let standing = match same {
            Some((Author::Ours, _)) => Standing::Ours,
            Some((Author::Theirs, _)) => Standing::Theirs,
            None if known.is_empty() => Standing::Theirs,
            None => Standing::Changed,
        };
        Ok((standing, same))
    }

    /// Writes it anew, if we may; else says why not. `is_ending`: whether to give up.
    ///
    /// # Errors
    /// The system does not let us, the store cannot be read, or it is to be given up. What was there is there.
    pub(super) fn write(
        &self,
        snapshot: &Snapshot,
        is_ending: &dyn Fn() -> bool,
    ) -> io::Result<Result<Written, Standing>> {
        let (standing, same) = self.look()?;
        if matches!(standing, Standing::Changed | Standing::Foreign) {
            return Ok(Err(standing));
        }
        let new = with_ending(&self.file, ".new");
        let written = self.fill(&new, snapshot, is_ending).and_then(|(looks, tally)| {
            let there = match same {
                None if standing == Standing::Theirs => Some((Author::Theirs, looks_of(&self.file)?)),
                same => same,
            };
            let next = (Author::Ours, looks);
            self.remember(&there.into_iter().chain([next]).collect::<Vec<_>>())?;
            let kept = if standing == Standing::Theirs { Some(keep(&self.file)?) } else { None };
            fs::rename(&new, &self.file)?;
            sync_folder(folder_of(&self.file))?;
            Ok(Written { tally, bytes: looks.bytes, kept })
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map(Ok)
    }

    fn fill(&self, new: &Path, snapshot: &Snapshot, is_ending: &dyn Fn() -> bool) -> io::Result<(Looks, Tally)> {
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        let space = DiskSpace::new(folder_of(new), self.free_bytes_min);
        let mut chunks = Chunks::new(Sink::new(file, space), wall_millis())?;
        snapshot.show(&mut |space, key, value, last_sequence| {
            if is_ending() {
                return Err(io::Error::other("it is given up, as the broker ends"));
            }
            chunks.take(space, key, value, last_sequence)
        })?;
        let (sink, tally) = chunks.finish();
        Ok((sink.finish()?, tally))
    }

    fn known(&self) -> Vec<(Author, Looks)> {
        let text = fs::read_to_string(&self.known).unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }

    fn remember(&self, all: &[(Author, Looks)]) -> io::Result<()> {
        let text: String = all.iter().map(|(author, looks)| line_of(*author, looks)).collect();
        write_private(&self.known, text.as_bytes())?;
        sync_folder(folder_of(&self.known))
    }
}

/// Where a file's bytes go: counted, summed, and synced as they come.
struct Sink {
    file: BufWriter<File>,
    sum: Xxh3,
    bytes: u64,
    unsynced: usize,
    space: DiskSpace,
}

impl Sink {
    fn new(file: File, space: DiskSpace) -> Self {
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Self { file, sum: Xxh3::new(), bytes: 0, unsynced: 0, space }
    }

    fn finish(mut self) -> io::Result<Looks> {
        self.file.flush()?;
        let file = self.file.get_ref();
        file.sync_all()?;
        let found = file.metadata()?;
        Ok(Looks { bytes: self.bytes, changed: (found.mtime(), found.mtime_nsec()), checksum: self.sum.digest() })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The store itself has to have room.
        if self.space.room_for(bytes.len()) != Room::Enough {
            let free = self.space.free_bytes();
            return Err(io::Error::new(io::ErrorKind::StorageFull, format!("only {free} bytes are free")));
        }
        self.file.write_all(bytes)?;
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether a file begins as Mosquitto's do.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_mosquittos(file: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(file)?.take(mosquitto::KIND_BYTES as u64).read_to_end(&mut begin)?;
    Ok(mosquitto::is_one(&begin))
}

/// Gives a file a second name that nothing has yet, and says which.
fn keep(file: &Path) -> io::Result<PathBuf> {
    let names = (1_u32..).map(|number| match number {
        1 => with_ending(file, ".mosquitto"),
        _ => with_ending(file, &format!(".mosquitto.{number}")),
    });
    for name in names {
        match fs::hard_link(file, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Not every file system has second names.
            Err(_) if fs::symlink_metadata(&name).is_err() => return fs::rename(file, &name).map(|()| name),
            Err(_) => {}
        }
    }
    Err(io::Error::other("there are more numbers than files"))
}

fn looks_of(file: &Path) -> io::Result<Looks> {
    let mut file = File::open(file)?;
    let found = file.metadata()?;
    let (mut sum, mut buffer, mut bytes) = (Xxh3::new(), vec![0; BUFFER_BYTES], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                sum.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    Ok(Looks { bytes, changed: (found.mtime(), found.mtime_nsec()), checksum: sum.digest() })
}

fn line_of(author: Author, looks: &Looks) -> String {
    let Looks { bytes, changed: (secs, nanos), checksum } = looks;
    let author = if author == Author::Ours { "ringmq" } else { "mosquitto" };
    format!("{author} {bytes} {secs} {nanos} {checksum}\n")
}

fn parse(line: &str) -> Option<(Author, Looks)> {
    let mut words = line.split(' ');
    let author = match words.next()? {
        "ringmq" => Author::Ours,
        "mosquitto" => Author::Theirs,
        _ => return None,
    };
    let bytes = words.next()?.parse().ok()?;
    let changed = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((author, Looks { bytes, changed, checksum: words.next()?.parse().ok()? }))
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::store::{Engine, Terms};
    use crate::store::{Changes, Space};

    /// A folder with a store, and the file that is to be beside it.
    struct Place(PathBuf, Engine);

    impl Place {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ringmq-twin-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            let (engine, _) = Engine::open(&folder.join("m.ringmq"), Terms { free_bytes_min: 0 }).unwrap();
            Self(folder, engine)
        }

        fn twin(&self) -> Twin {
            Twin::new(&self.0.join("m.db"), &self.0.join("m.ringmq"), 0)
        }

        fn write(&self) -> io::Result<Result<Written, Standing>> {
            self.twin().write(&self.1.snapshot().unwrap(), &|| false)
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const THEIRS: &[u8] = b"\x00\xB5\x00mosquitto db and more";

    #[test]
    fn a_file_is_ours_by_what_is_in_it() {
        let place = Place::new("ours");
        let (twin, file) = (place.twin(), place.0.join("m.db"));
        assert!(place.write().unwrap().is_ok());
        assert_eq!(twin.standing().unwrap(), Standing::Ours);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(twin.standing().unwrap(), Standing::Ours, "nothing is there");
        fs::write(&file, &bytes).unwrap();
        assert_eq!(twin.standing().unwrap(), Standing::Ours, "it was copied away and back");
        let mut other = bytes;
        *other.last_mut().unwrap() ^= 1;
        fs::write(&file, &other).unwrap();
        assert_eq!(twin.standing().unwrap(), Standing::Changed);
        assert_eq!(place.write().unwrap().unwrap_err(), Standing::Changed);
        assert_eq!(fs::read(&file).unwrap(), other);
    }

    /// A process may end after it has said what it is about to put in place, and before it has.
    #[test]
    fn what_is_there_and_what_is_to_come_are_both_known() {
        let place = Place::new("both");
        let (twin, file, next) = (place.twin(), place.0.join("m.db"), place.0.join("next"));
        fs::write(&file, THEIRS).unwrap();
        fs::write(&next, [THEIRS, b"!"].concat()).unwrap();
        let both = [(Author::Theirs, looks_of(&file).unwrap()), (Author::Ours, looks_of(&next).unwrap())];
        twin.remember(&both).unwrap();
        assert_eq!(twin.standing().unwrap(), Standing::Theirs);
        fs::rename(&next, &file).unwrap();
        assert_eq!(twin.standing().unwrap(), Standing::Ours);
    }

    /// The file as it was is better than half of a new one.
    #[test]
    fn a_file_that_is_given_up_stays_as_it_was() {
        let mut place = Place::new("given-up");
        let mut changes = Changes::default();
        changes.put(Space::Retained, b"r", b"r");
        place.1.commit(&changes, true).unwrap();
        fs::write(place.0.join("m.db"), THEIRS).unwrap();
        place.twin().write(&place.1.snapshot().unwrap(), &|| true).unwrap_err();
        assert_eq!(place.names(), ["m.db", "m.ringmq"]);
        assert_eq!(fs::read(place.0.join("m.db")).unwrap(), THEIRS);
        let written = place.write().unwrap().unwrap();
        assert_eq!(written.kept, Some(place.0.join("m.db.mosquitto")));
        assert_eq!(place.names(), ["m.db", "m.db.mosquitto", "m.ringmq"]);
        assert_eq!(fs::read(place.0.join("m.db.mosquitto")).unwrap(), THEIRS);
    }
}
