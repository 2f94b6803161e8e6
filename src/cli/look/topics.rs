//! Topics: `ringmq topics`, `ringmq topic` and `ringmq retained`.
//!
//! Duty: what is published, who gets it, what is retained. Must not: delete without being told twice. Neighbours: `top` shows the same
//! table of topics; `trace` shows payloads the same way.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::Wanted;
use super::broker::{Broker, Listed, Raw, path_of, print, query};
use super::paint::{Mood, Paint};
use super::table::{Cell, Table};
use super::units::{bytes, count, plural, rate, secs};
use crate::admin::answer::{
    Audience, DeleteQuestion, Deleted, Retained, RetainedQuestion, TopicRate, TopicRates, TopicsQuestion,
};
use crate::runtime::Failure;

/// Messages that are counted before they are deleted.
const COUNTED_MAX: usize = 1000;

/// What `ringmq topics` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Topics {
    /// List so many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// What `ringmq topic` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct OneTopic {
    /// Topic name
    topic: String,
}

/// What `ringmq retained` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct RetainedOrder {
    /// Topic filter
    #[arg(default_value = "#")]
    filter: String,

    /// Show payloads, 64 KiB of each at most
    #[arg(long, conflicts_with = "delete")]
    payload: bool,

    /// Delete what is retained there
    #[arg(long, requires = "filter")]
    delete: bool,

    /// Do so; without this, `--delete` says what it would do
    #[arg(long, requires = "delete")]
    yes: bool,

    #[command(flatten)]
    wanted: Wanted,
}

pub(super) fn list(broker: &Broker, topics: &Topics) -> Result<(), Failure> {
    let got = broker.get::<TopicRates>(&format!("topics?{}", query(&TopicsQuestion { limit: Some(topics.limit) })?))?;
    if broker.prints_json {
        return print(&got.text).map(drop);
    }
    if got.it.items.is_empty() {
        return print("nothing is published\n").map(drop);
    }
    print(&topics_table(&got.it.items).text(Paint::of_output())).map(drop)
}

/// Topics, a row each.
pub(super) fn topics_table(topics: &[TopicRate]) -> Table {
    let mut table = Table::new(&["TOPIC", ">MESSAGES/S", ">MESSAGES"]);
    for topic in topics {
        table.push([
            Cell::foreign(&topic.topic),
            Cell::of(rate(topic.messages_per_sec)),
            Cell::of(count(topic.messages)),
        ]);
    }
    table
}

pub(super) fn one(broker: &Broker, one: &OneTopic) -> Result<(), Failure> {
    let path = format!("{}/audience", path_of("topics", &one.topic));
    if broker.prints_json {
        return print(&broker.get::<Raw>(&path)?.text).map(drop);
    }
    let audience = broker.get::<Audience>(&path)?.it;
    let retained = if audience.retained {
        let question =
            RetainedQuestion { filter: Some(one.topic.clone()), payload: Some(true), ..RetainedQuestion::default() };
        let listed = broker.list("retained", 1, |limit, cursor| RetainedQuestion {
            limit: Some(limit),
            cursor,
            ..question.clone()
        })?;
        listed.items.into_iter().next()
    } else {
        None
    };
    print(&audience_text(&audience, retained.as_ref(), Paint::of_output())).map(drop)
}

