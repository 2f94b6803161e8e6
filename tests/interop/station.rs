//! A client library that carries out lines: what all libraries have in common for the matrix.
//!
//! Duty: say `VERB ID key=value...` to a library's station and wait for what it answers about that client. Must not: know a
//! library, or check anything itself. Neighbours: `features` speaks through it; `mosquitto`, `rumqttc_v4`, `rumqttc_v5`,
//! `paho_station.py` and `mqttjs_station.mjs` are the stations.
//!
//! Verbs: `connect version= clean= expiry= will= will_delay= receive_max= alias_max= hold= count=`, `subscribe filter= qos=
//! nl= rap= sid=`, `publish topic= text= qos= retain= expiry= alias= user=k:v,k:w repeat=`, `ack` (of all that `hold=1` held
//! back), `disconnect`, `break` (the connection ends without DISCONNECT). A text `*N` stands for a payload of N bytes.
//!
//! Answers, the client's id in front: `connected`, `subscribed`, `published` (once per message, when it is acknowledged),
//! `ended`, `counted` (as many messages as `count=` asked for came, their texts being 0, 1, 2...), `error WHY`, and
//! `message qos= retain= alias= sid= expiry= topic= text= user=` with what follows the last key up to the end.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(120);
const COLUMNS_SHOWN: usize = 300;

/// What the clients of one station have answered and nobody has waited for yet.
#[derive(Default)]
pub(crate) struct Answers {
    by_client: Mutex<HashMap<String, Vec<String>>>,
    changed: Condvar,
}

impl Answers {
    /// Notes an answer: the client's id, then what happened.
    pub(crate) fn note(&self, answer: &str) {
        let (id, what) = answer.split_once(' ').unwrap_or((answer, "error: half a line"));
        let mut by_client = self.by_client.lock().expect("nobody panics with the lock");
        by_client.entry(id.to_owned()).or_default().push(what.to_owned());
        self.changed.notify_all();
    }

    /// Waits until `pick` takes something out of what a client has answered.
    fn take<T>(&self, id: &str, what: &str, mut pick: impl FnMut(&mut Vec<String>) -> Option<T>) -> T {
        let deadline = Instant::now() + TIMEOUT;
        let mut by_client = self.by_client.lock().expect("nobody panics with the lock");
        loop {
            let answers = by_client.entry(id.to_owned()).or_default();
            let error = answers.iter().find(|answer| answer.starts_with("error")).cloned();
            let taken = if error.is_none() { pick(answers) } else { None };
            if let Some(found) = taken {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if error.is_some() || left.is_zero() {
                let shown: String = format!("{answers:?}").chars().take(COLUMNS_SHOWN).collect();
                drop(by_client);
                panic!("{id} waits for {what} in vain: {}{shown}", error.unwrap_or_default());
            }
            by_client = self.changed.wait_timeout(by_client, left).expect("nobody panics with the lock").0;
        }
    }
}

/// A library at work.
pub(crate) struct Station {
    /// Carries out a line.
    pub(crate) tell: Box<dyn Fn(&str) + Send + Sync>,
    /// What came of it.
    pub(crate) answers: Arc<Answers>,
}

/// The values of a line by their keys; the verb and the id are left out.
pub(crate) struct Words<'a>(HashMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    /// The verb, the client's id and the rest of a line.
    pub(crate) fn of(line: &'a str) -> (&'a str, &'a str, Self) {
        let mut words = line.split(' ');
        let (verb, id) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        (verb, id, Self(words.filter_map(|word| word.split_once('=')).collect()))
    }

