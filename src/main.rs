//! Main: parse, run, exit code.

use std::process::ExitCode;

use ringmq::cli::{Command, parse_command_line};
use ringmq::runtime::{Failure, run};

fn main() -> ExitCode {
    match parse_command_line().and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringmq: {failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(config, _) => {
            config.warnings.iter().for_each(|warning| eprintln!("ringmq: {warning}"));
            run(&config)
        }
        Command::Print(text) => {
            print!("{text}");
            Ok(())
        }
    }
}