fn audience_text(audience: &Audience, retained: Option<&Retained>, paint: Paint) -> String {
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, text: String| table.push([Cell::of(name).mood(Mood::Head), Cell::foreign(&text)]);
    row("topic", audience.topic.clone());
    row("published", format!("{} as far as remembered", plural(audience.published, "message")));
    row("receivers", plural(audience.clients_total, "client"));
    row("retained", retained.map_or_else(|| "nothing".into(), retained_text));
    let mut text = table.text(paint);
    if !audience.clients.is_empty() {
        let mut table = Table::new(&["CLIENT", ">SHARD", "STATE", ">QOS", "BY"]);
        for client in &audience.clients {
            let state = if client.connected { Cell::of("connected") } else { Cell::of("away").mood(Mood::Faint) };
            let filters = Cell::foreign(&client.filters.join(", "));
            let (shard, qos) = (Cell::of(client.shard.to_string()), Cell::of(client.qos.to_string()));
            table.push([Cell::foreign(&client.client_id), shard, state, qos, filters]);
        }
        text += &format!("\n{}", table.text(paint));
    }
    if !audience.shared.is_empty() {
        let mut table = Table::new(&["SHARED BY", "FILTER", ">MEMBERS"]);
        for group in &audience.shared {
            table.push([Cell::foreign(&group.group), Cell::foreign(&group.filter), Cell::of(count(group.members))]);
        }
        text += &format!("\n{}", table.text(paint));
    }
    text
}

fn retained_text(retained: &Retained) -> String {
    let expires = retained.expires_secs.map_or_else(String::new, |left| format!(", ends in {}", secs(left)));
    let shown =
        retained.payload_base64.as_deref().map_or_else(String::new, |payload| format!(": {}", payload_text(payload)));
    format!("QoS {}, {}{expires}{shown}", retained.qos, bytes(retained.payload_bytes))
}

/// A payload as a person can read it.
pub(super) fn payload_text(base64: &str) -> String {
    match STANDARD.decode(base64).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        // What is no text stays as it came.
        _ => format!("base64 {base64}"),
    }
}

pub(super) fn retained(broker: &Broker, order: &RetainedOrder) -> Result<(), Failure> {
    if order.delete {
        return delete(broker, order);
    }
    let listed: Listed<Retained> = found(broker, order, order.wanted.most())?;
    if broker.prints_json {
        return print(&listed.document()?).map(drop);
    }
    if listed.items.is_empty() {
        return print("nothing is retained there\n").map(drop);
    }
    let heads: &[&str] = &["TOPIC", ">QOS", ">BYTES", ">ENDS IN", "PUBLISHED BY", "PAYLOAD"];
    let mut table = Table::new(if order.payload { heads } else { &heads[..heads.len() - 1] });
    for message in &listed.items {
        let mut row = vec![
            Cell::foreign(&message.topic),
            Cell::of(message.qos.to_string()),
            Cell::of(count(message.payload_bytes)),
            message.expires_secs.map_or_else(|| Cell::maybe(None), |left| Cell::of(secs(left))),
            Cell::maybe(message.published_by.as_deref()),
        ];
        row.extend(message.payload_base64.as_deref().map(|payload| Cell::foreign(&payload_text(payload))));
        table.push(row);
    }
    let more = if listed.goes_on() { "there are more: --all, or --limit N\n" } else { "" };
    print(&(table.text(Paint::of_output()) + more)).map(drop)
}

fn found(broker: &Broker, order: &RetainedOrder, most: usize) -> Result<Listed<Retained>, Failure> {
    broker.list("retained", most, |limit, cursor| RetainedQuestion {
        filter: Some(order.filter.clone()),
        limit: Some(limit),
        cursor,
        payload: Some(order.payload),
    })
}

fn delete(broker: &Broker, order: &RetainedOrder) -> Result<(), Failure> {
    if !order.yes {
        let listed = found(broker, order, COUNTED_MAX)?;
        let or_more = if listed.goes_on() { " or more" } else { "" };
        let number = listed.items.len();
        return Err(Failure::usage(format!(
            "{number}{or_more} retained messages would be deleted; --yes deletes them"
        )));
    }
    let path = format!("retained?{}", query(&DeleteQuestion { filter: order.filter.clone() })?);
    let answered = broker.change(Method::DELETE, &path, None::<&()>)?;
    if broker.prints_json {
        return print(&answered.text()).map(drop);
    }
    print(&format!("{} deleted\n", plural(answered.read::<Deleted>()?.deleted, "message"))).map(drop)
}
