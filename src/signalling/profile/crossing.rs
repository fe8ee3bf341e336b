//! What of A's INVITE may be seen on B: its own words, the headers that cross, and the numbers that
//! must stay behind.

use cooee_model::account::Role;

use crate::message::address::{Address, Uri};
use crate::message::name::Name;
use crate::message::text::lossy;
use crate::message::view::Message;
use crate::profile::decision::{Crossing, Decision, Original, Step};
use crate::profile::header::{is_identity, long_form, may_cross};
use crate::profile::limits;
use crate::profile::offered::Trail;
use crate::profile::plan::Trunk;
use crate::profile::source::flat;

pub(super) fn original(request: &Message) -> Original {
    let address = |name| request.address(name);
    let user = |a: Option<Address<'_>>| {
        a.and_then(|a| Uri::read(a.uri)).map(|u| flat(&lossy(u.user))).unwrap_or_default()
    };
    let display = |a: Option<Address<'_>>| a.map(|a| flat(&a.display_text())).unwrap_or_default();
    let from = address(Name::From);
    let host = from.and_then(|a| Uri::read(a.uri)).map(|u| flat(&lossy(u.host)));
    let to = address(Name::To);
    Original {
        from_user: user(from),
        from_display: display(from),
        from_host: host.unwrap_or_default(),
        to_user: user(to),
        to_display: display(to),
        ruri_user: Uri::read(request.request_uri())
            .map(|u| flat(&lossy(u.user)))
            .unwrap_or_default(),
    }
}

/// Ends of the numbers by which A names the caller, apart from those that B gets anyway.
pub(super) fn shown_by(request: &Message, customer: &str, did: &str) -> Vec<String> {
    let names = [Name::From, Name::AssertedIdentity, Name::PreferredIdentity, Name::RemotePartyId];
    let mut ends: Vec<String> = Vec::new();
    for address in names.into_iter().flat_map(|n| request.list(n)).filter_map(Address::read) {
        let user = Uri::read(address.uri).map(|u| u.user_text()).unwrap_or_default();
        for text in [user, address.display_text()] {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let end = digits.get(digits.len().saturating_sub(8)..).unwrap_or_default().to_owned();
            let known = customer.ends_with(&end) || did.ends_with(&end);
            if end.len() >= 5 && !known && !ends.contains(&end) {
                ends.push(end);
            }
        }
    }
    ends
}

/// Headers of A that cross: what the profile passes and does not strip, nothing that names the
/// caller on a customer-leg.
pub(super) fn crossing(
    trunk: &Trunk,
    request: &Message,
    decision: &Decision,
    trail: &mut Trail<'_>,
) -> Vec<Crossing> {
    let habits = &trunk.profile.behaviour;
    let mut crossing: Vec<Crossing> = Vec::new();
    for (name, written, value) in request.headers() {
        if !habits.pass.hold(name, written) || !may_cross(name, written) {
            continue;
        }
        let why = if trunk.fence.is_secret(written) {
            "is the trunk's secret"
        } else if habits.strip.hold(name, written) {
            "stripped by the profile"
        } else if decision.role == Role::CustomerLeg
            && (is_identity(name, written) || decision.hides(value))
        {
            "names the caller"
        } else if decision.private && is_identity(name, written) {
            "the caller withholds its number"
        } else if crossing.len() >= limits::CROSSING_HEADERS || value.len() > limits::CROSSING_BYTES
        {
            "over the limit"
        } else {
            "passed by the profile"
        };
        let passes = why == "passed by the profile";
        trail.push(|| Step {
            rule: "header".to_owned(),
            saw: long_form(name, written),
            chose: if passes { "crosses" } else { "stays" }.to_owned(),
            why: why.to_owned(),
        });
        if passes {
            let name = if name == Name::Other { lossy(written) } else { name.text().to_owned() };
            crossing.push(Crossing { name, value: value.to_vec() });
        }
    }
    crossing
}
