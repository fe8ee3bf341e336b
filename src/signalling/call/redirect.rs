//! Redirections of B: followed to where the configuration allows, and nowhere else (toll fraud).

use std::net::{IpAddr, SocketAddr};

use crate::call::Call;
use crate::call::context::Cx;
use crate::call::limits::{REDIRECTIONS, TRIES};
use crate::call::peers::Place;
use crate::message::address::{Address, Uri};
use crate::message::name::Name;
use crate::message::text::param;
use crate::message::transport::Transport;
use crate::message::view::Message;

impl Call {
    /// Goes where a redirection leads (RFC 3261, 8.1.3.4). The call keeps its number and its
    /// identity: only the address is taken, and only if it is one, in a network of
    /// `redirect_allow`, and was not called before. `false`: nothing of it may be followed.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>, response: &Message) -> bool {
        if !(300..400).contains(&response.code())
            || cx.core.plan.retry.redirect_allow.is_empty()
            || self.attempt >= TRIES
        {
            return false;
        }
        let allowed = |place: &Place| {
            let ip = place.address.ip().to_canonical();
            cx.core.plan.retry.redirect_allow.iter().any(|net| net.contains(&ip))
        };
        let called = |place: &Place| {
            let peer = place.address.to_string();
            self.account.legs.iter().any(|leg| leg.peer == peer)
        };
        let places = response.list(Name::Contact).filter_map(place_of).take(REDIRECTIONS);
        let ways: Vec<_> = places
            .filter(|place| allowed(place) && !called(place))
            .filter_map(|place| Some((place.authority(), cx.core.flow_to(&place)?)))
            .collect();
        if ways.is_empty() {
            cx.note(self.id, "a redirection leads nowhere that redirect_allow names");
            return false;
        }
        self.tries.lead(ways);
        true
    }
}

/// The address that a Contact names. A host name is none: nobody waits for a look-up.
fn place_of(contact: &[u8]) -> Option<Place> {
    let uri = Uri::read(Address::read(contact)?.uri)
        .filter(|uri| uri.scheme.eq_ignore_ascii_case(b"sip"))?;
    let host = std::str::from_utf8(uri.host).ok()?;
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    let transport = match param(uri.params, "transport") {
        None => Transport::Udp,
        Some(name) => Transport::named(name)?,
    };
    Some(Place::new(transport, SocketAddr::new(ip, uri.port.unwrap_or(transport.port()))))
}
