//! An engine-neutral MQTT load generator: the same bytes to every broker, and no number without proof that all arrived.
//!
//! Floors, lowest first: [`wire`] (packets), [`stamp`], [`integrity`], [`group`], [`latency`], [`filter`],
//! [`topic_tree`], [`pattern`] (pure pieces), [`scenario`], [`staging`] and [`plan`] (what to do), [`broker`] and [`host`] (what /proc
//! says of the broker and of this machine), [`engine`] (does it), [`report`] (tells it), [`progress_bar`], [`cli`]. Imports
//! go downward only. Nothing here depends on the broker's crate.

pub mod broker;
pub mod cli;
pub mod engine;
pub mod filter;
pub mod group;
pub mod host;
pub mod integrity;
pub mod latency;
pub mod pattern;
pub mod plan;
pub mod progress_bar;
pub mod report;
pub mod scenario;
pub mod staging;
pub mod stamp;
pub mod topic_tree;
pub mod wire;
