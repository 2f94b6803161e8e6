//! Room: what the admin room of a running broker answers, and what can be changed there.
//!
//! Duty: each path of the API with what it answers, what is wrong and who may; the metrics; one name for each trouble everywhere. Must
//! not: look into the broker from inside. Neighbours: `admin` has who is let in and what hostile requests get; `tests/live` is the broker.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../live/broker.rs"]
mod broker;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../live/client.rs"]
mod client;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../conformance/packets.rs"]
mod packets;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../listeners/papers.rs"]
mod papers;

mod asking;
mod changing;
mod clients;
mod describing;
mod entering;
mod metrics;
mod names;
mod overview;
mod topics;
