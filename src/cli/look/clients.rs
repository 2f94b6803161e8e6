//! Clients: `ringmq clients` and `ringmq client`.
//!
//! Duty: who is there, and all that is known of one. Must not: rank: the broker does. Neighbours: `top` shows the same table.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Wanted;
use super::broker::{Broker, Listed, Raw, document, path_of, print, query};
use super::paint::{Mood, Paint};
use super::table::{Cell, Table};
use super::units::{bytes, count, millis, plural, rate, secs};
use crate::admin::answer::{Client, ClientDetail, ClientsQuestion, Items, QueueQuestion, Queued, Will};
use crate::runtime::Failure;

/// Session Expiry Interval that means never.
const NEVER_SECS: u32 = u32::MAX;

/// What `ringmq clients` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Clients {
    /// Only those with this in their client id, user name or address
    part: Option<String>,

    /// Only those that are connected
    #[arg(long, conflicts_with = "away")]
    connected: bool,

    /// Only those that are not connected
    #[arg(long)]
    away: bool,

    /// First those that keep the most waiting, with the reason; or those that send the most
    #[arg(long, value_name = "ORDER", conflicts_with_all = ["part", "connected", "away", "all"])]
    order: Option<Order>,

    #[command(flatten)]
    wanted: Wanted,
}

/// Who comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    Slowest,
    Talkers,
}

impl Order {
    fn word(self) -> String {
        match self {
            Self::Slowest => "slowest".into(),
            Self::Talkers => "talkers".into(),
        }
    }
}

/// What `ringmq client --json` prints.
#[derive(Serialize)]
struct Whole {
    client: Raw,
    queue: Vec<Raw>,
}

/// What `ringmq client` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct OneClient {
    /// Client id
    client_id: String,

    /// Show so many of the messages that wait for it
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    queue: u32,
}

pub(super) fn list(broker: &Broker, clients: &Clients) -> Result<(), Failure> {
    let connected = (clients.connected || clients.away).then_some(clients.connected);
    let listed: Listed<Client> = match clients.order {
        Some(order) => first(broker, order, clients.wanted.most())?,
        None => broker.list("clients", clients.wanted.most(), |limit, cursor| ClientsQuestion {
            filter: clients.part.clone(),
            connected,
            limit: Some(limit),
            cursor,
            ..ClientsQuestion::default()
        })?,
    };
    if broker.prints_json {
        return print(&listed.document()?).map(drop);
    }
    let table = match clients.order {
        Some(order) => ranking(order, &listed.items),
        None => clients_table(&listed.items),
    };
    let mut text = table.text(Paint::of_output());
    if listed.items.is_empty() {
        text = "no clients\n".into();
    } else if listed.goes_on() {
        text += "there are more: --all, or --limit N\n";
    }
    print(&text).map(drop)
}

/// The first clients of an order.
pub(super) fn first(broker: &Broker, order: Order, most: usize) -> Result<Listed<Client>, Failure> {
    broker.list("clients", most, |limit, _| ClientsQuestion {
        order: Some(order.word()),
        limit: Some(limit),
        ..ClientsQuestion::default()
    })
}

/// Clients, a row each.
fn clients_table(clients: &[Client]) -> Table {
    let mut table = Table::new(&[
        "CLIENT",
        "USER",
        "ADDRESS",
        ">SHARD",
        "STATE",
        ">IDLE",
        ">SUBS",
        ">QUEUED",
        ">INFLIGHT",
        ">UNREAD",
        ">MESSAGES",
    ]);
    for client in clients {
        let dash = || Cell::maybe(None);
        table.push([
            Cell::foreign(&client.client_id),
            Cell::maybe(client.user.as_deref()),
            Cell::maybe(client.address.as_deref()),
            Cell::of(client.shard.to_string()),
            state_cell(client),
            client.idle_ms.map_or_else(dash, |idle| Cell::of(millis(idle))),
            Cell::of(count(client.subscriptions)),
            Cell::of(count(client.queued_messages)),
            Cell::of(count(client.inflight_messages)),
            Cell::of(bytes(client.backlog_bytes)),
            client.messages_received.map_or_else(dash, |messages| Cell::of(count(messages))),
        ]);
    }
    table
}

