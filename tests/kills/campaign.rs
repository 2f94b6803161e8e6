//! A campaign: the broker lives, is killed in the middle of it, and lives again, until there were enough kills and messages.
//!
//! Duty: start and kill the real binary, let the clients loose on it, add up what they found. Must not: check messages. Neighbours:
//! `publisher`, `subscriber`, `churn`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::churn::{Churn, compare_retained};
use super::load::{Board, PUBLISHERS, Random};
use super::publisher::Publisher;
use super::subscriber::{Habit, Subscriber};
use super::verdict::Verdict;
use super::wire::Version;

/// Milliseconds of load until a kill: from, and how many more.
const LOAD_MS: (u64, u64) = (80, 920);

/// One life in so many ends while the broker starts.
const EARLY_EVERY: u64 = 8;
const EARLY_MS: u64 = 120;

/// For a broker that starts.
const PATIENCE: Duration = Duration::from_secs(60);

/// One subscriber in so many that is away comes back for a life.
const VISIT_EVERY: u64 = 3;

/// How a broker is told to divide itself.
const SHARDS: [&[&str]; 4] = [&["--cpus", "0,1"], &["--shards", "1"], &["--shards", "4"], &["--cpus", "0,1"]];

const SETTINGS: [&str; 4] = [
    "receive_maximum=1000",
    "queued_messages_max=50000000",
    "queued_bytes_max=8000000000",
    "held_bytes_per_shard_max=8000000000",
];

const HABITS: [Habit; 7] = [
    Habit { version: Version::V311, qos: 1, is_offline: false, filters: &["k/00/#", "k/05/#"] },
    Habit { version: Version::V5, qos: 2, is_offline: false, filters: &["k/+/01", "r/#"] },
    Habit { version: Version::V311, qos: 1, is_offline: true, filters: &["k/01/#", "k/02/#", "k/06/00"] },
    Habit {
        version: Version::V5,
        qos: 2,
        is_offline: true,
        filters: &["k/07/#", "k/00/01", "k/01/01", "k/02/01", "k/05/01", "k/06/01"],
    },
    Habit { version: Version::V5, qos: 2, is_offline: false, filters: &["k/07/#", "k/06/#", "k/03/#"] },
    Habit {
        version: Version::V311,
        qos: 2,
        is_offline: false,
        filters: &["k/+/01", "k/04/00", "k/04/02", "k/04/03", "k/04/04"],
    },
    Habit { version: Version::V311, qos: 1, is_offline: true, filters: &["k/+/02", "k/+/05", "r/#"] },
];

/// How long a campaign is, and what is killed.
pub(crate) struct Terms {
    pub(crate) binary: PathBuf,
    /// Where the store and the log of the broker are made, and removed if all is good.
    pub(crate) folder: PathBuf,
    pub(crate) kills: u64,
    /// Acknowledged messages; more kills until there were so many.
    pub(crate) messages: u64,
    pub(crate) seed: u64,
    /// How long what does not come is waited for.
    pub(crate) patience: Duration,
    /// What `RINGMQ_FAULTS` is for the broker.
    pub(crate) faults: Option<&'static str>,
}

/// What a campaign was.
pub(crate) struct Outcome {
    pub(crate) kills: u64,
    pub(crate) acknowledged: u64,
    pub(crate) seconds: u64,
    /// Milliseconds of load, of all lives.
    pub(crate) load_ms: u64,
    pub(crate) verdict: Verdict,
}

impl Outcome {
    /// In one line.
    pub(crate) fn told(&self) -> String {
        let rate = self.acknowledged * 1000 / self.load_ms.max(1);
        format!(
            "{} kills, {} acknowledged ({rate}/s), {}; {} s",
            self.kills,
            self.acknowledged,
            self.verdict.told(),
            self.seconds
        )
    }
}

struct Campaign<'a> {
    terms: &'a Terms,
    address: SocketAddr,
    random: Random,
    board: Board,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    churn: Churn,
    verdict: Verdict,
    kills: u64,
    load_ms: u64,
}

/// Runs a campaign.
pub(crate) fn run(terms: &Terms) -> Outcome {
    let begun = Instant::now();
    let _ = fs::remove_dir_all(&terms.folder);
    fs::create_dir_all(&terms.folder).expect("a folder for the store");
    let port =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port");
    let mut campaign = Campaign {
        terms,
        address: port,
        random: Random(terms.seed),
        board: Board::new(terms.patience),
        publishers: (0..PUBLISHERS).map(Publisher::new).collect(),
        subscribers: HABITS.iter().enumerate().map(|(number, habit)| Subscriber::new(number, *habit)).collect(),
        churn: Churn::default(),
        verdict: Verdict::default(),
        kills: 0,
        load_ms: 0,
    };
    campaign.begin();
    while campaign.kills < terms.kills || campaign.board.acknowledged_in_all() < terms.messages {
        campaign.live();
    }
    campaign.end();
    let outcome = Outcome {
        kills: campaign.kills,
        acknowledged: campaign.board.acknowledged_in_all(),
        seconds: begun.elapsed().as_secs(),
        load_ms: campaign.load_ms,
        verdict: campaign.verdict,
    };
    if outcome.verdict.is_good() {
        let _ = fs::remove_dir_all(&terms.folder);
    }
    outcome
}

