//! A scripted peer talks to shards in virtual time: one conversation per test, one file per chapter of the protocol.
//!
//! Duty: prove statements of the two specifications (`[MQTT-x]` of 5.0, `[v3.1.1 MQTT-x]` of 3.1.1) and rows of the case
//! list on whole shards. Must not: need sockets, threads or a clock. Neighbours: `broker` is the world around the shards,
//! `peer` one client in it, `packets` the words they say; `scripts/conformance` reads the ids in the doc lines.

mod broker;
#[path = "../disk/mod.rs"]
mod disk;
mod packets;
mod peer;
mod words;

mod authentication;
mod back_pressure;
mod bounds;
mod budget;
mod capabilities;
mod connect;
mod counters;
mod disconnect;
mod durable;
mod egress;
mod events;
mod expiry;
mod explanations;
mod flow_control;
mod hostile;
mod hostile_rows;
mod identity;
mod keep_alive;
mod ledger;
mod levels;
mod look;
mod offers;
mod order;
mod packet_size;
mod ping;
mod properties;
mod publish;
mod qos;
mod replay;
mod resend;
mod retained;
mod rights;
mod runs;
mod script;
mod session;
mod shared;
mod subscribe;
mod taps;
mod unsubscribe;
mod warrants;
mod will;
