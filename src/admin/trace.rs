//! Trace: what a client sends and is sent, as it happens.
//!
//! Duty: say what is wanted wrongly. Must not: tap a shard: that comes with the taps. Neighbours: `answer::Traced` is an event.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::TraceQuestion;
use super::api::Room;
use super::asked::Query;
use super::problem::Problem;

/// Server-sent events, one `Traced` each. The taps of the shards begin here.
pub(super) async fn trace(State(_): State<Room>, Query(question): Query<TraceQuestion>) -> Result<Response, Problem> {
    if question.client.is_some() == question.topic.is_some() {
        return Err(Problem::bad("client, topic: one of them is wanted"));
    }
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this version cannot watch packets yet"))
}
