//! The MQTT 3.1.1 half of rumqttc as a station of the matrix.
//!
//! Duty: carry out each line with `rumqttc::Client`. Must not: check anything. Neighbours: `station` says the words;
//! `rumqttc_v5` is the same for 5.0, with types of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS};

use crate::rumqttc_v5::{Counting, Held};
use crate::station::{Answers, Station, Words, payload_of, text_of};

const PACKET_BYTES_MAX: usize = 17 << 20;
const REQUESTS: usize = 10;

/// The event loop can only be dropped between two events: an UNSUBSCRIBE of this makes one.
const BREAK: &str = "break";

type Guests = Mutex<HashMap<String, (Client, Held<Publish>)>>;

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
        "subscribe" => client.subscribe(words.text("filter"), qos(&words)),
        "publish" => {
            client.publish(words.text("topic"), qos(&words), words.is_set("retain"), payload_of(words.text("text")))
        }
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
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX).set_clean_session(words.text("clean") != "0");
    options.set_manual_acks(words.is_set("hold"));
    if !words.text("will").is_empty() {
        options.set_last_will(LastWill::new(words.text("will"), "gone", QoS::AtLeastOnce, false));
    }
    options
}

fn qos(words: &Words<'_>) -> QoS {
    rumqttc::qos(words.number("qos").unwrap_or(0)).expect("it is 0, 1 or 2")
}

fn acknowledge(client: &Client, held: Option<&Mutex<Vec<Publish>>>) -> Result<(), rumqttc::ClientError> {
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
    for event in connection.iter() {
        let answer = match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => "connected".to_owned(),
            Ok(Event::Incoming(Packet::SubAck(_))) => "subscribed".to_owned(),
            Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Event::Outgoing(Outgoing::Publish(0))) => {
                "published".to_owned()
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let answer = counting.count(&publish.payload).unwrap_or_else(|| message(&publish));
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

fn message(publish: &Publish) -> String {
    let (qos, retain, text) = (publish.qos as u8, u8::from(publish.retain), text_of(&publish.payload));
    format!("message qos={qos} retain={retain} topic={} text={text} user=", publish.topic)
}
