//! Main: parse, run, exit code.

use std::process::ExitCode;

use ringmq::cli::{Command, parse_command_line, passwd, why};
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
        Command::Serve(config) => run(&config),
        Command::Passwd(order) => passwd::run(&order),
        Command::Why(question) => why::answer(&question).map(|text| print!("{text}")),
        Command::Print(text) => {
            print!("{text}");
            Ok(())
        }
    }
}
