//! The Mosquitto clients as child processes.
//!
//! Duty: run `mosquitto_pub` and `mosquitto_sub`, wait for what they print, end them. Must not: outlive a test, or wait
//! without end. Neighbours: `broker` is what they connect to; the tests say what they must print.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::broker::Broker;

const TIMEOUT: Duration = Duration::from_secs(20);
const LINES_SHOWN: usize = 60;
const COLUMNS_SHOWN: usize = 200;

/// What a message line begins with, to tell it from the client's own log.
const MESSAGE: &str = "MSG ";

/// The protocols as the clients name them.
pub(crate) const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// A child process and the lines that it has printed on stdout and stderr.
pub(crate) struct Client {
    process: Child,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    command: String,
}

impl Client {
    /// Starts `command`, with `input` on its stdin.
    pub(crate) fn start(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| {
            panic!("{:?} did not start: {error}; `scripts/test setup` installs what is missing", command.get_program())
        });
        let lines = Arc::default();
        collect(process.stdout.take().expect("stdout is piped"), &lines);
        collect(process.stderr.take().expect("stderr is piped"), &lines);
        let (mut stdin, input) = (process.stdin.take().expect("stdin is piped"), input.to_owned());
        std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        Self { process, lines, command: format!("{command:?}") }
    }

    /// Waits until `pick` finds what it wants in the lines, and returns it.
    pub(crate) fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(&[String]) -> Option<T>) -> T {
        let (lines, changed) = &*self.lines;
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = lines.lock().expect("no reader panics");
        loop {
            if let Some(found) = pick(&lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("{} did not show {what}; it printed:\n{}", self.command, self.shown());
            }
            lines = changed.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for_line(&self, text: &str) {
        self.wait_for(text, |lines| lines.iter().any(|line| line.contains(text)).then_some(()));
    }

    /// Waits until the process ends by itself; returns whether it ended well.
    pub(crate) fn wait_for_end(&mut self) -> bool {
        self.wait_for_end_within(TIMEOUT)
    }

    /// Like `wait_for_end`, with a time limit of its own.
    pub(crate) fn wait_for_end_within(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "{} did not end; it printed:\n{}", self.command, self.shown());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the process as `kill -9` does: its connection breaks off.
    pub(crate) fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks the process to end, so that it disconnects in order, and waits for that.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()), "kill -TERM failed");
        self.wait_for_end();
    }

    /// The messages that came so far, once there are `count`.
    fn messages(&self, count: usize) -> Vec<String> {
        self.wait_for(&format!("{count} messages"), |lines| {
            let messages = || lines.iter().filter_map(|line| line.strip_prefix(MESSAGE));
            (messages().count() >= count).then(|| messages().map(ToOwned::to_owned).collect())
        })
    }

    /// Waits for as many messages as are expected and compares all that came, in order.
    pub(crate) fn expect<T: AsRef<str>>(&self, expected: &[T]) {
        let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        assert_same(&self.command, &self.messages(expected.len()), &expected);
    }

    /// Like `expect`, whatever the order.
    pub(crate) fn expect_in_any_order<T: AsRef<str>>(&self, expected: &[T]) {
        let mut expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        let mut found = self.messages(expected.len());
        expected.sort_unstable();
        found.sort_unstable();
        assert_same(&self.command, &found, &expected);
    }

    /// The messages that came up to one that ends with `last`, which is left out.
    pub(crate) fn messages_until(&self, last: &str) -> Vec<String> {
        self.wait_for(last, |lines| {
            let messages: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(MESSAGE)).collect();
            let end = messages.iter().position(|message| message.ends_with(last))?;
            Some(messages[..end].iter().map(|message| (*message).to_owned()).collect())
        })
    }

    /// The end of what it printed, long lines cut.
    pub(crate) fn shown(&self) -> String {
        let lines = self.lines.0.lock().expect("no reader panics");
        let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
        last.iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n")
    }

    /// All that it printed.
    pub(crate) fn printed(&self) -> String {
        self.lines.0.lock().expect("no reader panics").join("\n")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cut(line: &str) -> String {
    line.chars().take(COLUMNS_SHOWN).collect()
}

fn assert_same(command: &str, found: &[String], expected: &[&str]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let at = differs.unwrap_or(found.len().min(expected.len()));
    if differs.is_some() || found.len() != expected.len() {
        let shown = |lines: Vec<String>| {
            lines.iter().skip(at.saturating_sub(1)).take(4).map(|line| cut(line)).collect::<Vec<_>>()
        };
        let expected_shown = shown(expected.iter().map(|line| (*line).to_owned()).collect());
        panic!(
            "{command}\n{} messages, {} expected; they differ from number {at} on:\nfound    {:?}\nexpected {expected_shown:?}",
            found.len(),
            expected.len(),
            shown(found.to_vec()),
        );
    }
}

fn collect(output: impl Read + Send + 'static, lines: &Arc<(Mutex<Vec<String>>, Condvar)>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            lines.0.lock().expect("no reader panics").push(String::from_utf8_lossy(&line).into_owned());
            lines.1.notify_all();
        }
    });
}

/// The client, with line-buffered output also into a pipe: `stdbuf` becomes the program that it is given.
fn command(program: &str, broker: &Broker, arguments: &[&str]) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    assert!(is_there, "{program} is missing: run `scripts/test setup`");
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command.args(["-p", &broker.port.to_string()]).args(arguments);
    if !arguments.contains(&"-h") {
        command.args(["-h", "127.0.0.1"]);
    }
    command
}

/// Starts `mosquitto_sub` and waits for its SUBACK. Messages are printed as `QOS RETAIN TOPIC PAYLOAD`.
pub(crate) fn subscribe(broker: &Broker, arguments: &[&str]) -> Client {
    subscribe_printing(broker, "%q %r %t %p", arguments)
}

/// Starts `mosquitto_sub` and waits for its SUBACK; `format` says what is printed of each message.
pub(crate) fn subscribe_printing(broker: &Broker, format: &str, arguments: &[&str]) -> Client {
    let mut command = command("mosquitto_sub", broker, arguments);
    command.args(["-d", "-F", &format!("{MESSAGE}{format}")]);
    let client = Client::start(command, "");
    client.wait_for_line("received SUBACK");
    client
}

/// Subscribes and leaves at once; with a persistent session the subscription stays.
pub(crate) fn subscribe_and_leave(broker: &Broker, arguments: &[&str]) {
    let mut client = Client::start(command("mosquitto_sub", broker, &[arguments, &["-E"]].concat()), "");
    assert!(client.wait_for_end(), "mosquitto_sub failed:\n{}", client.shown());
}

/// Runs `mosquitto_pub` to its end: for QoS 1 and 2 that is when the broker has acknowledged.
pub(crate) fn publish(broker: &Broker, arguments: &[&str]) {
    publish_lines(broker, arguments, "");
}

/// Runs `mosquitto_pub -l`, which publishes each line of `input`.
pub(crate) fn publish_lines(broker: &Broker, arguments: &[&str], input: &str) {
    let mut client = Client::start(command("mosquitto_pub", broker, arguments), input);
    let is_good = client.wait_for_end_within(TIMEOUT * 2);
    assert!(is_good, "mosquitto_pub {arguments:?} failed:\n{}", client.shown());
}
