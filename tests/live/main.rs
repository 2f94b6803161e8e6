//! Live: the real binary from outside, with real files, sockets, signals and programs of others, in one test binary.
//!
//! Duty: what only a running broker can show: its command lines, configuration, transports, admin room, store and metrics. Must not:
//! test what virtual time shows better (`conformance`, `sim`), or rely on being alone in the process: tests run side by side, so each
//! has a `Folder`, free ports and brokers of its own, and changes nothing of this process (more open files may be allowed, never
//! fewer). Neighbours: `hostile`, `kills` and `interop` are binaries of their own, as they measure or are run alone; `hostile` and
//! `dashboard` include `broker` and `client` by path, `dashboard` also `folder`.
//!
//! What all of them use:
//! - `broker`: the binary under test; `client`: one socket that speaks MQTT; `packets`: the words of it, which are `conformance`'s.
//! - `folder`: files of a test; `papers`: certificates; `program`: programs of others, and addresses for them; `http`: one question.
//! - `mosquitto`: a real Mosquitto.
//!
//! What is tested:
//! - `process`: start, refusal and end; `configuration`: files of Mosquitto's and its own; `passwords`: password files, both ways.
//! - `listeners`: TLS, WebSocket, Unix sockets, proxies, reloads; `judges`: tokens, and an authenticator over HTTP.
//! - `isolation`: one client's panic or flood beside others; `full_disk`: a store without room; `moving`: from Mosquitto and back.
//! - `admin`: who is let in to the admin room; `room`: its API, path by path; `look`: the commands that ask it.
//! - `prometheus`: metrics, rules and panels with a real Prometheus; `spans`: a collector of OpenTelemetry.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

mod broker;
mod client;
mod folder;
mod http;
mod mosquitto;
#[allow(dead_code, reason = "`conformance` says more than is said here")]
#[path = "../conformance/packets.rs"]
mod packets;
mod papers;
mod program;

mod admin;
mod configuration;
mod full_disk;
mod isolation;
mod judges;
mod listeners;
mod look;
mod moving;
mod passwords;
mod process;
mod prometheus;
mod room;
mod spans;
