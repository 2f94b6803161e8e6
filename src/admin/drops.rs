//! Drops: what was dropped, denied or cut short, by name; and what clients had no right to.
//!
//! Duty: sum up what the shards have counted. Must not: name anything: `shard::trouble` does. Neighbours: `overview` takes the looks.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{Denial, Drop, Items};
use super::api::Room;
use super::asked::{Nothing, Query};
use super::problem::{Problem, json_of};
use crate::auth::Access;
use crate::runtime::ShardFigures;
use crate::shard::Trouble;

/// Everything that can go wrong, and how often it has.
pub(super) async fn list(State(room): State<Room>, _: Query<Nothing>) -> Result<Response, Problem> {
    let span = room.recent().await?;
    let now = room.figures().await?;
    let (before, after) = (troubles_of(&span.before().shards), troubles_of(&span.after().shards));
    let rows = troubles_of(&now).into_iter().zip(before.iter().zip(&after));
    let items = rows.map(|(trouble, (before, after))| Drop {
        name: trouble.name.into(),
        kind: trouble.kind.name().into(),
        count: trouble.times,
        per_sec: span.per_sec(before.times, after.times),
        meaning: trouble.meaning.into(),
    });
    Ok(json_of(StatusCode::OK, &Items { items: items.collect() }))
}

/// What went wrong on all shards together, always in the same order.
pub(super) fn troubles_of(figures: &[ShardFigures]) -> Vec<Trouble> {
    let mut sums: Vec<Trouble> = Vec::new();
    for figures in figures {
        let of_shard = troubles_of_shard(figures);
        if sums.is_empty() {
            sums = of_shard;
        } else {
            sums.iter_mut().zip(of_shard).for_each(|(sum, more)| sum.times += more.times);
        }
    }
    sums
}

/// What went wrong on a shard, always in the same order.
pub(super) fn troubles_of_shard(figures: &ShardFigures) -> Vec<Trouble> {
    let figures = &figures.figures;
    figures.counters.troubles().chain(figures.tally.troubles()).collect()
}

/// What clients had no right to, the last one first.
pub(super) async fn denials(State(room): State<Room>, _: Query<Nothing>) -> Response {
    let denied = room.window.denied().into_iter();
    let items = denied.map(|denied| Denial {
        at_unix_ms: denied.at_unix_millis,
        client_id: denied.client_id.into(),
        user: denied.user.map(Into::into),
        address: denied.address,
        access: match denied.access {
            Access::Publish => "publish",
            Access::Receive => "receive",
        }
        .into(),
        topic: denied.topic.into(),
        rule: denied.rule.into(),
    });
    json_of(StatusCode::OK, &Items { items: items.collect() })
}
