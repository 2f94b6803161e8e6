//! What a row costs: the memory of the broker, and how long a client that does nothing wrong waits meanwhile.
//!
//! Duty: look and ask from a thread of its own, and put it into one line. Must not: attack. Neighbours: every row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::Client;

/// A bystander's PINGREQ is answered within ten times the 50 ms that the rows ask for, at the 99th percentile.
const P99_MAX: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(2);

/// A watched broker.
pub(crate) struct Watch {
    row: &'static str,
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<Seen>,
    pid: u32,
    base_bytes: u64,
}

struct Seen {
    waits: Vec<Duration>,
    peak_bytes: u64,
}

/// What a row has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Memory at its highest above what it was before, bytes.
    pub(crate) peak_bytes: u64,
    /// Memory at the end above what it was before, bytes.
    pub(crate) left_bytes: u64,
}

impl Watch {
    /// Begins to watch; a client of shard 0 is the bystander.
    pub(crate) fn begin(row: &'static str, broker: &Broker) -> Self {
        let mut bystander = broker.connect(&broker.client_id("bystander", 0));
        bystander.expect_alive();
        let pid = broker.process.id();
        let base_bytes = resident_bytes(pid);
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let watcher = std::thread::spawn(move || ask(&mut bystander, pid, &until));
        Self { row, is_over, watcher, pid, base_bytes }
    }

    /// Ends the watch, and prints the line.
    pub(crate) fn end(self, counts: &str) -> Cost {
        let left_bytes = resident_bytes(self.pid).saturating_sub(self.base_bytes);
        self.is_over.store(true, Ordering::Relaxed);
        let Seen { mut waits, peak_bytes } = self.watcher.join().expect("the bystander is served all the while");
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
        let (p50, p99, max) = (at(50), at(99), at(100));
        let peak_bytes = peak_bytes.saturating_sub(self.base_bytes);
        println!(
            "{}: RSS base {} KiB, peak +{} KiB, end +{} KiB; bystander's pings p50 {} us, p99 {} us, max {} us of {}; {counts}",
            self.row,
            self.base_bytes >> 10,
            peak_bytes >> 10,
            left_bytes >> 10,
            p50.as_micros(),
            p99.as_micros(),
            max.as_micros(),
            waits.len(),
        );
        assert!(p99 < P99_MAX, "{}: a bystander waits {p99:?}", self.row);
        Cost { peak_bytes, left_bytes }
    }
}

fn ask(bystander: &mut Client, pid: u32, until: &AtomicBool) -> Seen {
    let mut seen = Seen { waits: Vec::new(), peak_bytes: 0 };
    while !until.load(Ordering::Relaxed) || seen.waits.is_empty() {
        let asked = Instant::now();
        bystander.expect_alive();
        seen.waits.push(asked.elapsed());
        seen.peak_bytes = seen.peak_bytes.max(resident_bytes(pid));
        std::thread::sleep(PACE);
    }
    seen
}

/// Memory of a process that is in RAM, bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// CPU time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
