//! FIRST floor: topic names, topic filters, and the two tries that answer "who wants this topic?" and "what is kept for
//! this filter?".
//!
//! Duty: validity in the type, matching by the rules of section 4.7, memory that goes back. Must not: know packets, sessions
//! or rights; recurse over a topic; trust a client's choice of text (hashing is keyed). Neighbours: `session`, `shard` and
//! `auth` stand on it; it stands on `limits` alone.

mod child_table;
mod entries;
pub mod filter;
mod frontier;
mod level_text;
pub mod name;
pub mod retained;
pub mod share;
#[cfg(test)]
mod tests;
mod tree;
pub mod trie;

pub use filter::TopicFilter;
pub use name::{TopicError, TopicLimits, TopicName};
pub use retained::{Place, RetainedTrie};
pub use share::SubscriptionFilter;
pub use trie::{MatchCost, SubscriptionTrie};
