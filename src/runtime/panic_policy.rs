//! Panic policy: a panic ends the process, in one line, with the exit code of an internal error.
//!
//! Duty: keep the text of a panic for whoever catches it, and end the process where nobody does. Must not: try to go on: a
//! half-changed shard would hang every barrier of the others. Neighbours: `start` catches what happens in a shard.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use super::failure::Failure;

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic prints one line and ends the process, or is told to `catch`.
pub(super) fn install() {
    panic::set_hook(Box::new(|info| {
        let text = describe(info);
        if IS_CAUGHT.get() {
            TEXT.replace(text);
        } else {
            let failure = Failure::of_panic(text);
            eprintln!("ringmq: {failure}");
            std::process::exit(i32::from(failure.exit_code));
        }
    }));
}

/// Runs `work`; a panic becomes its text.
///
/// # Errors
/// The text of the panic.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    IS_CAUGHT.set(true);
    // Nothing that `work` has touched is used after a panic: the process ends.
    let result = panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| TEXT.take());
    IS_CAUGHT.set(false);
    result
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    format!("{}{place}", text.unwrap_or("panic").replace('\n', " "))
}
