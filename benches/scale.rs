//! A million subscriptions, a million retained topics, and shards beside shards: what each costs.
//!
//! Duty: print figures as tables, and write them to `docs/benchmarks/scale.md` where `--write` is said. Must not: judge them,
//! or open a socket. Each row is measured in a process of its own, so that its memory is its own. Neighbours:
//! `cases/broker.rs` is the world, `cases/turn.rs` and `cases/mesh.rs` have the streams; `docs/capacity.md` goes on from here.
//!
//! `cargo bench -p ringmq-benches --bench scale -- [COUNT] [shards=1,2,8,32] [--write]`; 10,000 of each without a COUNT.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
#[allow(dead_code, reason = "two streams are compared here, so nothing is printed there")]
mod stopwatch;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use ringmq::wire::{ProtocolVersion, QoS};

use cases::broker::{Broker, Client, carry_directly};
use cases::packets;
use cases::trie::scattered;

const WRITTEN_TO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks/scale.md");

/// Packets in one read.
const PACKETS_PER_READ: usize = 100;

/// Packets that are made before the clock starts, and sent until it stops.
const PACKETS_PER_LAP: usize = 20_000;

/// Subscriptions of one client.
const FILTERS_PER_CLIENT: usize = 1000;

/// Topics that are published again and again: few enough to be remembered.
const REMEMBERED: usize = 1000;

/// Filters and topics of some installation.
struct Shape {
    name: &'static str,
    about: &'static str,
    filter: fn(usize) -> String,
    topic: fn(usize) -> String,
}

/// Both have four levels, and of ten filters eight are exact, one has `+` and one `#`.
const SHAPES: [Shape; 2] = [
    Shape {
        name: "devices",
        about: "a branch of its own for each device, `fleet/42/device-1000042/command`: two new levels per filter",
        filter: |n| match n % 10 {
            8 => format!("fleet/+/device-{n:07}/command"),
            9 => format!("fleet/{}/device-{n:07}/#", n % 100),
            _ => device_topic(n),
        },
        topic: device_topic,
    },
    Shape {
        name: "places",
        about: "places in a grid, `plant/42/17/point-63`: one new level per filter",
        filter: |n| match n % 10 {
            8 => format!("+/{}/{}/point-{}", n / 10_000, n / 100 % 100, n % 100),
            9 => format!("plant/{}/{}/#", n / 10_000, n % 10_000),
            _ => place_topic(n),
        },
        topic: place_topic,
    },
];

fn device_topic(n: usize) -> String {
    format!("fleet/{}/device-{n:07}/command", n % 100)
}

fn place_topic(n: usize) -> String {
    format!("plant/{}/{}/point-{}", n / 10_000, n / 100 % 100, n % 100)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--row", "subscriptions", shape, shards, count] => {
            let shape = SHAPES.iter().find(|known| known.name == shape).expect("a known shape");
            print_row(&subscriptions(shape, number(shards), number(count)));
        }
        ["--row", "retained", shards, count] => print_row(&retained(number(shards), number(count))),
        ["--row", "streams"] => print_row(&streams()),
        _ => report(&words),
    }
}

