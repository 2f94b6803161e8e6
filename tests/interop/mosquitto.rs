//! The Mosquitto clients as a station of the matrix.
//!
//! Duty: carry out each line with a `mosquitto_sub` or `mosquitto_pub` of its own. Must not: check anything. Neighbours:
//! `station` says the words; `client` runs other tests with the same programs.
//!
//! A client that subscribes is one process: `connect` alone only notes the options, and a client that had subscribed
//! subscribes again when it connects again.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::rumqttc_v5::Counting;
use crate::station::{Answers, Station, Words, payload_of, text_of};

const SIGNAL_TIMEOUT: Duration = Duration::from_millis(500);
const FORMAT: &str = "MSG qos=%q retain=%r alias=%A sid=%S expiry=%E topic=%t text=%p user=%P";

#[derive(Default)]
struct Guest {
    options: Vec<String>,
    subscription: Vec<String>,
    version: String,
    /// As many messages as are counted instead of shown.
    counting: Counting,
    process: Option<Child>,
}

struct Mosquitto {
    port: u16,
    answers: Arc<Answers>,
    guests: Mutex<HashMap<String, Guest>>,
}

/// A station whose clients connect to `port`.
pub(crate) fn station(port: u16) -> Station {
    let answers = Arc::<Answers>::default();
    let mosquitto = Mosquitto { port, answers: Arc::clone(&answers), guests: Mutex::default() };
    Station { tell: Box::new(move |line| mosquitto.carry_out(line)), answers }
}

impl Guest {
    fn has_will(&self) -> bool {
        self.options.iter().any(|option| option == "--will-topic")
    }
}

impl Mosquitto {
    fn carry_out(&self, line: &str) {
        let (verb, id, words) = Words::of(line);
        let mut guests = self.guests.lock().expect("nobody panics with the lock");
        let guest = guests.entry(id.to_owned()).or_default();
        match verb {
            "connect" => self.connect(id, guest, &words),
            "subscribe" => {
                guest.subscription = subscription(&words);
                self.start(id, guest, "subscribed");
            }
            "disconnect" if guest.has_will() => self.end_by_message(guest),
            "disconnect" => self.end(id, guest, "-TERM"),
            "break" => self.end(id, guest, "-KILL"),
            "publish" => {
                let command = publishing(self.port, guest, &words);
                drop(guests);
                self.publish(id, command, &words);
            }
            _ => {}
        }
    }

    fn connect(&self, id: &str, guest: &mut Guest, words: &Words<'_>) {
        guest.version = words.text("version").to_owned();
        guest.options = connecting(words);
        guest.counting = Counting::of(words);
        if guest.subscription.is_empty() {
            self.answers.note(&format!("{id} connected"));
        } else {
            self.start(id, guest, "connected");
        }
    }

    fn start(&self, id: &str, guest: &mut Guest, answer: &str) {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-F", FORMAT, "-h", "127.0.0.1", "-i", id]);
        command
            .args(["-p", &self.port.to_string(), "-V", version(guest)])
            .args(&guest.options)
            .args(&guest.subscription);
        if guest.has_will() {
            command.args(["-C", "1"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("`scripts/test setup` installs mosquitto_sub");
        let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let (answers, id, answer) = (Arc::clone(&self.answers), id.to_owned(), answer.to_owned());
        let mut counting = std::mem::take(&mut guest.counting);
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if let Some(message) = line.strip_prefix("MSG ") {
                    let message = shortened(message);
                    let text = message.split_once(" text=").and_then(|(_, rest)| rest.rsplit_once(" user="));
                    match counting.count(text.map_or(&[], |(text, _)| text.as_bytes())) {
                        None => answers.note(&format!("{id} message {message}")),
                        Some(nothing) if nothing.is_empty() => {}
                        Some(answer) => answers.note(&format!("{id} {answer}")),
                    }
                } else if line.contains("received SUBACK") {
                    answers.note(&format!("{id} {answer}"));
                }
            }
            answers.note(&format!("{id} ended"));
        });
        guest.process = Some(process);
    }

    fn end(&self, id: &str, guest: &mut Guest, signal: &str) {
        let Some(mut process) = guest.process.take() else { return self.answers.note(&format!("{id} ended")) };
        let _ = Command::new("kill").args([signal, &process.id().to_string()]).status();
        // A signal that meets mosquitto_sub while it writes its log locks it up for ever.
        let deadline = Instant::now() + SIGNAL_TIMEOUT;
        while process.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = process.kill();
        let _ = process.wait();
    }

