//! Clients: who is there, what waits for each.
//!
//! Duty: lists of all shards, one client, its queue; each shard is asked a bounded piece at a time. Must not: change anything. Neighbours:
//! `shard::look` knows; `answer` has the words; `sampler` has what talkers have sent before.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{
    Client, ClientDetail, ClientsQuestion, Items, List, QueueQuestion, Queued, SubscriptionLine, Will,
};
use super::api::Room;
use super::asked::{Name, Nothing, Query, cursor_of, cursor_text, limit_of};
use super::pace::Walk;
use super::problem::{Problem, json_of};
use super::sampler::Span;
use crate::id::{ConnectionId, Millis, ShardId};
use crate::runtime::{LineState, Look, Shown};
use crate::session::Pressure;
use crate::shard::{self, ClientChoice, ClientState};
use crate::wire::ProtocolVersion;

/// Clients that one message to a shard describes, at most: it makes a text for each.
const DESCRIBED_MAX: usize = 32;
/// Connections that one message to a shard looks at.
const CONNECTIONS_MAX: u32 = 256;

/// Bytes that each connection of each shard has received.
pub(super) type Talk = Vec<HashMap<ConnectionId, u64>>;

/// What a shard has said of a client.
struct Seen {
    shard: ShardId,
    now: Millis,
    state: ClientState,
    line: Option<LineState>,
}

/// A list of clients.
pub(super) async fn list(
    State(room): State<Room>,
    Query(question): Query<ClientsQuestion>,
) -> Result<Response, Problem> {
    let limit = limit_of(question.limit)?;
    let filter = question.filter.as_deref().unwrap_or_default();
    let order = question.order.as_deref().unwrap_or("none");
    let is_ordered = order != "none";
    if is_ordered && (question.cursor.is_some() || !filter.is_empty() || question.connected.is_some()) {
        return Err(Problem::bad("order: a list in this order has no cursor and no filter"));
    }
    let (seen, next) = match order {
        "none" => page(&room, &question, filter, limit).await?,
        "slowest" => (slowest(&room, limit).await?, None),
        "talkers" => (talkers(&room, limit).await?, None),
        _ => return Err(Problem::bad("order: none, slowest or talkers is wanted")),
    };
    let (shown, talk) = (room.window.shown(), room.samples.talk.known().await);
    let items = seen.into_iter().map(|seen| client_of(seen, &shown, talk.as_ref())).collect();
    Ok(json_of(StatusCode::OK, &List { items, next }))
}

/// A piece of the list of all.
async fn page(
    room: &Room,
    question: &ClientsQuestion,
    filter: &str,
    limit: usize,
) -> Result<(Vec<Seen>, Option<String>), Problem> {
    let cursor = cursor_of(question.cursor.as_deref())?;
    let (first, mut slot) = cursor.map_or((0, 0), |(shard, slot)| (shard, slot));
    let shards = room.window.shards() as u64;
    let mut seen = Vec::new();
    let walk = Walk::new(room);
    // Addresses are texts only here: the shards describe everybody then.
    let (part, of_address) = if is_of_address(filter) { ("", Some(filter)) } else { (filter, None) };
    let choice = ClientChoice { part: part.into(), is_connected: question.connected };
    let mut takes_few = of_address.is_none();
    for shard in first..shards {
        loop {
            if seen.len() >= limit || walk.is_long() {
                return Ok((seen, Some(cursor_text(shard, slot))));
            }
            let left = limit - seen.len();
            let most = if takes_few { DESCRIBED_MAX.min(left) } else { DESCRIBED_MAX };
            let (choice, id) = (choice.clone(), ShardId(shard as u16));
            let look = move |look: &mut Look<'_>| {
                let (shard, outbox) = look.shard();
                let page = shard.clients(slot, &choice, most, outbox);
                (see(look, id, page.clients), page.next)
            };
            let (found, next) = walk.ask(id, look).await?;
            let found: Vec<_> = found.into_iter().filter(|seen| of_address.is_none_or(|part| seen.has(part))).collect();
            if found.len() > left {
                // Where to go on is known only behind a piece: a smaller one then, in which no more can be.
                takes_few = true;
                continue;
            }
            seen.extend(found);
            takes_few = of_address.is_none();
            let Some(next) = next else { break };
            slot = next;
        }
        slot = 0;
    }
    Ok((seen, None))
}

