//! The binary: parses the command line and hands over to `windtunnel::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    windtunnel::cli::main()
}
