//! Sampler: the last two looks at something that grows, so that what is told is of the last seconds.
//!
//! Duty: look when somebody asks, at most once in a second; look twice if the last look is long ago. Must not: look by itself, or know at
//! what. Neighbours: `overview`, `topics` and `clients` give what is looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

/// Between two looks at least.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Older looks say nothing of now.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Between the two looks that begin anew.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A look.
#[derive(Debug)]
struct Sample<T> {
    at: Instant,
    what: T,
}

fn taken<T>(what: T) -> Arc<Sample<T>> {
    Arc::new(Sample { what, at: Instant::now() })
}

type Pair<T> = (Arc<Sample<T>>, Arc<Sample<T>>);

/// The last two.
#[derive(Debug)]
pub(super) struct Sampler<T>(Mutex<Option<Pair<T>>>);

impl<T> Default for Sampler<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

/// What has happened between two looks.
#[derive(Debug)]
pub(super) struct Span<T> {
    before: Arc<Sample<T>>,
    after: Arc<Sample<T>>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        Self { before: Arc::clone(&self.before), after: Arc::clone(&self.after) }
    }
}

impl<T> Span<T> {
    pub(super) fn before(&self) -> &T {
        &self.before.what
    }

    pub(super) fn after(&self) -> &T {
        &self.after.what
    }

    pub(super) fn secs(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    /// How often in a second, to three digits behind the point.
    pub(super) fn per_sec(&self, before: u64, after: u64) -> f64 {
        let rate = after.saturating_sub(before) as f64 / self.secs().max(f64::MIN_POSITIVE);
        (rate * 1000.0).round() / 1000.0
    }
}

impl<T> Sampler<T> {
    /// The last two looks, the second of them not older than a second. `None`: there is nothing to look at any more.
    pub(super) async fn recent<F: Future<Output = Option<T>>>(&self, look: impl Fn() -> F) -> Option<Span<T>> {
        let mut kept = self.0.lock().await;
        let pair = match kept.take() {
            Some((before, after)) if after.at.elapsed() < PAUSE_MIN => (before, after),
            Some((_, after)) if after.at.elapsed() < AGE_MAX => (after, taken(look().await?)),
            _ => {
                let before = taken(look().await?);
                sleep(FIRST_PAUSE).await;
                (before, taken(look().await?))
            }
        };
        let (before, after) = kept.insert(pair);
        Some(Span { before: Arc::clone(before), after: Arc::clone(after) })
    }

    /// The last two looks if they are not old; nobody is asked.
    pub(super) async fn known(&self) -> Option<Span<T>> {
        let kept = self.0.lock().await;
        let (before, after) = kept.as_ref().filter(|(_, after)| after.at.elapsed() < AGE_MAX)?;
        Some(Span { before: Arc::clone(before), after: Arc::clone(after) })
    }
}
