//! Answer: what goes over the wire, as both ends know it.
//!
//! Duty: questions and answers as types that are written and read the same, with the words that the description of the API has for
//! each field. Must not: ask or answer. Neighbours: `api` answers, `client` asks, `describe` makes the description.
//!
//! A number that is not known is null, and never left out.

mod clients;
mod overview;
mod question;
mod steering;
mod topics;

pub use self::clients::{Client, ClientDetail, Queued, SubscriptionLine, Will};
pub use self::overview::{
    ClientCounts, CommitTimes, ListenerLine, MeshRates, Overview, PathTimes, Percentiles, ProblemLine, Rates,
    RetainedCount, Shard, StoreLine, Totals,
};
pub use self::question::{
    ClientsQuestion, DeleteQuestion, EndQuestion, QueueQuestion, RetainedQuestion, TopicsQuestion, TraceQuestion,
    WhyQuestion,
};
pub use self::steering::{ConfigText, Deleted, Denial, Drop, Explained, LogChoice, ProblemText, Publication, Told};
pub use self::topics::{Audience, Group, Receiver, Retained, TopicRate, TopicRates, Traced};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A piece of a list.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "ListOf{T}")]
pub struct List<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// The `cursor` that has the next piece; null: that was all.
    pub next: Option<String>,
}

/// All of a list.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "ItemsOf{T}")]
pub struct Items<T> {
    /// What is in it.
    pub items: Vec<T>,
}
