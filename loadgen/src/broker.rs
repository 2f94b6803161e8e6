//! What the kernel says of the broker's process: CPU time, memory, files, threads.
//! Must not read anything of the broker itself. Neighbours: `engine` samples, `report` subtracts.

use std::fs;
use std::io;

/// One look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSample {
    /// Time on a CPU of all threads that live, nanoseconds.
    pub cpu_ns: u64,
    /// Resident set, bytes.
    pub rss_bytes: u64,
    /// Open file descriptors; `None` when the process belongs to another user.
    pub fds: Option<usize>,
    /// Threads.
    pub threads: usize,
    /// CPUs it may run on.
    pub cpus: usize,
}

/// Looks at process `pid`. CPU time is read first, so that the rest does not blur the moment.
///
/// Errors: no such process, or a kernel without scheduler statistics.
pub fn sample(pid: u32) -> io::Result<BrokerSample> {
    let (cpu_ns, threads) = cpu(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mask = field("Cpus_allowed:").unwrap_or_default();
    let cpus = mask.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit.count_ones() as usize).sum();
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).ok();
    Ok(BrokerSample { cpu_ns, rss_bytes: rss_bytes(&status), fds, threads, cpus })
}

/// CPU time, nanoseconds, and resident set, bytes, of process `pid`: what costs little enough to be asked ten times a
/// second even of a process with 100,000 descriptors.
///
/// Errors: as [`sample`].
pub fn glance(pid: u32) -> io::Result<(u64, u64)> {
    let (cpu_ns, _) = cpu(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok((cpu_ns, rss_bytes(&status)))
}

fn rss_bytes(status: &str) -> u64 {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn cpu(pid: u32) -> io::Result<(u64, usize)> {
    let (mut cpu_ns, mut threads) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading; that is no error of the process.
        let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let on_cpu_ns = schedstat.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        cpu_ns += on_cpu_ns.ok_or_else(|| io::Error::other("unreadable schedstat"))?;
        threads += 1;
    }
    if threads == 0 { Err(io::Error::other("no scheduler statistics")) } else { Ok((cpu_ns, threads)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process with one thread that works without end: what the tests' own process says changes whenever another test ends.
    struct Busy(std::process::Child);

    impl Busy {
        fn start() -> Self {
            Self(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell"))
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_has_memory_files_a_thread_and_growing_cpu_time() {
        let busy = Busy::start();
        let first = sample(busy.pid()).expect("it runs");
        assert!(first.rss_bytes > 0 && first.cpus > 0 && first.fds.is_some_and(|fds| fds > 2));
        assert_eq!(first.threads, 1);
        let later =
            (0..100_000).map(|_| sample(busy.pid()).expect("it runs")).find(|later| later.cpu_ns > first.cpu_ns);
        assert!(later.is_some());
    }

    #[test]
    fn a_glance_sees_what_a_sample_sees() {
        let busy = Busy::start();
        let first = sample(busy.pid()).expect("it runs");
        let (cpu_ns, rss_bytes) = glance(busy.pid()).expect("it runs");
        assert!(cpu_ns >= first.cpu_ns && rss_bytes > first.rss_bytes / 2);
        assert!(glance(u32::MAX).is_err());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(sample(u32::MAX).is_err());
    }
}
