//! Admin: what people and programs ask a running broker, over HTTP. Above the runtime, below the command line.
//!
//! One plain thread with an executor of its own, beside the shards: nothing here takes time of a shard but one message for a question
//! that only a shard can answer, and when the thread hangs or ends, the broker goes on.
//!
//! - `place`: where the room is if nobody has said it.
//! - `server`, `stream`: connections, and their bounds. `entry`: who is let in.
//! - `api`: the paths; `asked`: what a request says; `problem`: what is answered when it cannot be; `answer`: the words of both ends.
//! - `overview`, `problems`, `drops`, `clients`, `topics`, `retained`, `configuration`, `trace`: what is answered, by duty; `metrics` for
//!   Prometheus; `page` for a browser; `describe` for programs that read OpenAPI. `sampler`: rates. `pace`: how much
//!   of a shard's time lists take. `change`: what changes something.
//! - `export`: spans for a collector of OpenTelemetry.
//! - `client`: asks a running broker.
//!
//! Must not: change anything unless `admin_allow_changes` says so, or know a secret but the token's digest. Neighbours: `runtime` shows by
//! a `Window` what there is; `main` opens the room, `cli` asks.
#![allow(clippy::disallowed_methods, reason = "this room reads the environment and the clock, away from the shards")]

pub mod answer;
mod api;
mod asked;
mod change;
mod client;
mod clients;
mod configuration;
mod describe;
mod drops;
mod entry;
mod export;
mod metrics;
mod overview;
mod pace;
mod page;
mod place;
mod problem;
mod problems;
mod retained;
mod sampler;
mod server;
mod stream;
mod topics;
mod trace;

use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use self::answer::Explained;
pub use self::client::{Answered, Asking, ask, path_part, watch, why};

use self::export::Export;
use crate::config::{self, AdminAddress, ListenAddress};
use crate::runtime::{Door, DoorFile, Failure, Rooms, Window, open_door, start_beside};

/// The open room. Dropped, it is closed, whoever is in it.
#[derive(Debug)]
pub struct Admin {
    /// Dropped or sent, the thread ends.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _file: DoorFile,
    _export: Option<Export>,
}

impl Admin {
    /// Opens the room that is asked for, if one is; says where it is, or why there is none in the usual place. Spans are exported
    /// without a room, too.
    ///
    /// # Errors
    /// An address that was named cannot be had.
    pub fn open(wanted: &config::Admin, window: Window) -> Result<Rooms, Failure> {
        let started =
            wanted.otlp_endpoint.as_deref().map(|endpoint| Export::start(endpoint, window.clone())).transpose()?;
        let (export, begin) = started.unzip();
        let begin = begin.map(|begin| Box::new(|| begin.begin()) as Box<dyn FnOnce()>);
        let told_of_export = wanted.otlp_endpoint.as_deref().map(|endpoint| format!("spans to {endpoint}"));
        let told = |admin: Option<String>| {
            let told: Vec<_> = admin.into_iter().chain(told_of_export).collect();
            (!told.is_empty()).then(|| told.join("; "))
        };
        let without = |told, export: Option<Export>, begin| {
            let open = export.map(|export| Box::new(export) as Box<dyn Any>);
            Rooms { told, begin, open }
        };
        let opened = match &wanted.address {
            AdminAddress::Nowhere => return Ok(without(told(None), export, begin)),
            AdminAddress::At(address) => open_door(address)?,
            AdminAddress::Usual => match open_usual() {
                Ok(opened) => opened,
                Err(why) => return Ok(without(told(Some(format!("no admin ({why})"))), export, begin)),
            },
        };
        let (door, file, mut place) = opened;
        if wanted.certificate.is_some() {
            place = place.replacen("http://", "https://", 1);
        }
        let (stop, stopped) = oneshot::channel();
        let spans = export.as_ref().map(|export| Arc::clone(&export.spans));
        let thread = start_beside("admin", move || server::serve(door, window, spans, stopped))?;
        let room = Self { stop: Some(stop), thread: Some(thread), _file: file, _export: export };
        Ok(Rooms { told: told(Some(format!("admin on {place}"))), begin, open: Some(Box::new(room)) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing in the thread waits for anything but its executor.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The first of the usual places that can be had.
fn open_usual() -> Result<(Door, DoorFile, String), String> {
    let folder_is_there = |path: &std::path::PathBuf| path.parent().is_some_and(std::path::Path::is_dir);
    let mut why = "there is no folder /run/ringmq, and XDG_RUNTIME_DIR is not set".to_owned();
    for path in place::usual_sockets().into_iter().filter(folder_is_there) {
        match open_door(&ListenAddress::Unix(path)) {
            Ok(opened) => return Ok(opened),
            Err(failure) => why = failure.text,
        }
    }
    Err(why)
}
