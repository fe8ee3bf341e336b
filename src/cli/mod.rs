//! One file per verb: arguments in, exit code out.
//!
//! Exit codes: 0 done, 1 there are findings, 2 the call was wrong, 3 something was out of reach.

mod admin;
mod calls;
mod cdr;
mod check;
mod demo;
mod latency;
mod outbox;
mod profile;
mod reload;
mod route;
mod run;
mod running;
mod stored;
mod trunk;

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Bridges calls until told to stop
    Run {
        #[command(flatten)]
        configured: Configured,
    },
    Demo(demo::Args),
    /// Checks a configuration and says everything that is wrong with it
    Check(check::Args),
    /// Lists, shows and tries trunk profiles
    Profile(profile::Args),
    /// Explains where a call would go, and why
    Route(route::Args),
    /// Lists, shows and exports finished calls
    Cdr {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        args: cdr::Args,
    },
    /// Lists letters to webhooks, tries them again or drops them
    Outbox {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        args: outbox::Args,
    },
    /// Shows, resets or exports the latency histograms of a running node
    Latency(latency::Latency),
    Calls(calls::Calls),
    Trunk(trunk::Trunk),
    /// Tells a running node to take no new calls
    Drain(calls::Order),
    /// Takes a drain back: a running node takes new calls again
    Undrain(calls::Order),
    /// Tells a running node to read its configuration again, as SIGHUP does
    Reload(calls::Order),
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "cooee.toml",
        env = "COOEE_CONFIG"
    )]
    config: PathBuf,
}

/// Does what was asked.
pub fn main(args: Args) -> ExitCode {
    match args.verb {
        Verb::Run { configured } => run::run(&configured.config).into(),
        Verb::Demo(args) => demo::run(&args).into(),
        Verb::Check(args) => check::run(&args).into(),
        Verb::Profile(args) => profile::run(&args).into(),
        Verb::Route(args) => route::run(&args).into(),
        Verb::Cdr { configured, args } => match cooee_config::load(&configured.config) {
            Ok(loaded) => cdr::run(args, &loaded.node.data_dir),
            Err(findings) => failed(&findings, 1).into(),
        },
        Verb::Outbox { configured, args } => match cooee_config::load(&configured.config) {
            Ok(loaded) => outbox::run(args, &loaded.node.data_dir),
            Err(findings) => failed(&findings, 1).into(),
        },
        Verb::Latency(latency) => asked(|token, out| latency::run(&latency, token, out)),
        Verb::Calls(calls) => asked(|token, out| calls::run(&calls, token, out)),
        Verb::Trunk(trunk) => asked(|token, out| trunk::run(&trunk, token, out)),
        Verb::Drain(order) => asked(|token, out| calls::drain(&order, token, out)),
        Verb::Undrain(order) => asked(|token, out| calls::undrain(&order, token, out)),
        Verb::Reload(order) => asked(|token, out| calls::reload(&order, token, out)),
    }
}

/// Asks a running node and prints what it says.
fn asked(
    ask: impl FnOnce(Option<&str>, &mut dyn std::io::Write) -> Result<(), admin::Error>,
) -> ExitCode {
    match ask(admin::token().as_deref(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()).into(),
    }
}

/// Says what went wrong.
#[allow(clippy::print_stderr)]
fn failed(error: &dyn std::fmt::Display, code: u8) -> u8 {
    eprintln!("cooee: {error}");
    code
}
