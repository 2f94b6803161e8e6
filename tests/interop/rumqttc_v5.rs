//! The MQTT 5.0 half of rumqttc as a station of the matrix.
//!
//! Duty: carry out each line with `rumqttc::v5::Client`. Must not: check anything. Neighbours: `station` says the words;
//! `rumqttc_v4` is the same for 3.1.1.
#![allow(clippy::result_large_err, reason = "the library's error is what it is")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, LastWill, LastWillProperties, Packet, Publish, PublishProperties, SubscribeProperties,
};
use rumqttc::v5::mqttbytes::{QoS, qos as qos_of};
use rumqttc::v5::{Client, ClientError, Connection, Event, MqttOptions};

use crate::station::{Answers, Station, Words, payload_of, text_of};

const PACKET_BYTES_MAX: u32 = 17 << 20;
const REQUESTS: usize = 10;

/// As in `rumqttc_v4`: what makes the event after which the connection is dropped.
const BREAK: &str = "break";

/// Messages whose acknowledgements are held back, if they are.
pub(crate) type Held<P> = Option<Arc<Mutex<Vec<P>>>>;

type Guests = Mutex<HashMap<String, (Client, Held<Publish>)>>;

/// Texts that must be 0, 1, 2... up to a number.
#[derive(Default)]
pub(crate) struct Counting {
    came: usize,
    count: usize,
}

impl Counting {
    /// As many as `count=` says.
    pub(crate) fn of(words: &Words<'_>) -> Self {
        Self { came: 0, count: words.number("count").unwrap_or(0) }
    }

    /// The answer to a message that is counted: nothing but for a wrong one and the last one.
    pub(crate) fn count(&mut self, payload: &[u8]) -> Option<String> {
        if self.came == self.count {
            return None;
        }
        if payload != self.came.to_string().as_bytes() {
            return Some(format!("error {} came as number {}", text_of(payload), self.came));
        }
        self.came += 1;
        Some(if self.came == self.count { "counted".to_owned() } else { String::new() })
    }
}

/// A station whose clients connect to `port`.
pub(crate) fn station(port: u16) -> Station {
    let answers = Arc::<Answers>::default();
    let (noted, guests) = (Arc::clone(&answers), Guests::default());
    Station { tell: Box::new(move |line| carry_out(port, &noted, &guests, line)), answers }
}

fn carry_out(port: u16, answers: &Arc<Answers>, guests: &Guests, line: &str) {
    let (verb, id, words) = Words::of(line);
    let mut guests = guests.lock().expect("nobody panics with the lock");
    if verb == "connect" {
        let (client, connection) = Client::new(options(port, id, &words), REQUESTS);
        let held = words.is_set("hold").then(|| Arc::new(Mutex::new(Vec::new())));
        guests.insert(id.to_owned(), (client, held.clone()));
        let (answers, id, counting) = (Arc::clone(answers), id.to_owned(), Counting::of(&words));
        std::thread::spawn(move || listen(connection, &answers, &id, held.as_deref(), counting));
        return;
    }
    let (client, held) = guests[id].clone();
    drop(guests);
    let done = match verb {
        "subscribe" => subscribe(&client, &words),
        "publish" => publish(&client, &words),
        "ack" => acknowledge(&client, held.as_deref()),
        "break" => client.unsubscribe(BREAK),
        _ => client.disconnect(),
    };
    if let Err(error) = done {
        answers.note(&format!("{id} error {error}"));
    }
}