fn number(word: &str) -> usize {
    word.replace([',', '_'], "").parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

// ---- Tables ----

fn report(words: &[String]) {
    let is_written = words.iter().any(|word| word == "--write");
    let shards = words.iter().find_map(|word| word.strip_prefix("shards=")).unwrap_or("1,2,8,32");
    let shards: Vec<usize> = shards.split(',').map(number).collect();
    let count = words.iter().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let count = count.map_or(10_000, |count| number(count));
    let mut text = format!(
        "# Scale\n\nWritten by `cargo bench -p ringmq-benches --bench scale -- {}`: the core alone, all shards in one thread, \
         microseconds of CPU,\nbytes of resident memory. Each row is a process of its own.\n",
        words.join(" ")
    );
    for shape in &SHAPES {
        let _ = writeln!(text, "\n## {count} subscriptions: {}\n\n{}.\n", shape.name, shape.about);
        text += &subscription_table(shape, &shards, count);
    }
    let _ = writeln!(text, "\n## {count} retained topics\n");
    text += &retained_table(&shards, count);
    text += "\n## A stream from shard to shard\n\n";
    text += "100 packets in one read, 64 bytes each; nanoseconds per message, least of 5 x 25 rounds.\n\n";
    text += &stream_table();
    println!("{text}");
    if is_written {
        fs::write(WRITTEN_TO, text).expect("the project's folder is where it was built");
    }
}

fn subscription_table(shape: &Shape, shards: &[usize], count: usize) -> String {
    let mut table = head(&[
        "shards",
        "SUBSCRIBE",
        "and per other shard",
        "publish, cold topic",
        "publish, remembered",
        "bytes per subscription, all shards",
        "per foreign filter and shard",
    ]);
    let mut first: Option<(usize, Vec<f64>)> = None;
    for &shards in shards {
        let row = row_of(&["subscriptions", shape.name, &shards.to_string(), &count.to_string()]);
        let [subscribe, cold, remembered, bytes] = row[..] else { panic!("four figures") };
        // What a shard more takes; compared with the smallest broker of the table.
        let (few, one) = first.get_or_insert((shards, row.clone()));
        let more = (shards - *few) as f64;
        let per_shard = |figure: f64, one: f64| if more > 0.0 { (figure - one) / more } else { f64::NAN };
        push_row(
            &mut table,
            shards,
            &[
                (subscribe, 2),
                (per_shard(subscribe, one[0]), 2),
                (cold, 2),
                (remembered, 2),
                (bytes, 0),
                (per_shard(bytes, one[3]), 0),
            ],
        );
    }
    table
}

fn retained_table(shards: &[usize], count: usize) -> String {
    let mut table = head(&[
        "shards",
        "new topic, per shard",
        "ratio to the first row",
        "known topic, per shard",
        "ratio to the first row",
        "bytes per topic and shard",
    ]);
    let mut first: Option<Vec<f64>> = None;
    for &shards in shards {
        let row = row_of(&["retained", &shards.to_string(), &count.to_string()]);
        let [new, known, bytes] = row[..] else { panic!("three figures") };
        let one = first.get_or_insert(row.clone());
        let figures = [(new, 2), (new / one[0], 2), (known, 2), (known / one[1], 2), (bytes, 0)];
        push_row(&mut table, shards, &figures);
    }
    table
}

fn stream_table() -> String {
    let mut table = head(&["QoS", "local", "forwarded", "above"]);
    for (qos, figures) in row_of(&["streams"]).chunks(2).enumerate() {
        let [local, forwarded] = figures[..] else { panic!("two figures") };
        push_row(&mut table, qos, &[(local, 1), (forwarded, 1), (forwarded - local, 1)]);
    }
    table
}

fn head(columns: &[&str]) -> String {
    format!("| {} |\n|{}\n", columns.join(" | "), "--:|".repeat(columns.len()))
}

fn push_row(table: &mut String, first: usize, figures: &[(f64, usize)]) {
    let _ = write!(table, "| {first} |");
    for (figure, digits) in figures {
        let shown = if figure.is_nan() { "-".to_owned() } else { format!("{figure:.digits$}") };
        let _ = write!(table, " {shown} |");
    }
    table.push('\n');
}

/// Measures one row in a process of its own.
fn row_of(words: &[&str]) -> Vec<f64> {
    let program = std::env::current_exe().expect("a bench has a file");
    let output = Command::new(program).arg("--row").args(words).output().expect("it starts again");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    text.split_whitespace().map(|figure| figure.parse().expect("a number")).collect()
}

fn print_row(figures: &[f64]) {
    figures.iter().for_each(|figure| println!("{figure}"));
}

// ---- Measuring ----

/// CPU per SUBSCRIBE, per publish to a topic that comes once, and to one that comes again; bytes per subscription.
fn subscriptions(shape: &Shape, shards: usize, count: usize) -> Vec<f64> {
    let mut broker = Broker::new(shards, carry_directly());
    let clients: Vec<Client> =
        (0..count.div_ceil(FILTERS_PER_CLIENT)).map(|n| broker.connect(0, &format!("client-{n}"))).collect();
    let publisher = broker.connect(0, "publisher");
    let before = resident_bytes();
    let subscribe = sent_us(&mut broker, count, |n| {
        let packet = packets::subscribe(ProtocolVersion::V311, &(shape.filter)(n), QoS::AtMostOnce);
        (clients[n / FILTERS_PER_CLIENT], packet)
    });
    let bytes = (resident_bytes() - before) / count as f64;
    let publish = |n| (publisher, packets::publish(ProtocolVersion::V311, &(shape.topic)(n), QoS::AtMostOnce, 0));
    let topics: Vec<usize> = scattered(count).take(count.min(200_000)).collect();
    let cold = sent_us(&mut broker, topics.len(), |n| publish(topics[n]));
    // Twice before they count: a topic is remembered when it comes again.
    let known = topics.len().min(REMEMBERED);
    sent_us(&mut broker, 2 * known, |n| publish(topics[n % known]));
    let remembered = sent_us(&mut broker, 100_000, |n| publish(topics[n % known]));
    let delivered = broker.count(|counters| counters.delivered.sum()) as usize;
    assert!(delivered * 10 >= 7 * (topics.len() + 100_000), "somebody wants most topics");
    vec![subscribe, cold, remembered, bytes]
}

/// CPU per shard and retained publish, of a new topic and of a known one; bytes per topic and shard.
fn retained(shards: usize, count: usize) -> Vec<f64> {
    let mut broker = Broker::new(shards, carry_directly());
    let publisher = broker.connect(0, "publisher");
    let publish = |n: usize| {
        let packet_id = (n % PACKETS_PER_READ) as u16 + 1;
        let mut packet = packets::publish(ProtocolVersion::V311, &device_topic(n), QoS::AtLeastOnce, packet_id);
        packet[0] |= 1;
        (publisher, packet)
    };
    let before = resident_bytes();
    let new = sent_us(&mut broker, count, publish);
    let bytes = (resident_bytes() - before) / count as f64;
    let topics: Vec<usize> = scattered(count).take(count.min(200_000)).collect();
    let known = sent_us(&mut broker, topics.len(), |n| publish(topics[n]));
    let refused = broker.count(|counters| counters.retained_refused);
    assert_eq!(refused, 0, "all of it is retained");
    [new, known, bytes].map(|figure| figure / shards as f64).to_vec()
}

/// Nanoseconds per message that stays on its shard and of one that is forwarded, by QoS 0 and 1.
fn streams() -> Vec<f64> {
    let mut figures = Vec::new();
    for qos in [0, 1] {
        let mut works = [
            (cases::turn::all(), format!("publish/QoS {qos}, 1 to 1, 100 at a time")),
            (cases::mesh::all(), format!("mesh/QoS {qos}, 100 at a time, directly")),
        ]
        .map(|(all, name)| all.into_iter().find(|case| case.name == name).expect("a case of this name").prepare());
        let mut least = [f64::INFINITY; 2];
        // In turn, so that a slow second of the machine meets both.
        for _ in 0..5 {
            for (work, least) in works.iter_mut().zip(&mut least) {
                *least = least.min(stopwatch::rounds_ns(work.as_mut())[0] / PACKETS_PER_READ as f64);
            }
        }
        figures.extend(least);
    }
    figures
}

/// Sends packets, so many in one read as follow each other for one client, and says what each cost, microseconds of CPU.
fn sent_us(broker: &mut Broker, count: usize, packet: impl Fn(usize) -> (Client, Vec<u8>)) -> f64 {
    let mut cpu_ns = 0.0;
    let mut from = 0;
    while from < count {
        let lap: Vec<(Client, Vec<u8>)> = (from..count.min(from + PACKETS_PER_LAP)).map(&packet).collect();
        let reads = lap.chunks(PACKETS_PER_READ).map(|chunk| {
            let bytes: Vec<u8> = chunk.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
            (chunk[0].0, bytes)
        });
        let reads: Vec<(Client, Vec<u8>)> = reads.collect();
        let start = cpu_time_ns();
        for (client, bytes) in &reads {
            broker.send(*client, bytes);
            broker.settle();
        }
        cpu_ns += cpu_time_ns() - start;
        from += lap.len();
    }
    cpu_ns / 1000.0 / count as f64
}

/// Time that this thread has had on a CPU; waiting for one does not count.
fn cpu_time_ns() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").expect("a kernel with schedstat");
    text.split_whitespace().next().expect("three numbers").parse().expect("a number")
}

fn resident_bytes() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = text.split_whitespace().nth(1).expect("seven numbers").parse().expect("a number");
    pages * 4096.0
}