/// Whether a text may be part of an address, so that those have to be looked at too.
fn is_of_address(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || ".:[]".contains(letter);
    let tells = |letter: char| letter.is_ascii_digit() || ".:".contains(letter);
    text.chars().all(is_part) && text.contains(tells)
}

impl Seen {
    /// Whether client id, user name or address have a part.
    fn has(&self, part: &str) -> bool {
        self.state.client_id.contains(part)
            || self.state.user.as_deref().is_some_and(|user| user.contains(part))
            || self.line.as_ref().is_some_and(|line| line.peer.to_string().contains(part))
    }
}

fn see(look: &mut Look<'_>, shard: ShardId, clients: Vec<ClientState>) -> Vec<Seen> {
    let now = look.now();
    let seen = clients.into_iter().map(|state| {
        let line = state.connection.and_then(|id| look.line(id));
        Seen { shard, now, state, line }
    });
    seen.collect()
}

/// Those that keep the most waiting.
async fn slowest(room: &Room, limit: usize) -> Result<Vec<Seen>, Problem> {
    let found = Walk::through_all(room, |walk, id| slowest_of(walk, id, limit)).await?;
    let mut worst = found.into_iter().flatten().collect();
    keep_worst(&mut worst, limit);
    Ok(worst)
}

async fn slowest_of(walk: Walk, shard: ShardId, limit: usize) -> Result<Vec<Seen>, Problem> {
    let mut worst = Vec::new();
    let mut from = Some(0);
    while let Some(slot) = from {
        let look = move |look: &mut Look<'_>| {
            let (room, outbox) = look.shard();
            let page = room.slowest_clients(slot, limit.min(DESCRIBED_MAX), outbox);
            (see(look, shard, page.clients), page.next)
        };
        let (found, next) = walk.ask(shard, look).await?;
        worst.extend(found);
        keep_worst(&mut worst, limit);
        from = next;
    }
    Ok(worst)
}

fn keep_worst(seen: &mut Vec<Seen>, limit: usize) {
    seen.sort_by_key(|seen| std::cmp::Reverse(seen.state.arrears()));
    seen.truncate(limit);
}

/// Those that have sent the most in the last seconds.
async fn talkers(room: &Room, limit: usize) -> Result<Vec<Seen>, Problem> {
    let talk = room.samples.talk.recent(|| talk_of(room.clone())).await.ok_or_else(Problem::gone)?;
    let mut loudest: Vec<(u64, ShardId, ConnectionId)> = Vec::new();
    for (index, after) in talk.after().iter().enumerate() {
        let shard = ShardId(index as u16);
        loudest.extend(after.keys().map(|id| (said(&talk, shard, *id), shard, *id)).filter(|(bytes, ..)| *bytes > 0));
        loudest.sort_unstable_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        loudest.truncate(limit);
    }
    let (walk, mut seen) = (Walk::new(room), Vec::new());
    for id in room.shards() {
        let connections: Vec<_> = loudest.iter().filter(|(_, of, _)| *of == id).map(|(.., id)| *id).collect();
        for connections in connections.chunks(DESCRIBED_MAX) {
            let connections = connections.to_vec();
            let look = move |look: &mut Look<'_>| {
                let (shard, outbox) = look.shard();
                let clients = connections.iter().filter_map(|id| shard.client_of(*id, outbox)).collect();
                see(look, id, clients)
            };
            seen.extend(walk.ask(id, look).await?);
        }
    }
    seen.sort_by_key(|seen| std::cmp::Reverse(seen.state.connection.map(|id| said(&talk, seen.shard, id))));
    Ok(seen)
}

