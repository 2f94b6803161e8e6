//! ringmq: a thread-per-core io_uring MQTT broker.
//!
//! # The map of the house
//! A floor uses only the floors below it.
//! - `limits`, `id`, `message`, `seldom`: used from everywhere. Bounds, ids, what travels inside the broker, and what most
//!   clients never have.
//! - `wire` (ground floor): bytes to packets and back.
//! - `topic` (first floor): names, filters, the subscription trie, the retained trie.
//! - `session` (second floor): what one client owes and is owed.
//! - `auth` (second floor): who may connect, and who may do what.
//! - `store` (second floor): what must outlive the process, as records.
//! - `shard` (third floor): all state of one core; input goes in, an outbox of actions comes out.
//! - `moving`: what one broker keeps, as another one takes it; Mosquitto's file.
//! - `config`: what a broker is told to do, as one checked value.
//! - `transport`: what may stand between a socket and MQTT: TLS, WebSocket, a PROXY header; bytes into bytes.
//! - `runtime` (fourth floor): the only room that knows glommio, io_uring, sockets and the clock.
//! - `admin` (above it): what people and programs ask a running broker, over HTTP, on a thread of its own.
//! - `cli` and `main`: from the command line to an exit code.
//!
//! # Our few own words
//! - *shard*: the connections, sessions and subscriptions of one core.
//! - *turn*: a batch of inputs handled, the outbox drained, then a wait.
//! - *outbox*: what a shard wants done, as data.
//! - *egress*: bytes on their way to one connection.
//! - *mesh*: the channels between the shards of one broker.
//! - *interest*: "some client of mine wants this filter", said by one shard to all others.
//! - *driver*: the loop that turns one shard.
#![cfg_attr(not(feature = "runtime"), forbid(unsafe_code))]
#![deny(unsafe_code)]

#[cfg(feature = "runtime")]
pub mod admin;
pub mod auth;
#[cfg(feature = "runtime")]
pub mod cli;
#[cfg(feature = "runtime")]
pub mod config;
pub mod id;
pub mod limits;
pub mod message;
#[cfg(feature = "runtime")]
mod moving;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod seldom;
pub mod session;
pub mod shard;
pub mod store;
pub mod topic;
#[cfg(feature = "runtime")]
mod transport;
pub mod wire;
