//! Units: numbers as people read them.
//!
//! Duty: thousands apart, bytes, times, rates. Must not: say more digits than anybody wants. Neighbours: every command that prints.

use crate::runtime::local_time;

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How often in a second.
pub(super) fn rate(per_sec: f64) -> String {
    if per_sec > 0.0 && per_sec < 9.95 { format!("{per_sec:.1}") } else { count(per_sec.round() as u64) }
}

/// Bytes in powers of 1024.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded up to the next unit is written in it.
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size < 9.95 { format!("{size:.1} {}", UNITS[unit]) } else { format!("{size:.0} {}", UNITS[unit]) }
}

/// A length of time, its two largest parts.
pub(super) fn secs(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A length of time that may be short.
pub(super) fn millis(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { secs(millis / 1000) }
}

/// A length of time that is short.
pub(super) fn micros(micros: f64) -> String {
    match micros {
        _ if micros < 999.5 => format!("{micros:.0} µs"),
        _ if micros < 9_950.0 => format!("{:.1} ms", micros / 1e3),
        _ if micros < 999_500.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// A part of one, in percent.
pub(super) fn share(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A moment of today or another day, local time.
pub(super) fn moment(unix_ms: u64) -> String {
    local_time("%Y-%m-%d %H:%M:%S", unix_ms / 1000)
}

/// The time of day, local time, with milliseconds.
pub(super) fn time_of_day(unix_ms: u64) -> String {
    format!("{}.{:03}", local_time("%H:%M:%S", unix_ms / 1000), unix_ms % 1000)
}

/// `1 message`, `2 messages`.
pub(super) fn plural(number: u64, one: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {one}{end}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.04, 3.1234, 9.97, 12_345.6].map(rate), ["0", "0.0", "3.1", "10", "12,346"]);
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, (1 << 20) - 1, 3 << 40].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 MiB", "1.0 MiB", "3.0 TiB"]
        );
        assert_eq!([5, 65, 3700, 90_000].map(secs), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([999, 1000].map(millis), ["999 ms", "1 s"]);
        assert_eq!([12.4, 1_234.0, 45_600.0, 1.5e6].map(micros), ["12 µs", "1.2 ms", "46 ms", "1.5 s"]);
        assert_eq!(share(0.254), "25 %");
        assert_eq!([plural(1, "client"), plural(2, "client")], ["1 client", "2 clients"]);
    }
}
