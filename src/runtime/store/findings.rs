//! Findings: what opening or reading a store came across, and why it could not be done, in the operator's words.
//!
//! Duty: carry and word it. Must not: act. Neighbours: `opening`, `mending` and `engine` fill it; whoever opens a store logs it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A file or folder that was not as it should be and now has another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetAside {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is.
    pub to: PathBuf,
}

/// What opening or reading a store came across. Nothing, usually.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What was not whole and could be mended without loss of anything that was safe, as sentences.
    pub recovered: Vec<String>,
    /// What was set aside. Nothing is ever deleted.
    pub set_aside: Vec<SetAside>,
    /// What is not there any more, as sentences.
    pub lost: Vec<String>,
}

impl Findings {
    /// Whether there was nothing to find.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.recovered.is_empty() && self.set_aside.is_empty() && self.lost.is_empty()
    }

    /// Lines for the log, what is worst last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.recovered.iter().map(|what| format!("store: {what}")).collect();
        let name = |aside: &SetAside| format!("store: {} is set aside as {}", aside.from.display(), aside.to.display());
        lines.extend(self.set_aside.iter().map(name));
        lines.extend(self.lost.iter().map(|what| format!("store: LOST: {what}")));
        lines
    }

    /// Adds those of a later step.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.recovered.append(&mut others.recovered);
        self.set_aside.append(&mut others.set_aside);
        self.lost.append(&mut others.lost);
    }
}

/// Why a store cannot be opened or read. A damaged one can.
#[derive(Debug)]
pub(crate) enum StoreFault {
    /// Another process has it.
    Taken {
        /// The store.
        directory: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// It is of another version, or of something else. Nothing was touched.
    Foreign {
        /// The store.
        directory: PathBuf,
        /// What it says of itself.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The system does not let us.
    System {
        /// What was done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

impl StoreFault {
    /// What the system says to something that was tried with a file.
    pub(super) fn system(doing: &'static str, path: impl Into<PathBuf>, why: &impl fmt::Display) -> Self {
        Self::System { doing, path: path.into(), why: why.to_string() }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { directory, pid: Some(pid) } => write!(
                formatter,
                "the store {} belongs to the running process {pid}: stop that one, or choose another directory",
                directory.display()
            ),
            Self::Taken { directory, pid: None } => write!(
                formatter,
                "the store {} belongs to another running process: stop that one, or choose another directory",
                directory.display()
            ),
            Self::Foreign { directory, found, wanted } => write!(
                formatter,
                "the store {} has the format {found:?}, and this ringmq knows {wanted:?}: use the ringmq that wrote it, or choose \
                 another directory; nothing was changed",
                directory.display()
            ),
            Self::System { doing, path, why } => {
                write!(formatter, "the store cannot {doing} {}: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for StoreFault {}

/// Why something is not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// There is no room. The same changes can be committed later.
    Full(String),
    /// The store can no longer be trusted with anything, for good.
    Broken(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(why) => write!(formatter, "no room: {why}"),
            Self::Broken(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for CommitError {}

/// Whether the system lacks something that it may have later, or denies something: no sign of damage.
pub(super) fn is_of_system(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    is_of_room(error)
        || matches!(
            number,
            Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
        )
}

/// Whether there is no room.
pub(super) fn is_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// What the system said, if an error of the database comes from that.
pub(super) fn io_cause(error: &fjall::Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