    /// The value of a key, empty when the line does not have it.
    pub(crate) fn text(&self, key: &str) -> &'a str {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// The number of a key that the line has.
    pub(crate) fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.0.get(key).and_then(|text| text.parse().ok())
    }

    /// Whether a key is 1.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.text(key) == "1"
    }

    /// The pairs of `user=`.
    pub(crate) fn user_properties(&self) -> Vec<(String, String)> {
        let pairs = self.text("user").split(',').filter_map(|pair| pair.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The payload that a text stands for.
pub(crate) fn payload_of(text: &str) -> Vec<u8> {
    let length = text.strip_prefix('*').and_then(|length| length.parse::<usize>().ok());
    length.map_or_else(|| text.as_bytes().to_vec(), |length| (0..length).map(letter).collect())
}

/// The text that stands for a payload.
pub(crate) fn text_of(payload: &[u8]) -> String {
    let is_made = payload.len() >= 1000 && payload.iter().enumerate().all(|(at, byte)| *byte == letter(at));
    if is_made { format!("*{}", payload.len()) } else { String::from_utf8_lossy(payload).chars().take(1000).collect() }
}

fn letter(at: usize) -> u8 {
    b'a' + u8::try_from(at * 31 % 251 % 26).expect("it is below 26")
}

/// A message as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) text: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) alias: Option<u16>,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) user: String,
}

impl Message {
    fn of(answer: &str) -> Self {
        let (head, user) = answer.split_once(" user=").expect("a message ends with its user properties");
        let padded = format!("x {head}");
        let (_, _, words) = Words::of(&padded);
        Self {
            topic: words.text("topic").to_owned(),
            text: words.text("text").to_owned(),
            qos: words.number("qos").expect("a message has a QoS"),
            retain: words.is_set("retain"),
            alias: words.number("alias"),
            subscription_id: words.number("sid"),
            expiry_secs: words.number("expiry"),
            user: user.to_owned(),
        }
    }
}

/// One client of a station.
pub(crate) struct Guest<'a> {
    station: &'a Station,
    id: String,
}

impl<'a> Guest<'a> {
    /// Connects and waits for CONNACK.
    pub(crate) fn connect(station: &'a Station, id: &str, options: &str) -> Self {
        let guest = Self { station, id: id.to_owned() };
        guest.say("connect", options, "connected");
        guest
    }

    fn say(&self, verb: &str, options: &str, answer: &str) {
        (self.station.tell)(&format!("{verb} {} {options}", self.id));
        self.wait_for(answer);
    }

    /// Waits for an answer of one word.
    pub(crate) fn wait_for(&self, answer: &str) {
        self.station.answers.take(&self.id, answer, |answers| {
            let at = answers.iter().position(|found| found == answer)?;
            Some(answers.remove(at))
        });
    }

    /// Subscribes and waits for SUBACK.
    pub(crate) fn subscribe(&self, filter: &str, options: &str) {
        self.say("subscribe", &format!("filter={filter} {options}"), "subscribed");
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) fn publish(&self, topic: &str, text: &str, options: &str) {
        self.say("publish", &format!("topic={topic} text={text} {options}"), "published");
    }

    /// Sends the acknowledgements that were held back.
    pub(crate) fn acknowledge(&self) {
        (self.station.tell)(&format!("ack {}", self.id));
    }

    /// Ends the connection by DISCONNECT.
    pub(crate) fn disconnect(self) {
        self.say("disconnect", "", "ended");
    }

    /// Ends the connection without DISCONNECT.
    pub(crate) fn break_off(self) {
        self.say("break", "", "ended");
    }

    /// Waits for as many messages and takes them.
    pub(crate) fn take(&self, count: usize) -> Vec<Message> {
        let is_message = |answer: &String| answer.starts_with("message ");
        let taken = self.station.answers.take(&self.id, &format!("{count} messages"), |answers| {
            if answers.iter().filter(|answer| is_message(answer)).count() < count {
                return None;
            }
            let (mut taken, kept): (Vec<_>, Vec<_>) = answers.drain(..).partition(is_message);
            *answers = kept;
            answers.extend(taken.drain(count..));
            Some(taken)
        });
        taken.iter().map(|answer| Message::of(answer)).collect()
    }

    /// Takes as many messages as there are texts, and compares them.
    pub(crate) fn expect(&self, texts: &[&str]) -> Vec<Message> {
        let messages = self.take(texts.len());
        assert_eq!(
            messages.iter().map(|message| &message.text[..]).collect::<Vec<_>>(),
            texts,
            "texts for {}",
            self.id
        );
        messages
    }
}
