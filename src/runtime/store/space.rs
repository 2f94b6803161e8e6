//! Space: whether the file system has room for more.
//!
//! Duty: ask the system seldom, and compare with the reserve. Must not: decide what happens without room. Neighbours: `engine`
//! asks before each commit.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the system has said holds so long, and for so many bytes that are written.
const ASK_AFTER: Duration = Duration::from_millis(100);
const ASK_AFTER_BYTES: usize = 4 << 20;

/// The reserve is no more than this part of the file system, so that a small one can be used, too.
const RESERVE_PARTS: u64 = 20;

/// Commits are made down to this part of the reserve, so that what was taken before it was touched, and deletions, get through.
const FLOOR_PARTS: u64 = 4;

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Room {
    /// There is enough.
    Enough,
    /// The reserve is touched: nothing new is to be taken.
    Short,
    /// Nothing can be written.
    None,
}

/// What is known of the room.
#[derive(Debug)]
pub(in crate::runtime) struct Space {
    path: PathBuf,
    reserve_bytes: u64,
    asked: Option<Instant>,
    written_since: usize,
    ask_after_bytes: usize,
    room: Room,
    free_bytes: u64,
}

impl Space {
    /// Of the file system on which a folder is. `reserve_bytes` are to stay free; 0 keeps none.
    pub(in crate::runtime) fn new(path: &Path, reserve_bytes: u64) -> Self {
        Self {
            path: path.to_owned(),
            reserve_bytes,
            asked: None,
            written_since: 0,
            ask_after_bytes: ASK_AFTER_BYTES,
            room: Room::Enough,
            free_bytes: u64::MAX,
        }
    }

    /// The room before so many bytes are written.
    pub(in crate::runtime) fn room_for(&mut self, bytes: usize) -> Room {
        self.written_since = self.written_since.saturating_add(bytes);
        let is_old = self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AFTER);
        if is_old || self.written_since >= self.ask_after_bytes {
            self.ask(bytes as u64);
        }
        self.room
    }

    /// The room as it is now.
    pub(super) fn ask_again(&mut self) -> Room {
        self.ask(0);
        self.room
    }

    /// What was free when it was asked last, bytes.
    pub(in crate::runtime) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    fn ask(&mut self, bytes: u64) {
        self.asked = Some(Instant::now());
        self.written_since = 0;
        // A file system that does not say has room until a write fails.
        let Ok((free, all)) = free_and_all(&self.path) else {
            self.room = Room::Enough;
            return;
        };
        self.free_bytes = free;
        let reserve = self.reserve_bytes.min(all / RESERVE_PARTS);
        self.ask_after_bytes = ASK_AFTER_BYTES.min((reserve / 8).max(1) as usize);
        // Once short, an eighth more has to be free, so that it does not come and go.
        let wanted = if self.room == Room::Enough { reserve } else { reserve + reserve / 8 };
        self.room = match () {
            () if free < (reserve / FLOOR_PARTS).saturating_add(if reserve == 0 { 0 } else { bytes }) => Room::None,
            () if free < wanted => Room::Short,
            () => Room::Enough,
        };
    }
}

/// Bytes that are free for us, and bytes of the file system.
fn free_and_all(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: plain numbers, for which zeros are values.
    let mut said: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string with its end, and room for the answer; both live through the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut said) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((said.f_bavail.saturating_mul(said.f_frsize), said.f_blocks.saturating_mul(said.f_frsize)))
}
