//! Change: clients disconnected, messages published.
//!
//! Duty: check what is wanted, tell the shard that can do it. Must not: do anything without `Changing`. Neighbours: `asked` has what lets
//! one in; `shard` acts.

use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answer::{EndQuestion, Publication};
use super::api::Room;
use super::asked::{Changing, Name, Nothing, Query, Said};
use super::clients::no_session;
use super::problem::Problem;
use super::topics::ANY_SHARD;
use crate::message::{Message, MessageView};
use crate::runtime::Look;
use crate::shard::Input;
use crate::topic::{TopicLimits, TopicName};
use crate::wire::QoS;

/// Ends the connection of a client, and its session if that is wanted.
pub(super) async fn kick(
    State(room): State<Room>,
    _: Changing,
    Name(client_id): Name,
    Query(question): Query<EndQuestion>,
) -> Result<StatusCode, Problem> {
    let ends_session = match question.session.as_deref() {
        None | Some("keep") => false,
        Some("end") => true,
        Some(_) => return Err(Problem::bad("session: keep or end is wanted")),
    };
    let wanted: Box<str> = client_id.as_str().into();
    let look = move |look: &mut Look<'_>| {
        let is_connected = look.shard().0.is_connected(&wanted)?;
        if is_connected || ends_session {
            look.handle(Input::Kick { client_id: wanted, ends_session });
        }
        Some(is_connected)
    };
    match room.ask(room.window.shard_of(&client_id), look).await? {
        None => Err(no_session(&client_id)),
        Some(false) if !ends_session => {
            let detail = format!("client {client_id:?} is not connected; session=end would end its session");
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Some(_) => Ok(StatusCode::NO_CONTENT),
    }
}

/// Publishes a message in the broker's own name.
pub(super) async fn publish(
    State(room): State<Room>,
    _: Changing,
    _: Query<Nothing>,
    Said(publication): Said<Publication>,
) -> Result<StatusCode, Problem> {
    let Publication { topic, payload, payload_base64, qos, retain } = publication;
    let shown = room.window.shown();
    TopicName::new(&topic, TopicLimits::from(&shown.limits))
        .map_err(|error| Problem::bad(format!("topic {topic:?}: {error}")))?;
    if topic == "$SYS" || topic.starts_with("$SYS/") {
        return Err(Problem::bad("topic: $SYS is what the broker says of itself"));
    }
    let payload = match (payload, payload_base64) {
        (Some(_), Some(_)) => return Err(Problem::bad("payload, payload_base64: one of them is wanted")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| Problem::bad(format!("payload_base64: {error}")))?
        }
        (None, None) => Vec::new(),
    };
    if shown.config.offer.payload_bytes_max.is_some_and(|most| payload.len() > most as usize) {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the payload is larger than message_size_limit allows",
        ));
    }
    let qos = QoS::from_bits(qos).ok_or_else(|| Problem::bad("qos: 0, 1 or 2 is wanted"))?;
    if retain && !shown.config.offer.retains {
        return Err(Problem::bad("retain: the broker retains nothing (retain_available)"));
    }
    let look = move |look: &mut Look<'_>| look.handle(Input::Announce(message_of(&topic, &payload, qos, retain)));
    room.ask(ANY_SHARD, look).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A message of the broker's own.
pub(super) fn message_of(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Message {
    Message::new(&MessageView {
        topic,
        properties: &[],
        payload,
        shared_payload: None,
        qos,
        retain,
        expires_at: None,
        publisher: None,
    })
}
