//! Parse, run, print, exit code. Must not decide anything else. Neighbour: `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmq_loadgen::cli::main(std::env::args_os())
}