/// Clients in an order, with what they are in it for.
pub(super) fn ranking(order: Order, clients: &[Client]) -> Table {
    match order {
        Order::Slowest => {
            let mut table =
                Table::new(&["CLIENT", ">SHARD", "STATE", ">QUEUED", ">INFLIGHT", ">UNREAD", "SLOW BECAUSE"]);
            for client in clients {
                table.push([
                    Cell::foreign(&client.client_id),
                    Cell::of(client.shard.to_string()),
                    state_cell(client),
                    Cell::of(count(client.queued_messages)),
                    Cell::of(count(client.inflight_messages)),
                    Cell::of(bytes(client.backlog_bytes)),
                    Cell::maybe(client.slow_because.as_deref()),
                ]);
            }
            table
        }
        Order::Talkers => {
            let mut table = Table::new(&["CLIENT", ">SHARD", ">BYTES/S", ">BYTES", ">MESSAGES", "USER", "ADDRESS"]);
            for client in clients {
                let now = client.bytes_received_per_sec.unwrap_or(0.0).round() as u64;
                table.push([
                    Cell::foreign(&client.client_id),
                    Cell::of(client.shard.to_string()),
                    Cell::of(bytes(now)),
                    Cell::of(bytes(client.bytes_received.unwrap_or(0))),
                    Cell::of(count(client.messages_received.unwrap_or(0))),
                    Cell::maybe(client.user.as_deref()),
                    Cell::maybe(client.address.as_deref()),
                ]);
            }
            table
        }
    }
}

fn state_cell(client: &Client) -> Cell {
    let mood = if client.connected { pressure_mood(&client.pressure) } else { Mood::Faint };
    Cell::of(state_of(client)).mood(mood)
}

fn state_of(client: &Client) -> &str {
    match &*client.pressure {
        _ if !client.connected => "away",
        "none" => "connected",
        pressure => pressure,
    }
}

fn pressure_mood(pressure: &str) -> Mood {
    match pressure {
        "none" => Mood::Plain,
        "congested" => Mood::Warning,
        _ => Mood::Bad,
    }
}

pub(super) fn one(broker: &Broker, one: &OneClient) -> Result<(), Failure> {
    let path = path_of("clients", &one.client_id);
    let question = query(&QueueQuestion { limit: Some(one.queue) })?;
    if broker.prints_json {
        let client = broker.get::<Raw>(&path)?.it;
        let queue = broker.get::<Items<Raw>>(&format!("{path}/queue?{question}"))?.it.items;
        return print(&document(&Whole { client, queue })?).map(drop);
    }
    let detail = broker.get::<ClientDetail>(&path)?.it;
    let queue = broker.get::<Items<Queued>>(&format!("{path}/queue?{question}"))?.it.items;
    let paint = Paint::of_output();
    let mut text = detail_text(&detail, paint);
    if !detail.subscription_list.is_empty() {
        text += &format!("\n{}", subscriptions_table(&detail).text(paint));
    }
    if !queue.is_empty() {
        text += &format!("\n{}", queue_table(&queue).text(paint));
        let waiting = detail.client.queued_messages + detail.client.inflight_messages;
        if waiting > queue.len() as u64 {
            text += &format!("and {} more (--queue N)\n", count(waiting - queue.len() as u64));
        }
    }
    print(&text).map(drop)
}

fn detail_text(detail: &ClientDetail, paint: Paint) -> String {
    let client = &detail.client;
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, text: String| table.push([Cell::of(name).mood(Mood::Head), Cell::foreign(&text)]);
    row("client", client.client_id.clone());
    row("user", client.user.clone().unwrap_or_else(|| "none".into()));
    row("state", connection_text(client));
    if let Some(why) = &client.slow_because {
        row("slow because", why.clone());
    }
    row("session", session_text(client));
    row("received", traffic_text(client));
    row("waiting", waiting_text(detail));
    row("will", detail.will.as_ref().map_or_else(|| "none".into(), will_text));
    table.text(paint)
}