impl Campaign<'_> {
    /// All sessions of subscribers are made and acknowledged; then the first kill.
    fn begin(&mut self) {
        let broker = Broker::start(self.terms, self.address, SHARDS[0]);
        let address = self.address;
        for subscriber in &mut self.subscribers {
            subscriber.subscribe(address).expect("the broker lives");
        }
        drop(broker);
        self.kills += 1;
    }

    /// One life, from a start to a kill.
    fn live(&mut self) {
        let shards = SHARDS[self.random.below(SHARDS.len() as u64) as usize];
        let broker = Broker::start(self.terms, self.address, shards);
        if self.random.below(EARLY_EVERY) == 0 {
            thread::sleep(Duration::from_millis(self.random.below(EARLY_MS)));
            drop(broker);
            self.kills += 1;
            return;
        }
        // Else its clients are there before it listens.
        if self.kills == 1 || self.random.below(3) > 0 {
            self.compare_retained();
        }
        let load_ms = LOAD_MS.0 + self.random.below(LOAD_MS.1);
        self.load_ms += load_ms;
        let (address, board, random) = (self.address, &self.board, &mut self.random);
        thread::scope(|scope| {
            for publisher in &mut self.publishers {
                scope.spawn(|| publisher.run(address, board));
            }
            for subscriber in &mut self.subscribers {
                if !subscriber.is_offline() || random.below(VISIT_EVERY) == 0 {
                    scope.spawn(|| subscriber.run(address, board));
                }
            }
            scope.spawn(|| self.churn.run(address, board));
            thread::sleep(Duration::from_millis(load_ms));
            drop(broker);
        });
        self.kills += 1;
        self.gather();
        if self.kills.is_multiple_of(10) {
            println!(
                "  {} kills, {} acknowledged, {}",
                self.kills,
                self.board.acknowledged_in_all(),
                self.verdict.told()
            );
        }
    }

    /// The last life: everything that was sent arrives.
    fn end(&mut self) {
        let broker = Broker::start(self.terms, self.address, SHARDS[0]);
        self.compare_retained();
        let (address, board) = (self.address, &self.board);
        board.is_ending.store(true, Ordering::Release);
        thread::scope(|scope| {
            let publishers = self
                .publishers
                .iter_mut()
                .map(|publisher| scope.spawn(|| publisher.run(address, board)))
                .collect::<Vec<_>>();
            for subscriber in &mut self.subscribers {
                scope.spawn(|| subscriber.run(address, board));
            }
            scope.spawn(|| self.churn.run(address, board));
            for publisher in publishers {
                publisher.join().expect("a publisher does not panic");
            }
            board.is_all_sent.store(true, Ordering::Release);
        });
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.conclude(board));
        self.gather();
        self.compare_retained();
        drop(broker);
    }

    fn compare_retained(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut result = compare_retained(self.address, &self.board, &mut self.verdict);
        // The kernel may take a moment to close what listened for the broker that was killed.
        while result.is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
            result = compare_retained(self.address, &self.board, &mut self.verdict);
        }
        if let Err(error) = result {
            self.verdict.complain(format!("the broker does not answer after kill {}: {error}", self.kills));
        }
    }

    fn gather(&mut self) {
        let (verdict, life) = (&mut self.verdict, self.kills);
        let mut take = |found: &mut Verdict| {
            let mut found = std::mem::take(found);
            found.complaints.iter_mut().for_each(|complaint| *complaint = format!("life {life}: {complaint}"));
            verdict.add(&mut found);
        };
        self.publishers.iter_mut().for_each(|publisher| take(&mut publisher.verdict));
        self.subscribers.iter_mut().for_each(|subscriber| take(&mut subscriber.verdict));
        take(&mut self.churn.verdict);
    }
}

/// A broker that is killed when dropped, by SIGKILL.
struct Broker(Child);

impl Broker {
    fn start(terms: &Terms, address: SocketAddr, shards: &[&str]) -> Self {
        let log = open_log(&terms.folder).expect("a log of the broker");
        let mut command = Command::new(&terms.binary);
        command.args(["-p", &address.port().to_string(), "--bind", "127.0.0.1", "--sys-interval", "0", "--store"]);
        command.arg(terms.folder.join("store")).args(shards);
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        command.env_remove("RINGMQ_FAULTS").envs(terms.faults.map(|faults| ("RINGMQ_FAULTS", faults)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("the broker starts"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let early = self.0.try_wait();
        if !thread::panicking() {
            assert!(matches!(early, Ok(None)), "the broker has ended by itself: {early:?}; see its log");
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn open_log(folder: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(folder.join("broker.log"))
}
