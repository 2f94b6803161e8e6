//! The machine the generator runs on and the date, so that a report can be placed later.
//! Must not measure. Neighbour: `report`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// What /proc says of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Model of the first CPU, or `unknown`.
    pub cpu: String,
    /// CPUs that are online.
    pub cores: usize,
    /// Kernel, with its release.
    pub kernel: String,
    /// Memory, bytes; 0 when unknown.
    pub memory_bytes: u64,
}

/// Looks at this machine. What cannot be read is `unknown`, since no number depends on it.
pub fn look() -> Host {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let memory = read("/proc/meminfo");
    let kib = field(&memory, "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
    let kernel =
        [read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")].map(|text| text.trim().to_owned());
    Host {
        cpu: field(&cpus, "model name").unwrap_or("unknown").to_owned(),
        cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
        kernel: kernel.join(" "),
        memory_bytes: kib.unwrap_or(0) * 1024,
    }
}

/// The value behind the first `name :` of a file of such lines.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let value = |line: &'t str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim);
    text.lines().find_map(value)
}

/// The time of day in UTC, such as `2026-11-24 09:05:07`.
pub fn now_utc() -> String {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(secs)
}

/// A moment in seconds since 1970-01-01 00:00 UTC, without leap seconds.
fn utc(secs: u64) -> String {
    let (mut days, second) = (secs / 86_400, secs % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (4_102_444_799, "2099-12-31 23:59:59"),
        ];
        for (secs, text) in cases {
            assert_eq!(utc(secs), text);
        }
    }

    #[test]
    fn this_machine_has_cores_memory_and_a_kernel() {
        let host = look();
        assert!(host.cores > 0 && host.memory_bytes > 1 << 20 && host.kernel.starts_with("Linux "), "{host:?}");
    }
}
