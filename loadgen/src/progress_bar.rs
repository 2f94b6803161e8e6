//! A bar on the terminal that says what the run is doing, how far it is, and how fast.
//! Must not measure. Neighbours: `engine` tells it, `cli` decides whether there is one.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::{Activity, Progress};

/// Shortest time over which messages/s are counted, nanoseconds.
const RATE_NS_MIN: u64 = 400_000_000;

/// A bar on stderr, gone when dropped; nothing when stderr is no terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    activity: Option<Activity>,
    /// When the rate was last counted, nanoseconds since the run's epoch, and what had been delivered then.
    counted: (u64, u64),
}

impl Default for Bar {
    fn default() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style("{pos} of {len}"));
        Self { bar, activity: None, counted: (0, 0) }
    }
}

fn style(count: &str) -> ProgressStyle {
    // A template of ours: a test builds every one of them.
    ProgressStyle::with_template(&format!("{{prefix:<11}} [{{bar:30}}] {count}{{msg}}"))
        .expect("the template is well-formed")
        .progress_chars("=> ")
}

/// Name of an activity and the form of its count.
fn words(activity: Activity) -> (&'static str, &'static str) {
    match activity {
        Activity::Connect => ("connecting", "{pos} of {len} clients"),
        Activity::WarmUp => ("warming up", "{percent} %"),
        Activity::Measure => ("measuring", "{percent} %"),
        Activity::Stages => ("staging", "{human_pos} of {human_len} messages"),
        Activity::Drain => ("draining", "{human_pos} of {human_len} messages"),
    }
}

impl Bar {
    /// Shows how far the run is.
    pub fn show(&mut self, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        if self.activity != Some(progress.activity) {
            self.activity = Some(progress.activity);
            let (prefix, count) = words(progress.activity);
            self.bar.set_style(style(count));
            self.bar.set_prefix(prefix);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        if let Some(per_sec) = self.rate(progress.at_ns, progress.delivered) {
            self.bar.set_message(if progress.delivered > 0 {
                format!(", {per_sec} messages/s")
            } else {
                String::new()
            });
        }
    }

    /// Messages per second since the last count; `None` while that is too short ago.
    fn rate(&mut self, at_ns: u64, delivered: u64) -> Option<u64> {
        let elapsed_ns = at_ns.saturating_sub(self.counted.0);
        if elapsed_ns < RATE_NS_MIN {
            return None;
        }
        let messages = delivered - self.counted.1;
        self.counted = (at_ns, delivered);
        Some((messages as f64 / (elapsed_ns as f64 / 1e9)) as u64)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activity_has_a_well_formed_line() {
        for activity in [Activity::Connect, Activity::WarmUp, Activity::Measure, Activity::Drain, Activity::Stages] {
            style(words(activity).1);
        }
    }

    #[test]
    fn the_rate_is_counted_since_the_last_count() {
        let mut bar = Bar::default();
        assert_eq!(bar.rate(100_000_000, 5), None);
        assert_eq!(bar.rate(500_000_000, 1_000), Some(2_000));
        assert_eq!(bar.rate(600_000_000, 9_000), None);
        assert_eq!(bar.rate(1_500_000_000, 1_500), Some(500));
    }
}