/// Bytes that a connection has sent between two looks.
fn said(talk: &Span<Talk>, shard: ShardId, id: ConnectionId) -> u64 {
    let bytes = |talk: &Talk| talk.get(shard.index()).and_then(|shard| shard.get(&id).copied());
    bytes(talk.after()).unwrap_or(0).saturating_sub(bytes(talk.before()).unwrap_or(0))
}

/// What all connections have sent so far.
async fn talk_of(room: Room) -> Option<Talk> {
    Walk::through_all(&room, talk_of_shard).await.ok()
}

async fn talk_of_shard(walk: Walk, shard: ShardId) -> Result<HashMap<ConnectionId, u64>, Problem> {
    let mut talk = HashMap::new();
    let mut from = Some(0);
    while let Some(slot) = from {
        let look = move |look: &mut Look<'_>| look.talkers(slot, CONNECTIONS_MAX as usize, CONNECTIONS_MAX);
        let (found, next) = walk.ask(shard, look).await?;
        talk.extend(found);
        from = next;
    }
    Ok(talk)
}

/// One client.
pub(super) async fn one(
    State(room): State<Room>,
    Name(client_id): Name,
    _: Query<Nothing>,
) -> Result<Response, Problem> {
    let (shard, wanted) = (room.window.shard_of(&client_id), client_id.clone());
    let look = move |look: &mut Look<'_>| {
        let now = look.now();
        let (shard, outbox) = look.shard();
        let detail = shard.client(&wanted, outbox)?;
        let line = detail.state.connection.and_then(|id| look.line(id));
        Some((now, detail, line))
    };
    let (now, detail, line) = room.ask(shard, look).await?.ok_or_else(|| no_session(&client_id))?;
    let shard::ClientDetail { state, subscriptions, will } = detail;
    let (shown, talk) = (room.window.shown(), room.samples.talk.known().await);
    let queue_bytes = state.queue_bytes as u64;
    let client = client_of(Seen { shard, now, state, line }, &shown, talk.as_ref());
    let line_of =
        |(filter, options, subscription_id): (Box<str>, crate::wire::SubscriptionOptions, _)| SubscriptionLine {
            filter: filter.into(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling as u8,
            subscription_id,
        };
    let will = will.map(|will| Will {
        topic: will.topic.into(),
        qos: will.qos as u8,
        retain: will.retain,
        payload_bytes: will.payload_bytes as u64,
        delay_secs: will.delay_secs,
    });
    let subscription_list = subscriptions.into_iter().map(line_of).collect();
    let detail = ClientDetail { client, subscription_list, will, queue_bytes };
    Ok(json_of(StatusCode::OK, &detail))
}

/// What waits for a client.
pub(super) async fn queue(
    State(room): State<Room>,
    Name(client_id): Name,
    Query(question): Query<QueueQuestion>,
) -> Result<Response, Problem> {
    let (limit, wanted) = (limit_of(question.limit)?, client_id.clone());
    let look = move |look: &mut Look<'_>| look.shard().0.waiting_messages(&wanted, limit);
    let found = room.ask(room.window.shard_of(&client_id), look).await?;
    let messages = found.ok_or_else(|| no_session(&client_id))?;
    let items = messages.into_iter().map(|message| Queued {
        topic: message.topic.into(),
        qos: message.qos as u8,
        retain: message.retain,
        payload_bytes: message.payload_bytes as u64,
        state: if message.is_in_flight { "inflight" } else { "queued" }.into(),
    });
    Ok(json_of(StatusCode::OK, &Items { items: items.collect() }))
}

pub(super) fn no_session(client_id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no session of client id {client_id:?}"))
}