fn connection_text(client: &Client) -> String {
    if !client.connected {
        let ends =
            client.session_ends_secs.map_or_else(String::new, |left| format!(", its session ends in {}", secs(left)));
        return format!("away{ends}");
    }
    let version = client.protocol.as_deref().unwrap_or("?");
    let port = client.listener_port.map_or_else(String::new, |port| format!(" by port {port}"));
    let mut text =
        format!("{}, MQTT {version} from {}{port}", state_of(client), client.address.as_deref().unwrap_or("?"));
    if let Some(since) = client.connected_secs {
        text += &format!(" for {}", secs(since));
    }
    if let Some(idle) = client.idle_ms {
        text += &format!(", heard of {} ago", millis(idle));
    }
    match client.keep_alive_secs {
        None | Some(0) => text + ", no keep alive",
        Some(keep_alive) => format!("{text}, keep alive {}", secs(keep_alive)),
    }
}

fn session_text(client: &Client) -> String {
    let expiry = match client.session_expiry_secs {
        0 => "ends with its connection".into(),
        NEVER_SECS => "never ends".into(),
        expiry => format!("ends {} after its connection", secs(u64::from(expiry))),
    };
    format!("on shard {}, {expiry}, {}", client.shard, plural(client.subscriptions, "subscription"))
}

fn traffic_text(client: &Client) -> String {
    let Some(messages) = client.messages_received else { return "-".into() };
    let [received, sent] = [client.bytes_received, client.bytes_sent].map(|number| bytes(number.unwrap_or(0)));
    let now = client.bytes_received_per_sec.map_or_else(String::new, |now| format!("; {} B/s now", rate(now)));
    format!("{}, {received}; sent {sent}{now}", plural(messages, "message"))
}

fn waiting_text(detail: &ClientDetail) -> String {
    let client = &detail.client;
    let (queued, queue_bytes) = (count(client.queued_messages), bytes(detail.queue_bytes));
    let (inflight, owed) = (count(client.inflight_messages), count(client.owed_acks));
    let (backlog, held) = (bytes(client.backlog_bytes), bytes(client.held_bytes));
    format!(
        "{queued} queued ({queue_bytes}), {inflight} not acknowledged, {backlog} not read, {owed} acknowledgements owed; {held} held"
    )
}

fn will_text(will: &Will) -> String {
    let retain = if will.retain { ", retained" } else { "" };
    format!(
        "{}, QoS {}{retain}, {}, after {}",
        will.topic,
        will.qos,
        bytes(will.payload_bytes),
        secs(u64::from(will.delay_secs))
    )
}

fn subscriptions_table(detail: &ClientDetail) -> Table {
    let mut table = Table::new(&["SUBSCRIPTION", ">QOS", "OPTIONS"]);
    for line in &detail.subscription_list {
        let id = line.subscription_id.map(|id| format!("id {id}"));
        let options = [
            line.no_local.then(|| "no local".to_owned()),
            line.retain_as_published.then(|| "retain as published".to_owned()),
            ["", "retained if new", "nothing retained"]
                .get(usize::from(line.retain_handling))
                .map(|text| (*text).to_owned()),
            id,
        ];
        let options: Vec<_> = options.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        table.push([Cell::foreign(&line.filter), Cell::of(line.qos.to_string()), Cell::of(options.join(", "))]);
    }
    table
}

fn queue_table(queue: &[Queued]) -> Table {
    let mut table = Table::new(&["WAITING", ">QOS", ">PAYLOAD", "STATE"]);
    for message in queue {
        table.push([
            Cell::foreign(&message.topic),
            Cell::of(message.qos.to_string()),
            Cell::of(bytes(message.payload_bytes)),
            Cell::of(if message.state == "inflight" { "not acknowledged" } else { "queued" }),
        ]);
    }
    table
}
