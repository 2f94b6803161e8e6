//! What happened last: kept in few bytes, printed when a run fails.
//!
//! Duty: note packets, turns of fate and leaps of the clock; a digest, by which two runs are compared. Must not: allocate or
//! format while all is well. Neighbours: `client` and `node` note; `RINGMQ_SIM_TRACE` prints whole packets instead.

use ringmq::id::Millis;
use ringmq::wire::packet_name;

/// Lines that are printed.
const LINES_MAX: usize = 40;

/// What is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// A client sent a packet: first byte, length.
    Sent(u8, usize),
    /// A client got a packet: first byte, length.
    Got(u8, usize),
    /// A line was opened.
    Opened,
    /// The broker says that a connection began.
    Accepted,
    /// The broker says that a connection ended.
    Ended,
}

/// The last notes, and a digest of all.
#[derive(Debug)]
pub(crate) struct Trace {
    seed: u64,
    last: [(Millis, usize, Note); LINES_MAX],
    count: usize,
    pub(crate) digest: u64,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, last: [(Millis(0), 0, Note::Opened); LINES_MAX], count: 0, digest: 0 }
    }

    /// Something happened on a line.
    pub(crate) fn note(&mut self, now: Millis, line: usize, note: Note) {
        self.last[self.count % LINES_MAX] = (now, line, note);
        self.count += 1;
        let what = match note {
            Note::Sent(first, len) => 1 << 62 | u64::from(first) << 32 | len as u64,
            Note::Got(first, len) => 1 << 61 | u64::from(first) << 32 | len as u64,
            Note::Opened => 1,
            Note::Accepted => 2,
            Note::Ended => 3,
        };
        for part in [now.0, line as u64, what] {
            self.digest = (self.digest.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("seed {}: the last of {} notes, digest {:016x}", self.seed, self.count, self.digest);
        for at in self.count.saturating_sub(LINES_MAX)..self.count {
            let (now, line, note) = self.last[at % LINES_MAX];
            eprintln!("{:8} ms line {line:4} {}", now.0, text(note));
        }
    }
}

fn text(note: Note) -> String {
    match note {
        Note::Sent(first, len) => format!("-> {} {len} B", kind(first)),
        Note::Got(first, len) => format!("<- {} {len} B", kind(first)),
        Note::Opened => "is opened".to_owned(),
        Note::Accepted => "is accepted".to_owned(),
        Note::Ended => "has ended, says the broker".to_owned(),
    }
}

/// A packet's name, with DUP, QoS and RETAIN of a PUBLISH.
fn kind(first: u8) -> String {
    let name = packet_name(first);
    if first >> 4 != 3 {
        return name.to_owned();
    }
    let dup = if first & 8 > 0 { " DUP" } else { "" };
    let retain = if first & 1 > 0 { " RETAIN" } else { "" };
    format!("{name}{dup} QoS {}{retain}", first >> 1 & 3)
}
