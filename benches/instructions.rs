//! One case, run so that its instructions can be counted: `scripts/instructions` starts it under callgrind.
//!
//! Duty: repeat the work of one case inside [`measured`], after a warm-up outside of it. Must not: read a clock or draw a
//! random number. Neighbours: `scripts/instructions` counts and compares; `instructions.tsv` is what it compares with.
//!
//! Usage: `instructions --list` prints name and measured operations of each case; `instructions --run NAME` runs one.

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;

use cases::Case;

/// The cases that matter most; few, because each takes seconds to count.
const CHOSEN: [&str; 25] = [
    "decode/PUBLISH 3.1.1 QoS 0",
    "decode/PUBLISH 5.0 QoS 1, two properties",
    "encode outgoing/PUBLISH 3.1.1 QoS 0",
    "encode outgoing/PUBLISH 5.0 QoS 1, two properties",
    "match/1000 filters, mixed",
    "match/100000 filters, mixed",
    "retained match/1000 names, plus, 1 found",
    "retained match/1000 names, hash, 10 found",
    "publish/QoS 0, 1 to 1, 1 at a time",
    "publish/QoS 1, 1 to 1, 1 at a time",
    "publish/QoS 0, 1 to 1, 100 at a time",
    "publish/QoS 1, 1 to 1, 100 at a time",
    "publish/QoS 2, 1 to 1, 100 at a time",
    "publish/QoS 1, 1 to 1, 100 at a time, kept at memory",
    "publish/QoS 1, 1 to 1, 100 at a time, kept at commit",
    "publish/QoS 0, 1 to 1000, 1 at a time",
    "publish/QoS 1, 1 to 1000, 1 at a time",
    "publish/QoS 2, 1 to 1000, 1 at a time",
    "publish/QoS 0, 1000 topics, then the subscriptions change",
    "mesh/QoS 0, 100 at a time, directly",
    "mesh/QoS 1, 100 at a time, directly",
    "mesh/QoS 1, 100 at a time, directly, kept at memory",
    "mesh/QoS 2, 100 at a time, directly",
    "connect and disconnect",
    "subscribe and unsubscribe",
];

/// Calls before counting: every buffer has its size, every table its entries.
const WARM_UP_CALLS: u32 = 100;

const CALLS: u32 = 50;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => chosen().for_each(|case| println!("{}\t{}", case.name, case.operations * CALLS)),
        ["--run", name] => run(chosen().find(|case| case.name == name).expect("the case is among those of --list")),
        _ => println!("run scripts/instructions, which counts the instructions of each case"),
    }
}

fn chosen() -> impl Iterator<Item = Case> {
    let sources = [cases::codec::all, cases::trie::all, cases::retained::all, cases::turn::all, cases::mesh::all];
    let mut all: Vec<Case> = sources.into_iter().flat_map(|source| source()).collect();
    CHOSEN.into_iter().map(move |name| {
        let at = all.iter().position(|case| case.name == name);
        all.swap_remove(at.unwrap_or_else(|| panic!("no case is named {name}")))
    })
}

fn run(case: Case) {
    let mut work = case.prepare();
    (0..WARM_UP_CALLS).for_each(|_| work());
    measured(work.as_mut());
}

/// What happens in here is counted: callgrind knows the function by its name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        work();
    }
}
