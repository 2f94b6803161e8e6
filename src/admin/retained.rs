//! Retained: what is kept of topics, looked through and deleted.
//!
//! Duty: lists in pieces, one message with its payload, deletion by filter. Must not: hold a shard for longer than a piece. Neighbours:
//! `shard::look` finds; a deletion is an empty message that the broker itself publishes.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::sleep;

use super::answer::{DeleteQuestion, Deleted, List, Retained, RetainedQuestion};
use super::api::Room;
use super::asked::{Changing, Name, Nothing, Query, cursor_of, cursor_text, limit_of};
use super::change::message_of;
use super::pace::Walk;
use super::problem::{Problem, json_of};
use super::topics::ANY_SHARD;
use crate::id::Millis;
use crate::message::Message;
use crate::runtime::Look;
use crate::session::Search;
use crate::shard::{Input, RetainedPage};
use crate::topic::{Place, TopicFilter, TopicLimits, TopicName};
use crate::wire::QoS;

/// Payload that a list has of each message, bytes.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Payload that one list has in all, bytes.
const PAYLOADS_BYTES_MAX: usize = 16 << 20;
/// Messages that one message to a shard deletes.
const DELETED_AT_ONCE_MAX: usize = 128;
/// How soon to ask again a shard whose ways to others are full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// A cursor that stands where a search begins has this for a place.
const BEGIN: u64 = u64::MAX;

/// What is retained for a filter.
pub(super) async fn list(
    State(room): State<Room>,
    Query(question): Query<RetainedQuestion>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (limit_of(question.limit)?, cursor_of(question.cursor.as_deref())?);
    let filter = filter_of(&room, question.filter.as_deref().unwrap_or("#"))?;
    let with_payload = question.payload.unwrap_or(false);
    let (mut search, mut skip) = match cursor {
        None | Some((BEGIN, 0)) => (Search::Begin, 0),
        Some((BEGIN, skip)) => (Search::Begin, skip as usize),
        Some((place, skip)) => (Search::From(Place::from_bits(place)), skip as usize),
    };
    let (mut items, mut payload_bytes) = (Vec::new(), 0);
    let walk = Walk::new(&room);
    while !walk.is_long() {
        let (now, page) = find(&walk, &filter, search).await?;
        let found = page.messages.len();
        for (index, message) in page.messages.iter().enumerate().skip(skip) {
            if items.len() >= limit || payload_bytes >= PAYLOADS_BYTES_MAX {
                let next = Some(cursor_text(bits_of(search), index as u32));
                return Ok(json_of(StatusCode::OK, &List { items, next }));
            }
            let item = retained_of(message, now, with_payload.then_some(PAYLOAD_BYTES_MAX));
            payload_bytes += item.payload_base64.as_ref().map_or(0, String::len);
            items.push(item);
        }
        skip = skip.saturating_sub(found);
        match page.next {
            None => return Ok(json_of(StatusCode::OK, &List { items, next: None })),
            Some(next) => search = next,
        }
    }
    let next = Some(cursor_text(bits_of(search), 0));
    Ok(json_of(StatusCode::OK, &List { items, next }))
}

fn bits_of(search: Search) -> u64 {
    match search {
        Search::Begin | Search::Done => BEGIN,
        Search::From(place) => place.to_bits(),
    }
}

/// What is retained of a topic.
pub(super) async fn one(State(room): State<Room>, Name(topic): Name, _: Query<Nothing>) -> Result<Response, Problem> {
    let limits = TopicLimits::from(&room.window.shown().limits);
    TopicName::new(&topic, limits).map_err(|error| Problem::bad(format!("topic {topic:?}: {error}")))?;
    let wanted = topic.clone();
    let look = move |look: &mut Look<'_>| {
        let now = look.now();
        Some((now, look.shard().0.retained_message(now, TopicName::trusted(&wanted))?))
    };
    let found = room.ask(ANY_SHARD, look).await?;
    let nothing = || Problem::new(StatusCode::NOT_FOUND, format!("nothing is retained of topic {topic:?}"));
    let (now, message) = found.ok_or_else(nothing)?;
    Ok(json_of(StatusCode::OK, &retained_of(&message, now, Some(usize::MAX))))
}

/// Deletes what is retained for a filter.
pub(super) async fn delete(
    State(room): State<Room>,
    _: Changing,
    Query(question): Query<DeleteQuestion>,
) -> Result<Response, Problem> {
    let filter = filter_of(&room, &question.filter)?;
    let (walk, mut search) = (Walk::new(&room), Some(Search::Begin));
    let mut deleted = 0;
    while let Some(from) = search {
        let (_, page) = find(&walk, &filter, from).await?;
        let topics: Vec<Box<str>> = page.messages.iter().map(|message| message.topic().into()).collect();
        for topics in topics.chunks(DELETED_AT_ONCE_MAX) {
            while !empty(&room, topics.to_vec()).await? {
                sleep(FULL_PAUSE).await;
            }
            deleted += topics.len() as u64;
        }
        search = page.next;
    }
    Ok(json_of(StatusCode::OK, &Deleted { deleted }))
}

/// Publishes nothing to these topics; false: there is no room for that now.
async fn empty(room: &Room, topics: Vec<Box<str>>) -> Result<bool, Problem> {
    let look = move |look: &mut Look<'_>| {
        let (shard, outbox) = look.shard();
        if !shard.takes_publishes(outbox) {
            return false;
        }
        topics.iter().for_each(|topic| look.handle(Input::Announce(message_of(topic, &[], QoS::AtMostOnce, true))));
        true
    };
    room.ask(ANY_SHARD, look).await
}

async fn find(walk: &Walk, filter: &str, search: Search) -> Result<(Millis, RetainedPage), Problem> {
    let filter = filter.to_owned();
    let look = move |look: &mut Look<'_>| {
        let now = look.now();
        (now, look.shard().0.retained_messages(now, TopicFilter::trusted(&filter), search))
    };
    walk.ask(ANY_SHARD, look).await
}

fn filter_of(room: &Room, text: &str) -> Result<String, Problem> {
    let limits = TopicLimits::from(&room.window.shown().limits);
    let filter = TopicFilter::new(text, limits).map_err(|error| Problem::bad(format!("filter {text:?}: {error}")))?;
    Ok(filter.as_str().to_owned())
}

fn retained_of(message: &Message, now: Millis, payload_max: Option<usize>) -> Retained {
    let view = message.view();
    Retained {
        topic: view.topic.to_owned(),
        qos: view.qos as u8,
        payload_bytes: view.payload.len() as u64,
        payload_base64: payload_max.map(|most| STANDARD.encode(&view.payload[..view.payload.len().min(most)])),
        expires_secs: view.expiry_secs_left(now).map(u64::from),
        published_by: message.source().map(|source| source.client_id.to_string()),
    }
}
