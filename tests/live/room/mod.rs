//! Room: what the admin room of a running broker answers, and what can be changed there.
//!
//! Duty: each path of the API with what it answers, what is wrong and who may; the metrics; one name for each trouble everywhere. Must
//! not: look into the broker from inside. Neighbours: `admin` has who is let in and what hostile requests get; `look` the commands.

pub(crate) mod asking;
mod changing;
mod clients;
mod describing;
mod entering;
mod metrics;
mod names;
mod overview;
mod topics;
