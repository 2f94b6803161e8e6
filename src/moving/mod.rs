//! Moving: what one broker keeps, as another one takes it.
//!
//! Duty: records in words that any broker understands (`record`), from and to those of the store (`keeping`); Mosquitto's file, read
//! (`mosquitto`) and written (`copy`) over the same pieces (`chunk`). Must not: touch a file, a clock or a store. Neighbours: `cli/import`
//! carries what it is told to, `runtime/copying` keeps Mosquitto's file beside the store.

mod chunk;
mod copy;
#[cfg(test)]
mod copy_tests;
mod keeping;
pub(crate) mod mosquitto;
#[cfg(test)]
mod mosquitto_tests;
mod record;

pub(crate) use copy::Chunks;
pub(crate) use keeping::{Kept, Tally, records};
pub(crate) use record::Record;
