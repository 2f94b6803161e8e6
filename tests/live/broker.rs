//! The real binary under test, on loopback: started on a free port, looked at from outside, ended whatever happens.
//!
//! Duty: process, port, log, signals, memory. Must not: speak MQTT. Neighbours: `client` does; `hostile`
//! and `dashboard` include both by path.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmq::shard::owner_of;

/// For everything that must happen at some time.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
const HASH_SEED: u64 = 1;

/// A broker on a free port, stopped when dropped.
pub(crate) struct Broker {
    pub(crate) process: Child,
    pub(crate) port: u16,
    pub(crate) shards: usize,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// A broker with these limits, `name=value`, whose clients may cause faults.
    pub(crate) fn start(shards: usize, settings: &[&str]) -> Self {
        Self::start_after("", shards, settings)
    }

    /// The same with other options, too.
    pub(crate) fn start_with(options: &[String], shards: usize, settings: &[&str]) -> Self {
        Self::start_as("", options, shards, settings)
    }

    /// The same from a shell that has done `preparation` first.
    pub(crate) fn start_after(preparation: &str, shards: usize, settings: &[&str]) -> Self {
        Self::start_as(preparation, &[], shards, settings)
    }

    fn start_as(preparation: &str, options: &[String], shards: usize, settings: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{preparation}\nexec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_ringmq")]);
        command.args(["-p", "0", "--bind", "127.0.0.1", "--shards", &shards.to_string()]);
        command.args(["--hash-seed", &HASH_SEED.to_string()]);
        command.args(options);
        // Clients of these tests send a hundred messages before they look for answers; the default is Mosquitto's twenty.
        command.args(["--set", "receive_maximum=1024"]);
        // What is counted is what the clients do.
        command.args(["--sys-interval", "0"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.env("RINGMQ_FAULTS", "1");
        Self::of_command(command, shards)
    }

    /// A broker that is told by these arguments alone; its first line names a port of 127.0.0.1.
    pub(crate) fn of_arguments(arguments: &[&str], shards: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(arguments).args(["--shards", &shards.to_string(), "--hash-seed", &HASH_SEED.to_string()]);
        Self::of_command(command, shards)
    }

    /// A broker that this command becomes.
    pub(crate) fn of_command(mut command: Command, shards: usize) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        // What the store held is told before.
        let first = lines.by_ref().map(Result::unwrap).find(|line| !line.starts_with("store: ")).unwrap();
        let address = first.split([' ', ',', ';']).find_map(|word| word.strip_prefix("127.0.0.1:"));
        let port = address.unwrap_or_else(|| panic!("{first}")).parse().unwrap();
        let log = Arc::new(Mutex::new(vec![first]));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        Self { process, port, shards, log }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port of its listener that speaks this (`mqtts://`).
    pub(crate) fn port_of(&self, scheme: &str) -> u16 {
        let first = self.log.lock().unwrap()[0].clone();
        let place = first.split([' ', ',', ';']).find_map(|word| word.strip_prefix(scheme));
        place.and_then(|place| place.rsplit_once(':')?.1.parse().ok()).unwrap_or_else(|| panic!("{first}"))
    }

    /// A client id that lives on this shard.
    pub(crate) fn client_id(&self, name: &str, shard: usize) -> String {
        let ids = (0..).map(|number| format!("{name}-{number}"));
        ids.into_iter().find(|id| usize::from(owner_of(id, HASH_SEED, self.shards).0) == shard).unwrap()
    }

    /// The first line of the log that contains all of these words, as soon as it is there.
    pub(crate) fn line_with(&self, words: &[&str]) -> String {
        let until = Instant::now() + TIMEOUT;
        loop {
            let log = self.log.lock().unwrap();
            if let Some(line) = log.iter().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.clone();
            }
            assert!(Instant::now() < until, "no line with {words:?} in {log:#?}");
            drop(log);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Lets happen what is to reach the broker at once: it is halted meanwhile.
    pub(crate) fn at_once<T>(&self, happen: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        let happened = happen();
        self.signal("CONT");
        happened
    }

    /// Ends it in order; its log is complete then.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        let code = self.process.wait().unwrap().code();
        if code == Some(0) {
            self.line_with(&["ringmq has stopped"]);
        }
        code
    }

    /// A counter in the last lines of all shards, after [`Broker::stop`].
    pub(crate) fn counted(&self, counter: &str) -> u64 {
        let log = self.log.lock().unwrap();
        let sums = log.iter().filter_map(|line| line.strip_prefix("Shard ")?.split_once(" in all: "));
        let counts = sums.flat_map(|(_, sum)| sum.split(", ")).filter_map(|count| count.rsplit_once(' '));
        counts.filter(|(name, _)| *name == counter).map(|(_, times)| times.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
