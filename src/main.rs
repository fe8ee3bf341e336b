//! Arguments in, exit code out.
#![allow(unreachable_pub)] // Nothing of a binary can be reached from outside.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::main(cli::Args::parse())
}
