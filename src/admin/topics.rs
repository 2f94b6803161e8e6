//! Topics: where much is published, and who gets it.
//!
//! Duty: merge what each shard says. Must not: change anything. Neighbours: `shard::look` knows; `sampler` has what was published before.

use std::cmp::Reverse;
use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{Audience, Group, Receiver, TopicRate, TopicRates, TopicsQuestion};
use super::api::Room;
use super::asked::{LIMIT_MAX, Name, Nothing, Query, limit_of};
use super::pace::Walk;
use super::problem::{Problem, json_of};
use crate::id::ShardId;
use crate::runtime::Look;
use crate::topic::{SubscriptionFilter, TopicFilter, TopicLimits, TopicName};

/// Clients of an audience whose filters are looked up: each is a question of its own.
const FILTERS_OF_CLIENTS_MAX: usize = 50;

/// Messages published by topic.
pub(super) type Published = HashMap<Box<str>, u64>;

/// The hottest topics.
pub(super) async fn list(
    State(room): State<Room>,
    Query(question): Query<TopicsQuestion>,
) -> Result<Response, Problem> {
    let limit = limit_of(question.limit)?;
    let span = room.samples.topics.recent(|| published(room.clone())).await.ok_or_else(Problem::gone)?;
    // Who was not among the first then had no more than the last of them.
    let is_cut = span.before().len() >= LIMIT_MAX as usize;
    let least = span.before().values().copied().min().filter(|_| is_cut).unwrap_or(0);
    let rates = span.after().iter().map(|(topic, messages)| {
        let before = span.before().get(topic).copied().unwrap_or(least);
        TopicRate { topic: topic.to_string(), messages: *messages, messages_per_sec: span.per_sec(before, *messages) }
    });
    let mut items: Vec<_> = rates.collect();
    items.sort_by(|a, b| {
        let hotter = b.messages_per_sec.total_cmp(&a.messages_per_sec).then(b.messages.cmp(&a.messages));
        hotter.then_with(|| a.topic.cmp(&b.topic))
    });
    items.truncate(limit);
    let seconds = (span.secs() * 1000.0).round() / 1000.0;
    Ok(json_of(StatusCode::OK, &TopicRates { items, seconds }))
}

/// Of each shard those with the most, not more than a list has.
async fn published(room: Room) -> Option<Published> {
    let mut published = Published::new();
    for topics in Walk::through_all(&room, published_in).await.ok()? {
        topics.into_iter().for_each(|(topic, messages)| *published.entry(topic).or_default() += messages);
    }
    Some(published)
}

async fn published_in(walk: Walk, shard: ShardId) -> Result<Vec<(Box<str>, u64)>, Problem> {
    let mut hottest = Vec::new();
    let mut from = Some(0);
    while let Some(row) = from {
        let page = walk.ask(shard, move |look: &mut Look<'_>| look.shard().0.published_topics(row)).await?;
        hottest.extend(page.topics);
        hottest.sort_unstable_by_key(|(_, messages)| Reverse(*messages));
        hottest.truncate(LIMIT_MAX as usize);
        from = page.next;
    }
    Ok(hottest)
}

/// Who gets what is published to a topic now.
pub(super) async fn audience(
    State(room): State<Room>,
    Name(topic): Name,
    _: Query<Nothing>,
) -> Result<Response, Problem> {
    let limits = TopicLimits::from(&room.window.shown().limits);
    TopicName::new(&topic, limits).map_err(|error| Problem::bad(format!("topic {topic:?}: {error}")))?;
    let mut answer = Audience {
        topic: topic.clone(),
        clients: Vec::new(),
        shared: Vec::new(),
        clients_total: 0,
        retained: false,
        published: 0,
    };
    for shard in room.shards() {
        let wanted = topic.clone();
        let look = move |look: &mut Look<'_>| look.shard().0.audience(TopicName::trusted(&wanted));
        let found = room.ask(shard, look).await?;
        if found.is_too_wide {
            let detail = "nobody gets it: the filters that may match are more than match_nodes_max";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        answer.clients_total += found.clients_in_all as u64;
        answer.retained |= found.is_retained;
        answer.published += found.published;
        answer.clients.extend(found.clients.into_iter().map(|(client_id, connected, qos)| Receiver {
            client_id: client_id.into(),
            shard: u32::from(shard.0),
            connected,
            qos: qos as u8,
            filters: Vec::new(),
        }));
        found.groups.into_iter().for_each(|(name, members)| add_group(&mut answer.shared, &name, members as u64));
    }
    for receiver in answer.clients.iter_mut().take(FILTERS_OF_CLIENTS_MAX) {
        receiver.filters = filters_of(&room, &receiver.client_id, &topic).await?;
    }
    Ok(json_of(StatusCode::OK, &answer))
}

/// Every shard that has members knows the group.
fn add_group(groups: &mut Vec<Group>, name: &str, members: u64) {
    let subscription = SubscriptionFilter::trusted(name);
    let group = subscription.group().unwrap_or_default();
    let filter = subscription.filter().as_str();
    match groups.iter_mut().find(|known| known.group == group && known.filter == filter) {
        Some(known) => known.members = known.members.max(members),
        None => groups.push(Group { group: group.into(), filter: filter.into(), members }),
    }
}

/// The filters of a client that match, of its first thousand.
async fn filters_of(room: &Room, client_id: &str, topic: &str) -> Result<Vec<String>, Problem> {
    let (wanted, topic): (Box<str>, Box<str>) = (client_id.into(), topic.into());
    let look = move |look: &mut Look<'_>| {
        let (shard, outbox) = look.shard();
        let topic = TopicName::trusted(&topic);
        let subscriptions = shard.client(&wanted, outbox).map_or_else(Vec::new, |detail| detail.subscriptions);
        let filters = subscriptions.into_iter().map(|(filter, ..)| filter.into_string());
        filters.filter(|filter| !filter.starts_with("$share/") && TopicFilter::trusted(filter).matches(topic)).collect()
    };
    room.ask(room.window.shard_of(client_id), look).await
}

/// The shard that has whatever all shards have.
pub(super) const ANY_SHARD: ShardId = ShardId(0);
