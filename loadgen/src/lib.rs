//! An engine-neutral MQTT load generator: the same bytes to every broker, and no number without proof that all arrived.
//!
//! Floors, lowest first: [`wire`] (packets), [`stamp`], [`integrity`], [`latency`], [`filter`] (pure pieces),
//! [`scenario`] and [`plan`] (what to do), [`broker`] (what /proc says of the broker), [`engine`] (does it),
//! [`report`] (tells it), [`cli`]. Imports go downward only. Nothing here depends on the broker's crate.

pub mod broker;
pub mod cli;
pub mod engine;
pub mod filter;
pub mod integrity;
pub mod latency;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod stamp;
pub mod wire;
