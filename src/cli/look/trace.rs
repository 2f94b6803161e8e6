//! Trace: `ringmq trace`, packets as they pass.
//!
//! Duty: a line for each, as soon as it comes, until the reader has enough. Must not: show a payload unless asked. Neighbours: `admin`
//! brings the events.

use clap::{ArgGroup, Args};

use super::broker::{Broker, print, query};
use super::paint::{Mood, Paint};
use super::table::Cell;
use super::topics::payload_text;
use super::units::{count, time_of_day};
use crate::admin;
use crate::admin::answer::{TraceQuestion, Traced};
use crate::runtime::{Failure, harmless};

/// What `ringmq trace` is told.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["client", "topic"])))]
pub(super) struct Trace {
    /// Show the packets of this client, in both directions
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// Show messages that are published to topics that this filter matches
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,

    /// Show payloads too, 64 KiB of each at most
    #[arg(long)]
    payload: bool,

    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: Option<u32>,
}

pub(super) fn trace(broker: &Broker, trace: &Trace) -> Result<(), Failure> {
    let Trace { client, topic, payload, limit } = trace.clone();
    let question = TraceQuestion { client, topic, payload: Some(payload), limit };
    let paint = Paint::of_output();
    let (mut left, mut is_read) = (limit, true);
    // Beside what a program may read.
    let begun = || eprintln!("watching; Ctrl-C ends it");
    let path = format!("/api/v1/trace?{}", query(&question)?);
    admin::watch(broker.asking(), &path, begun, |event| {
        left = left.map(|left| left.saturating_sub(1));
        is_read = if broker.prints_json {
            print(&format!("{event}\n"))?
        } else {
            let traced: Traced = serde_json::from_str(event)
                .map_err(|error| Failure::usage(format!("what answers is no broker: {error}")))?;
            print(&line_of(&traced, paint))?
        };
        Ok(is_read)
    })?;
    // Without one of these, only the end of the broker ends it.
    if is_read && left != Some(0) { Err(Failure::usage("the broker has gone")) } else { Ok(()) }
}

fn line_of(traced: &Traced, paint: Paint) -> String {
    let mut text = String::new();
    if traced.lost > 0 {
        let lost = format!("({} more were too fast to be shown)", count(traced.lost));
        text += &Cell::of(lost).mood(Mood::Warning).line(paint);
    }
    let time = paint.brush(Mood::Faint, &time_of_day(traced.at_unix_ms));
    let arrow = if traced.direction == "in" { "->" } else { "<-" };
    let whole = |text: &str| harmless(text, usize::MAX);
    text += &format!("{time} {} {arrow} {}\n", whole(&traced.client_id), whole(&traced.text));
    if let Some(payload) = traced.payload_base64.as_deref().filter(|payload| !payload.is_empty()) {
        text += &format!("    {}\n", whole(&payload_text(payload)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_and_its_payload_another() {
        let mut traced = Traced {
            at_unix_ms: 5,
            shard: 0,
            client_id: "a\u{1b}".into(),
            direction: "out".into(),
            packet: "PUBLISH".into(),
            size_bytes: 9,
            text: "PUBLISH (...)".into(),
            topic: None,
            payload_bytes: Some(2),
            payload_base64: None,
            lost: 0,
        };
        let shown =
            |traced: &Traced| line_of(traced, Paint::NONE).split_once(' ').map(|(_, rest)| rest.to_owned()).unwrap();
        assert_eq!(shown(&traced), "a\\u{1b} <- PUBLISH (...)\n");
        traced.payload_base64 = Some("b2s=".into());
        traced.direction = "in".into();
        assert_eq!(shown(&traced), "a\\u{1b} -> PUBLISH (...)\n    ok\n");
        traced.payload_base64 = Some("/w==".into());
        traced.lost = 1234;
        let text = line_of(&traced, Paint::NONE);
        assert!(
            text.starts_with("(1,234 more were too fast to be shown)\n") && text.ends_with("\n    base64 /w==\n"),
            "{text}"
        );
    }
}
