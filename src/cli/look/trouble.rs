//! Trouble: `ringmq drops` and `ringmq denials`.
//!
//! Duty: what was lost or denied, and why. Must not: name anything: the broker does, the same everywhere. Neighbours: `broker` asks.

use clap::Args;

use super::broker::{Broker, print};
use super::paint::{Mood, Paint};
use super::table::{Cell, Table};
use super::units::{count, moment, rate};
use crate::admin::answer::{Denial, Drop, Items};
use crate::runtime::Failure;

/// What `ringmq drops` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Drops {
    /// List also what has never happened
    #[arg(long)]
    all: bool,
}

pub(super) fn drops(broker: &Broker, drops: &Drops) -> Result<(), Failure> {
    let got = broker.get::<Items<Drop>>("drops")?;
    if broker.prints_json {
        return print(&got.text).map(drop);
    }
    let mut table = Table::new(&["REASON", "KIND", ">COUNT", ">NOW/S", "MEANING"]);
    for line in got.it.items.iter().filter(|line| drops.all || line.count > 0) {
        let now = Cell::of(rate(line.per_sec));
        table.push([
            Cell::of(&*line.name),
            Cell::of(&*line.kind),
            Cell::of(count(line.count)),
            if line.per_sec > 0.0 { now.mood(Mood::Warning) } else { now },
            Cell::foreign(&line.meaning),
        ]);
    }
    let text = if table.is_empty() {
        "nothing was dropped, denied or cut short\n".into()
    } else {
        table.text(Paint::of_output())
    };
    print(&text).map(drop)
}

pub(super) fn denials(broker: &Broker) -> Result<(), Failure> {
    let got = broker.get::<Items<Denial>>("denials")?;
    if broker.prints_json {
        return print(&got.text).map(drop);
    }
    let mut table = Table::new(&["WHEN", "CLIENT", "USER", "ADDRESS", "WANTED TO", "TOPIC", "BECAUSE"]);
    for denial in &got.it.items {
        table.push([
            Cell::of(moment(denial.at_unix_ms)),
            Cell::foreign(&denial.client_id),
            Cell::maybe(denial.user.as_deref()),
            Cell::maybe(denial.address.as_deref()),
            Cell::of(&*denial.access),
            Cell::foreign(&denial.topic),
            Cell::foreign(&denial.rule),
        ]);
    }
    let text = if table.is_empty() { "nothing was denied\n".into() } else { table.text(Paint::of_output()) };
    print(&text).map(drop)
}