fn options(port: u16, id: &str, words: &Words<'_>) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_clean_start(words.text("clean") != "0").set_manual_acks(words.is_set("hold"));
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(PACKET_BYTES_MAX);
    properties.session_expiry_interval = words.number("expiry");
    properties.receive_maximum = words.number("receive_max");
    properties.topic_alias_max = words.number("alias_max");
    options.set_connect_properties(properties);
    if !words.text("will").is_empty() {
        let properties = LastWillProperties {
            delay_interval: words.number("will_delay"),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let will = LastWill::new(words.text("will"), "gone", QoS::AtLeastOnce, false, Some(properties));
        options.set_last_will(will);
    }
    options
}

fn qos(words: &Words<'_>) -> QoS {
    qos_of(words.number("qos").unwrap_or(0)).expect("it is 0, 1 or 2")
}

fn subscribe(client: &Client, words: &Words<'_>) -> Result<(), ClientError> {
    let mut filter = Filter::new(words.text("filter"), qos(words));
    filter.nolocal = words.is_set("nl");
    filter.preserve_retain = words.is_set("rap");
    let Some(id) = words.number("sid") else { return client.subscribe_many([filter]) };
    let properties = SubscribeProperties { id: Some(id), user_properties: Vec::new() };
    client.subscribe_many_with_properties([filter], properties)
}

fn publish(client: &Client, words: &Words<'_>) -> Result<(), ClientError> {
    let repeat = words.number("repeat");
    for number in 0..repeat.unwrap_or(1) {
        let text = words.text("text");
        let text = if repeat.is_some() { format!("{text}{number}") } else { text.to_owned() };
        let properties = PublishProperties {
            message_expiry_interval: words.number("expiry"),
            topic_alias: words.number("alias"),
            user_properties: words.user_properties(),
            ..PublishProperties::default()
        };
        let is_known = properties.topic_alias.is_some() && number > 0;
        let topic = if is_known { "" } else { words.text("topic") };
        client.publish_with_properties(topic, qos(words), words.is_set("retain"), payload_of(&text), properties)?;
    }
    Ok(())
}

fn acknowledge(client: &Client, held: Option<&Mutex<Vec<Publish>>>) -> Result<(), ClientError> {
    let held = held.map(|held| std::mem::take(&mut *held.lock().expect("nobody panics with the lock")));
    held.unwrap_or_default().iter().try_for_each(|publish| client.ack(publish))
}

/// Answers until the connection ends; it is not taken up again.
fn listen(
    mut connection: Connection,
    answers: &Answers,
    id: &str,
    held: Option<&Mutex<Vec<Publish>>>,
    mut counting: Counting,
) {
    let mut aliases = HashMap::new();
    for event in connection.iter() {
        let answer = match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => "connected".to_owned(),
            Ok(Event::Incoming(Packet::SubAck(_))) => "subscribed".to_owned(),
            Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Event::Outgoing(Outgoing::Publish(0))) => {
                "published".to_owned()
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let answer = counting.count(&publish.payload).unwrap_or_else(|| message(&publish, &mut aliases));
                if let Some(held) = held {
                    held.lock().expect("nobody panics with the lock").push(publish);
                }
                answer
            }
            Ok(Event::Outgoing(Outgoing::Disconnect | Outgoing::Unsubscribe(_))) | Err(_) => break,
            Ok(_) => continue,
        };
        if !answer.is_empty() {
            answers.note(&format!("{id} {answer}"));
        }
    }
    drop(connection);
    answers.note(&format!("{id} ended"));
}

/// rumqttc hands on a topic alias as it came: to follow it is left to the application.
fn message(publish: &Publish, aliases: &mut HashMap<u16, String>) -> String {
    let found = publish.properties.clone().unwrap_or_default();
    let mut topic = String::from_utf8_lossy(&publish.topic).into_owned();
    if let Some(alias) = found.topic_alias {
        if topic.is_empty() {
            topic = aliases.get(&alias).cloned().unwrap_or_default();
        }
        aliases.insert(alias, topic.clone());
    }
    let user: Vec<String> = found.user_properties.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let ids: Vec<String> = found.subscription_identifiers.iter().map(ToString::to_string).collect();
    let text_of_option = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    format!(
        "message qos={} retain={} alias={} sid={} expiry={} topic={topic} text={} user={}",
        publish.qos as u8,
        u8::from(publish.retain),
        text_of_option(found.topic_alias.map(u32::from)),
        ids.join(","),
        text_of_option(found.message_expiry_interval),
        text_of(&publish.payload),
        user.join(" "),
    )
}