fn client_of(Seen { shard, now, state, line }: Seen, shown: &Shown, talk: Option<&Span<Talk>>) -> Client {
    let slow_because = slow_because(now, &state);
    let idle_secs_max = shown.limits.idle_secs_max;
    // One and a half times the keep alive is allowed.
    let keep_alive = |millis: u64| if millis == idle_secs_max.saturating_mul(1000) { 0 } else { millis * 2 / 3000 };
    let since = |at: Millis| now.0.saturating_sub(at.0);
    let rate = state.connection.zip(talk).map(|(id, talk)| talk.per_sec(0, said(talk, shard, id)));
    Client {
        client_id: state.client_id.into(),
        user: state.user.map(Into::into),
        shard: u32::from(shard.0),
        connected: state.connection.is_some(),
        address: line.as_ref().map(|line| line.peer.to_string()),
        listener_port: shown.ports.get(usize::from(state.listener)).copied().flatten(),
        protocol: state.version.map(|version| version_name(version).into()),
        keep_alive_secs: state.version.map(|_| state.silence_millis_max.map_or(0, keep_alive)),
        connected_secs: line.as_ref().map(|line| since(line.accepted_at) / 1000),
        idle_ms: state.heard_at.map(since),
        subscriptions: state.subscriptions as u64,
        queued_messages: state.queued as u64,
        inflight_messages: state.in_flight as u64,
        owed_acks: state.owed_acks as u64,
        backlog_bytes: state.backlog_bytes as u64,
        held_bytes: state.held_bytes as u64,
        messages_received: line.as_ref().map(|line| u64::from(line.messages_received)),
        bytes_received: line.as_ref().map(|line| line.bytes_received),
        bytes_sent: line.as_ref().map(|line| line.bytes_sent),
        bytes_received_per_sec: rate,
        pressure: pressure_name(state.pressure).into(),
        session_expiry_secs: state.expiry_secs,
        session_ends_secs: state.ends_at.map(|at| at.0.saturating_sub(now.0) / 1000),
        slow_because,
    }
}

fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

fn pressure_name(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::None => "none",
        Pressure::Congested => "congested",
        Pressure::Stuck => "stuck",
    }
}

/// Why messages wait for a client, if they do.
fn slow_because(now: Millis, state: &ClientState) -> Option<String> {
    let ClientState { queued, in_flight, window, backlog_bytes, .. } = *state;
    if state.connection.is_none() {
        return (queued > 0).then(|| format!("it is away: {queued} messages wait until it comes back"));
    }
    let stuck = match state.pressure {
        Pressure::None => "",
        Pressure::Congested => "; its publishers are slowed down",
        Pressure::Stuck => "; its publishers have waited too long and go on",
    };
    if backlog_bytes > 0 && (queued > 0 || state.pressure != Pressure::None || backlog_bytes > BACKLOG_BYTES) {
        return Some(format!("it does not read what it is sent: {backlog_bytes} bytes wait for its socket{stuck}"));
    }
    if in_flight >= window && window > 0 && queued > 0 {
        return Some(format!("it does not acknowledge: {in_flight} messages are on their way, no more may be{stuck}"));
    }
    if state.is_parked {
        let owed = state.owed_acks;
        return Some(format!("it is not read on: {owed} acknowledgements that it is owed wait for others"));
    }
    let silent_millis = state.heard_at.map_or(0, |at| now.0.saturating_sub(at.0));
    if in_flight > 0 && silent_millis >= SILENT_MILLIS {
        let secs = silent_millis / 1000;
        return Some(format!(
            "it acknowledges nothing for {secs} seconds: {in_flight} messages are on their way{stuck}"
        ));
    }
    (queued > 0).then(|| format!("{queued} messages wait{stuck}"))
}

/// A client that is sent messages and is silent for so long is slow.
const SILENT_MILLIS: u64 = 2000;
/// Bytes on their way to a socket that say nothing.
const BACKLOG_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_part_of_an_address_is_looked_for_there() {
        for address in ["127.0.0.1", "127", "[::1]:5", "fe80::1", "a.b"] {
            assert!(is_of_address(address), "{address}");
        }
        for other in ["", "beef", "sensor-1", "10.0.0.x", "a b"] {
            assert!(!is_of_address(other), "{other}");
        }
    }
}
