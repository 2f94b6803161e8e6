//! Main: parse, run, exit code.

use std::process::ExitCode;

use ringmq::admin::Admin;
use ringmq::cli::{Command, import, load_again, look, parse_command_line, passwd, why};
use ringmq::config::Config;
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
        Command::Serve(config, arguments) => {
            config.warnings.iter().for_each(|warning| eprintln!("ringmq: {warning}"));
            // What the command line says stays; the files that it names may have changed.
            let mut open = |config: &Config, window| Admin::open(&config.admin, window);
            run(&config, &mut || load_again(&arguments), &mut open)
        }
        Command::Passwd(order) => passwd::run(&order),
        Command::Why(question) => why::answer(&question).map(|text| print!("{text}")),
        Command::Look(order) => look::run(&order),
        Command::Import(order) => import::import(&order),
        Command::Export(order) => import::export(&order),
        Command::Print(text) => {
            print!("{text}");
            Ok(())
        }
    }
}
