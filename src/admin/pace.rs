//! Pace: how much of a shard they get who walk through all that it has.
//!
//! Duty: one piece of a walk at a time on each shard, whoever walks, and a rest after each that is in proportion to it. Must not: hold up
//! a single question, or know what is looked for. Neighbours: `api` has it; `clients` and `retained` walk.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::api::Room;
use super::problem::Problem;
use crate::id::ShardId;
use crate::runtime::Look;

/// How often what a piece took passes before the next: then p99 of the messages stays as it is, as far as chance lets one see.
const RESTS: u32 = 99;

/// What a shard does for a piece beside it: it wakes up, takes the question and looks around before it sleeps again.
const TURN: Duration = Duration::from_micros(15);

/// Who has walked for so long does not rest any more: requests have an end (`admin_request_ms_max`).
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon to look for an answer: within the rest anyway.
const ANSWER_PAUSE: Duration = Duration::from_millis(1);

/// When each shard may have its next piece.
#[derive(Debug, Default)]
pub(super) struct Pace(OnceLock<Box<[Mutex<Option<Instant>>]>>);

impl Pace {
    /// Waits until it is time for a piece of one of so many shards, but no longer than until `at_last` once those before are done.
    async fn turn(&self, shard: ShardId, shards: usize, at_last: Instant) -> Option<Turn<'_>> {
        // Before they start there are none.
        let shards = Some(shards).filter(|shards| *shards > 0)?;
        let next = self.0.get_or_init(|| (0..shards).map(|_| Mutex::default()).collect()).get(shard.index())?;
        let next = next.lock().await;
        // A wait for what has been takes a millisecond.
        if let Some(next) = next.map(|next| next.min(at_last)).filter(|next| *next > Instant::now()) {
            sleep_until(next).await;
        }
        Some(Turn(next))
    }
}

/// Whose turn it is.
struct Turn<'a>(MutexGuard<'a, Option<Instant>>);

impl Turn<'_> {
    /// Ends it; the piece that was asked for then took so long.
    fn end(mut self, asked_at: Instant, took: Duration) {
        *self.0 = Some(asked_at + (took + TURN) * (1 + RESTS));
    }
}

/// A way through what has no bound.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    room: Room,
    patient_until: Instant,
}

impl Walk {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), patient_until: Instant::now() + PATIENCE }
    }

    /// Goes through all shards at once; what was found in each, in their order.
    pub(super) async fn through_all<T: Send + 'static, F: Future<Output = Result<T, Problem>> + Send + 'static>(
        room: &Room,
        look: impl Fn(Self, ShardId) -> F,
    ) -> Result<Vec<T>, Problem> {
        let walk = Self::new(room);
        let mut looks = JoinSet::new();
        for shard in room.shards() {
            let look = look(walk.clone(), shard);
            looks.spawn(async move { look.await.map(|found| (shard, found)) });
        }
        let mut found = Vec::new();
        while let Some(ended) = looks.join_next().await {
            found.push(ended.map_err(|_| Problem::gone())??);
        }
        found.sort_unstable_by_key(|(shard, _)| *shard);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    /// Whether it has taken so long that who can should answer with what there is.
    pub(super) fn is_long(&self) -> bool {
        Instant::now() >= self.patient_until
    }

    /// Asks a shard for a piece, when it is time for one.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Look<'_>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let shards = self.room.window.shards();
        let turn = self.room.pace.turn(shard, shards, self.patient_until).await.ok_or_else(Problem::gone)?;
        let timed = move |look: &mut Look<'_>| {
            let began = Instant::now();
            (question(look), began.elapsed())
        };
        let asked_at = Instant::now();
        let mut answered = self.room.window.put(shard, timed).ok_or_else(Problem::gone)?;
        while !self.is_long() {
            sleep(ANSWER_PAUSE).await;
            match answered.try_recv() {
                Ok((answer, took)) => {
                    turn.end(asked_at, took);
                    return Ok(answer);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => return Err(Problem::gone()),
            }
        }
        let (answer, took) = answered.await.map_err(|_| Problem::gone())?;
        turn.end(asked_at, took);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const PIECE: Duration = MILLI.saturating_sub(TURN);

    /// When each of these walks, begun at once, has its turns; each takes a millisecond in all. Time passes only when all wait.
    fn turns(patience: Duration, shards: &[u16], pieces: usize) -> Vec<Vec<u128>> {
        let executor = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        executor.block_on(async {
            let (pace, begin) = (std::sync::Arc::new(Pace::default()), Instant::now());
            let walks: Vec<_> = shards
                .iter()
                .map(|&shard| {
                    let pace = std::sync::Arc::clone(&pace);
                    tokio::spawn(async move {
                        let mut turns = Vec::new();
                        for _ in 0..pieces {
                            let turn = pace.turn(ShardId(shard), 2, begin + patience).await.unwrap();
                            turns.push(begin.elapsed().as_millis());
                            turn.end(Instant::now(), PIECE);
                        }
                        turns
                    })
                })
                .collect();
            let mut turns = Vec::new();
            for walk in walks {
                turns.push(walk.await.unwrap());
            }
            turns
        })
    }

    #[test]
    fn each_piece_is_followed_by_a_rest_in_proportion() {
        assert_eq!(turns(Duration::MAX / 4, &[0], 3), [[0, 100, 200]]);
    }

    #[test]
    fn those_who_walk_share_the_turns_of_a_shard_and_each_shard_has_its_own() {
        let turns = turns(Duration::MAX / 4, &[0, 0, 1], 3);
        // The first one has its second turn before the other one asks.
        assert_eq!(turns, [[0, 100, 300], [200, 400, 500], [0, 100, 200]]);
    }

    #[test]
    fn who_has_walked_for_long_does_not_rest() {
        assert_eq!(turns(150 * MILLI, &[0], 4), [[0, 100, 150, 150]]);
    }

    #[test]
    fn before_there_are_shards_there_are_no_turns() {
        let executor = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pace = Pace::default();
        executor.block_on(async {
            assert!(pace.turn(ShardId(0), 0, Instant::now()).await.is_none());
            assert!(pace.turn(ShardId(0), 1, Instant::now()).await.is_some());
        });
    }
}
