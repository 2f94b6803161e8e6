//! Sessions and subscriptions that come and go: what was acknowledged a moment before the end is there after it.
//!
//! Duty: make one after the other, ask for all of them in the broker's next life. Must not: take part in the load. Neighbours:
//! `campaign` runs it once for each life of the broker; `retained_again` looks at what is retained before the load begins.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::load::{self, Board, TOPICS_IN_ALL};
use super::verdict::Verdict;
use super::wire::{Link, Publish, Version, put_ack, put_filters, put_publish};

/// Made in one life of the broker.
const SESSIONS_MAX: usize = 40;
const FILTERS_MAX: usize = 200;

const NAME: &str = "churn";

#[derive(Default)]
pub(crate) struct Churn {
    has_connected: bool,
    /// Sessions whose CONNACK has come.
    sessions: Vec<String>,
    /// Filters whose SUBACK has come.
    filters: Vec<String>,
    made: u64,
    /// Number of the question that is asked now.
    asked: u64,
    pub(crate) verdict: Verdict,
}

impl Churn {
    /// One life of the broker.
    pub(crate) fn run(&mut self, address: SocketAddr, board: &Board) {
        let _ = self.try_run(address, board);
    }

    fn try_run(&mut self, address: SocketAddr, board: &Board) -> io::Result<()> {
        while let Some(name) = self.sessions.pop() {
            let version = version_of(&name);
            let (_link, is_present) = Link::open(address, &name, version, false)?;
            self.verdict.note_session(true, is_present, &name);
            Link::open(address, &name, version, true)?;
        }
        let (mut link, is_present) = Link::open(address, NAME, Version::V311, false)?;
        self.verdict.note_session(self.has_connected, is_present, NAME);
        self.has_connected = true;
        self.ask_for_all(&mut link, board)?;
        for filters in std::mem::take(&mut self.filters).chunks(100) {
            put_filters(Version::V311, 2, filters, None, &mut link.out);
            await_kind(&mut link, 11)?;
        }
        while !board.is_ending.load(Ordering::Acquire) && self.filters.len() < FILTERS_MAX {
            self.made += 1;
            let filter = format!("c/{}", self.made);
            put_filters(Version::V311, 1, std::slice::from_ref(&filter), Some(1), &mut link.out);
            await_kind(&mut link, 9)?;
            self.filters.push(filter);
            if self.sessions.len() < SESSIONS_MAX {
                let name = format!("visitor-{}", self.made);
                Link::open(address, &name, version_of(&name), false)?;
                self.sessions.push(name);
            }
        }
        Ok(())
    }

    /// Publishes to each topic that it has subscribed to: all have to come back.
    fn ask_for_all(&mut self, link: &mut Link, board: &Board) -> io::Result<()> {
        self.asked += 1;
        let question = self.asked.to_be_bytes();
        let mut awaited = self.filters.iter().cloned().collect::<HashSet<_>>();
        for filter in &self.filters {
            put_publish(0, Version::V311, filter.as_bytes(), 0, &question, &mut link.out);
        }
        let until = Instant::now() + board.patience;
        while !awaited.is_empty() && Instant::now() < until {
            link.flush()?;
            link.read()?;
            link.take(|out, packet| {
                if packet.kind() == 3 {
                    let publish = Publish::of(packet, Version::V311);
                    if publish.payload == question {
                        awaited.remove(str::from_utf8(publish.topic).unwrap_or_default());
                    }
                    if publish.qos == 1 {
                        put_ack(0x40, publish.id, out);
                    }
                }
            });
        }
        if let Some(first) = awaited.iter().next() {
            self.verdict.subscriptions_lost += awaited.len() as u64;
            self.verdict.note(format!("{NAME}: {} subscriptions are lost, {first} is one", awaited.len()));
        }
        link.flush()
    }
}

fn version_of(name: &str) -> Version {
    if name.ends_with(['0', '2', '4', '6', '8']) { Version::V311 } else { Version::V5 }
}

/// Sends, and reads until such a packet has come.
fn await_kind(link: &mut Link, kind: u8) -> io::Result<()> {
    let mut has_come = false;
    while !has_come {
        link.flush()?;
        link.read()?;
        link.take(|out, packet| {
            has_come |= packet.kind() == kind;
            if packet.kind() == 3 && packet.first & 6 != 0 {
                put_ack(0x40, Publish::of(packet, Version::V311).id, out);
            }
        });
    }
    Ok(())
}

/// Compares what is retained with what was acknowledged, while nobody publishes.
pub(crate) fn compare_retained(address: SocketAddr, board: &Board, verdict: &mut Verdict) -> io::Result<()> {
    let (mut link, _) = Link::open(address, "collector", Version::V5, true)?;
    put_filters(Version::V5, 1, &["r/#".to_owned()], Some(1), &mut link.out);
    let acknowledged = |topic: usize| board.acknowledged[topic].load(Ordering::Relaxed);
    let mut awaited = (0..TOPICS_IN_ALL)
        .filter(|topic| load::is_retained(*topic) && acknowledged(*topic) > 0)
        .collect::<HashSet<_>>();
    let until = Instant::now() + board.patience;
    let mut spare = Vec::new();
    while !awaited.is_empty() && Instant::now() < until {
        link.flush()?;
        link.read()?;
        link.take(|out, packet| {
            if packet.kind() != 3 {
                return;
            }
            let publish = Publish::of(packet, Version::V5);
            put_ack(0x40, publish.id, out);
            let (topic, sequence) = (load::topic_of(publish.topic), load::sequence_of(publish.payload, &mut spare));
            let (Some(topic), Some(sequence)) = (topic, sequence) else {
                return verdict.complain(format!("retained: not what was sent: {publish:?}"));
            };
            awaited.remove(&topic);
            let (first, last) = (acknowledged(topic), board.sent[topic].load(Ordering::Relaxed));
            if !(first..=last).contains(&sequence) {
                verdict.retained_lost += 1;
                verdict.note(format!("retained: {} has {sequence}, which is not {first} to {last}", load::name(topic)));
            }
        });
    }
    if let Some(topic) = awaited.iter().next() {
        verdict.retained_lost += awaited.len() as u64;
        verdict.note(format!("retained: {} topics have none, {} is one", awaited.len(), load::name(*topic)));
    }
    Ok(())
}
