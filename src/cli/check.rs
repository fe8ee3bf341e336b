//! `cooee check`: everything that is wrong with a configuration, in one go.

use std::io::{self, Write};
use std::path::PathBuf;

use cooee_config::finding::{Finding, Findings};
use cooee_config::{Loaded, load};
use serde_json::json;

use crate::cli::route::{columns, done};

/// Arguments of `cooee check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, default_value = "cooee.toml", env = "COOEE_CONFIG")]
    config: PathBuf,
    /// Prints findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks a configuration; the exit code: 0 a node runs on it, 1 it does not.
pub fn run(args: &Args) -> u8 {
    done(check(args, &mut io::stdout().lock()))
}

fn check(args: &Args, out: &mut dyn Write) -> io::Result<u8> {
    let loaded = load(&args.config);
    let findings = match &loaded {
        Ok(loaded) => &loaded.notes,
        Err(Findings(findings)) => findings,
    };
    let errors = findings.iter().filter(|f| !f.is_note()).count();
    if args.json {
        let ok = errors == 0;
        writeln!(out, "{:#}", json!({ "ok": ok, "errors": errors, "findings": findings }))?;
        return Ok(u8::from(!ok));
    }
    // Errors last: they are what the eye should meet.
    for finding in findings.iter().filter(|f| f.is_note()) {
        writeln!(out, "{finding}")?;
    }
    for finding in findings.iter().filter(|f| !f.is_note()) {
        writeln!(out, "{finding}")?;
    }
    let notes = findings.iter().filter(|f: &&Finding| f.is_note()).count();
    if let Ok(loaded) = &loaded {
        summary(loaded, out)?;
        writeln!(out, "\n{}: a node runs on it ({notes} notes)", args.config.display())?;
        return Ok(0);
    }
    writeln!(out, "\n{}: {errors} errors, {notes} notes", args.config.display())?;
    Ok(1)
}

fn summary(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    let plan = &loaded.plan;
    let trunks = plan.trunks.iter().map(|trunk| {
        let allow: Vec<String> = trunk.allow.iter().map(ToString::to_string).collect();
        let peers: Vec<String> = trunk.peers.iter().map(|p| p.authority()).collect();
        vec![
            trunk.name.clone(),
            trunk.profile.name.clone(),
            trunk.profile.status.clone(),
            allow.join(" "),
            peers.join(" "),
        ]
    });
    writeln!(out)?;
    columns(out, &["trunk", "profile", "checked", "calls from", "calls to"], trunks.collect())?;
    let routes = plan.routes.iter().map(|route| {
        let from = if route.from.is_empty() { "any trunk" } else { &route.from };
        let chain: Vec<String> = route.chain.iter().map(|hop| hop.to.to_string()).collect();
        vec![
            route.name.clone(),
            route.role.name().to_owned(),
            from.to_owned(),
            chain.join(", then "),
        ]
    });
    writeln!(out)?;
    columns(out, &["route", "role", "from", "to"], routes.collect())?;
    let owned = plan.dids.iter().filter(|d| d.owned).count();
    let (first, last) = loaded.media.ports;
    let calls = (u32::from(last) - u32::from(first) + 1) / 4;
    writeln!(out, "\nnumbers of ours: {owned}, default +{}", plan.caller_id.default)?;
    let bypass = plan.settings.media_bypass;
    let bypass = if bypass { ", unused: media goes past us" } else { "" };
    writeln!(out, "media ports {first}-{last}: {calls} calls at a time{bypass}")?;
    told(loaded, out)
}

/// Who is told of calls, and who may tell us.
fn told(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    for webhook in &loaded.webhooks {
        let events = match webhook.events.as_slice() {
            [] => "every event".to_owned(),
            some => some.join(" "),
        };
        // What follows the host is often a secret.
        let host = webhook.url.split('/').nth(2).unwrap_or_default();
        writeln!(out, "webhook {}: {events} to {host}", webhook.name)?;
    }
    let Some(at) = loaded.admin.hooks_bind else { return Ok(()) };
    for portal in &loaded.plan.portals {
        let lines = loaded.plan.trunks.iter().filter_map(|trunk| {
            let line = trunk.portal.as_ref().filter(|line| line.portal == portal.id)?;
            Some(format!("{} ({})", line.line, trunk.name))
        });
        let lines = lines.collect::<Vec<_>>().join(", ");
        writeln!(out, "portal {}: lines {lines}; posts to {at}/hooks/bitrix24", portal.id)?;
    }
    Ok(())
}
