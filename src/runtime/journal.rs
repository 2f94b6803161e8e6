//! Journal: the log of the broker, written by a thread of its own.
//!
//! Duty: take lines without ever making a shard wait for a slow terminal or pipe; say how many did not fit. Must not: decide
//! what is worth a line. Neighbours: `report` and `start` write to it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Lines that wait for the writer; what comes on top is counted and lost.
const LINES_MAX: usize = 4096;

/// How long the end of the broker waits for the last lines to be written.
const CLOSE_SECS: u64 = 1;

/// What the writer is told.
#[derive(Debug)]
enum Entry {
    Line(String),
    End,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

/// The writer's end, to be closed when everybody has written.
#[derive(Debug)]
pub(super) struct JournalEnd {
    entries: Sender<Entry>,
    is_done: Receiver<()>,
}

impl Journal {
    /// Starts the writer on standard error.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start() -> std::io::Result<(Self, JournalEnd)> {
        let (entries, waiting) = bounded(LINES_MAX);
        let (done, is_done) = bounded(1);
        let lost = Arc::new(AtomicU64::new(0));
        let journal = Self { entries: entries.clone(), lost: Arc::clone(&lost) };
        thread::Builder::new().name("ringmq-journal".into()).spawn(move || {
            write_lines(&waiting, &lost);
            let _ = done.send(());
        })?;
        Ok((journal, JournalEnd { entries, is_done }))
    }

    /// Writes a line soon.
    pub(super) fn line(&self, line: String) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl JournalEnd {
    /// Waits until what was told so far is written, for a second at most.
    pub(super) fn close(self) {
        let limit = Duration::from_secs(CLOSE_SECS);
        if self.entries.send_timeout(Entry::End, limit).is_ok() {
            let _ = self.is_done.recv_timeout(limit);
        }
    }
}

fn write_lines(waiting: &Receiver<Entry>, lost: &AtomicU64) {
    // A closed standard error is no reason to stop a broker.
    for entry in waiting {
        let Entry::Line(line) = entry else { return };
        let mut out = std::io::stderr().lock();
        let _ = writeln!(out, "{line}");
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines lost: standard error is too slow");
        }
    }
}
