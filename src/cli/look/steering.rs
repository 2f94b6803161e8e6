//! Steering: `ringmq kick`, `ringmq publish` and `ringmq reload`.
//!
//! Duty: have the broker do it, say what was done. Must not: do it where the broker allows no changes: it says so itself. Neighbours:
//! `broker` asks.

use axum::http::Method;
use clap::Args;

use super::broker::{Broker, path_of, print, query};
use crate::admin::answer::{EndQuestion, Publication, Told};
use crate::runtime::{Failure, harmless, printable};

/// What `ringmq kick` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Kick {
    /// Client id
    client_id: String,

    /// End its session too: what waits for it is dropped
    #[arg(long)]
    end_session: bool,
}

/// What `ringmq publish` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Publish {
    /// Topic name
    topic: String,

    /// Payload
    message: String,

    /// QoS
    #[arg(long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,

    /// Retain it; an empty payload deletes what is retained
    #[arg(long)]
    retain: bool,
}

pub(super) fn kick(broker: &Broker, kick: &Kick) -> Result<(), Failure> {
    let session = if kick.end_session { "end" } else { "keep" };
    let question = query(&EndQuestion { session: Some(session.into()) })?;
    broker.change(Method::DELETE, &format!("{}?{question}", path_of("clients", &kick.client_id)), None::<&()>)?;
    let what = if kick.end_session { "connection and session of" } else { "connection of" };
    done(broker, &format!("ended the {what} {}\n", printable(&kick.client_id)))
}

pub(super) fn publish(broker: &Broker, publish: &Publish) -> Result<(), Failure> {
    let Publish { topic, message, qos, retain } = publish.clone();
    let publication = Publication { topic, payload: Some(message), payload_base64: None, qos, retain };
    broker.change(Method::POST, "publish", Some(&publication))?;
    done(broker, "published\n")
}

pub(super) fn reload(broker: &Broker) -> Result<(), Failure> {
    let answered = broker.change(Method::POST, "reload", None::<&()>)?;
    if broker.prints_json {
        return print(&answered.text()).map(drop);
    }
    print(&format!("{}\n", harmless(&answered.read::<Told>()?.told, usize::MAX))).map(drop)
}

/// A program is told by the exit code.
fn done(broker: &Broker, text: &str) -> Result<(), Failure> {
    if broker.prints_json { print("{}\n").map(drop) } else { print(text).map(drop) }
}