    /// In 5.0 a signal makes mosquitto_sub ask for its will; after the message that it was to wait for it just disconnects.
    fn end_by_message(&self, guest: &mut Guest) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-n", "-t", &guest.subscription[1]]);
        let _ = command.status();
        let _ = guest.process.take().map(|mut process| process.wait());
    }

    fn publish(&self, id: &str, mut command: Command, words: &Words<'_>) {
        let repeat = words.number("repeat");
        let input = match repeat {
            Some(repeat) => (0..repeat).map(|number: usize| format!("{}{number}\n", words.text("text"))).collect(),
            None => String::from_utf8(payload_of(words.text("text"))).expect("payloads are letters"),
        };
        let mut process = command.stdin(Stdio::piped()).spawn().expect("`scripts/test setup` installs mosquitto_pub");
        let mut stdin = process.stdin.take().expect("stdin is piped");
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let is_good = process.wait().is_ok_and(|status| status.success()) && written.is_ok();
        let answer = if is_good { "published" } else { "error mosquitto_pub failed" };
        (0..repeat.unwrap_or(1)).for_each(|_| self.answers.note(&format!("{id} {answer}")));
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let guests = self.guests.get_mut().expect("nobody panics with the lock");
        for process in guests.values_mut().filter_map(|guest| guest.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn version(guest: &Guest) -> &'static str {
    if guest.version == "5" { "mqttv5" } else { "mqttv311" }
}

fn texts<const N: usize>(words: [&str; N]) -> impl Iterator<Item = String> {
    words.map(ToOwned::to_owned).into_iter()
}

fn connecting(words: &Words<'_>) -> Vec<String> {
    let mut options = Vec::new();
    if words.text("clean") == "0" {
        options.push("-c".to_owned());
    }
    let is_v5 = words.text("version") == "5";
    if is_v5 && !words.text("expiry").is_empty() {
        options.extend(texts(["-x", words.text("expiry")]));
    }
    if !words.text("will").is_empty() {
        options.extend(texts(["--will-topic", words.text("will"), "--will-payload", "gone", "--will-qos", "1"]));
    }
    let delay = ("will", "will_delay", "will-delay-interval");
    let alias = ("connect", "alias_max", "topic-alias-maximum");
    let receive = ("connect", "receive_max", "receive-maximum");
    for (packet, key, property) in [delay, alias, receive] {
        if is_v5 && !words.text(key).is_empty() {
            options.extend(texts(["-D", packet, property, words.text(key)]));
        }
    }
    options
}

fn subscription(words: &Words<'_>) -> Vec<String> {
    let mut options: Vec<String> = texts(["-t", words.text("filter"), "-q", words.text("qos")]).collect();
    if words.is_set("rap") {
        options.push("--retain-as-published".to_owned());
    }
    if !words.text("sid").is_empty() {
        options.extend(texts(["-D", "subscribe", "subscription-identifier", words.text("sid")]));
    }
    options
}

fn publishing(port: u16, guest: &Guest, words: &Words<'_>) -> Command {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version(guest)]);
    command.args(["-t", words.text("topic"), "-q", words.text("qos")]);
    command.arg(match (words.text("repeat"), words.text("text")) {
        ("", "") => "-n",
        ("", _) => "-s",
        _ => "-l",
    });
    if words.is_set("retain") {
        command.arg("-r");
    }
    for (key, property) in [("expiry", "message-expiry-interval"), ("alias", "topic-alias")] {
        if !words.text(key).is_empty() {
            command.args(["-D", "publish", property, words.text(key)]);
        }
    }
    for (name, value) in words.user_properties() {
        command.args(["-D", "publish", "user-property", &name, &value]);
    }
    command
}

/// A message line in which a made payload is replaced by the text that stands for it.
fn shortened(message: &str) -> String {
    let Some((head, rest)) = message.split_once(" text=") else { return message.to_owned() };
    let (payload, user) = rest.rsplit_once(" user=").unwrap_or((rest, ""));
    format!("{head} text={} user={user}", text_of(payload.as_bytes()))
}
