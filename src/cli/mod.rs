//! One file per verb: arguments in, exit code out.
//!
//! Exit codes: 0 done, 1 there are findings, 2 the call was wrong, 3 something was out of reach.

pub mod latency;
pub mod run;

use clap::{Parser, Subcommand};

/// SIP trunk bridge between the Unitalk dialer and Bitrix24 telephony on Voximplant.
#[derive(Debug, Parser)]
#[command(name = "cooee", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bridges calls until told to stop.
    Run(run::Args),
    /// Shows, resets or exports the latency histograms of a running node.
    Latency(latency::Latency),
}

/// Does what was asked; the exit code.
pub fn main(args: Args) -> u8 {
    match args.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Latency(args) => {
            let token = std::env::var(latency::TOKEN_VARIABLE).ok();
            said(latency::run(&args, token.as_deref(), &mut std::io::stdout().lock()))
        }
    }
}

/// Nothing more to say, or what was out of reach.
#[allow(clippy::print_stderr)]
fn said<E: std::fmt::Display>(result: Result<(), E>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("cooee: {error}");
            3
        }
    }
}
