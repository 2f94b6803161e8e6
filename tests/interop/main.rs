//! Foreign clients against the real broker over real sockets.
//!
//! Duty: start the broker that cargo built, let clients that we did not write talk to it, and compare what they saw.
//! Must not: look into the broker, or judge bytes (tests/conformance does). Neighbours: `scripts/test setup` installs the
//! clients; `paho_suite.py` and `mqttjs_suite.mjs` are the same idea through libraries with callbacks; `matrix` plays each of
//! `features` through every library.
//!
//! `RINGMQ_TEST_BROKER='mosquitto -p {port}'` runs the same tests against another broker, to test the tests. A `{shards}` in
//! it is filled in too; without it each test runs once instead of once for 1, 2 and 4 shards.
#![allow(clippy::disallowed_methods)]

mod broker;
mod client;
mod delivery;
mod features;
mod libraries;
mod matrix;
mod messages;
mod mosquitto;
mod rumqttc_v4;
mod rumqttc_v5;
mod sessions;
mod station;
