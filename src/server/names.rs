//! Where trunks are: their peers' names, looked up at start and again every minute.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use cooee_signalling::call::peers::Place;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::{Peer, Plan, Trunk};
use cooee_signalling::switch::input::Input;

use crate::inbox::Inbox;
use crate::streams::tls::Hosts;

/// How often names are looked up again.
pub const EVERY: Duration = Duration::from_secs(60);

/// The addresses of one trunk's peers that we can speak to. Peers are tried in the order of the
/// configuration; the addresses of one name share its calls.
pub fn look_up(peers: &[Peer]) -> Vec<Place> {
    let mut found = Vec::new();
    for (priority, peer) in (0_u16..).zip(peers) {
        let port = peer.port.unwrap_or(peer.transport.port());
        let place = |address| Place {
            host: peer.authority(),
            priority,
            ..Place::new(peer.transport, address)
        };
        if let Ok(ip) = peer.host.parse::<IpAddr>() {
            found.push(place(SocketAddr::new(ip, port)));
            continue;
        }
        match (peer.host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => found.extend(addresses.map(place)),
            Err(error) => tracing::warn!(host = peer.host, %error, "a trunk's name leads nowhere"),
        }
    }
    found
}

/// The addresses of each trunk of a plan, its registrar's among them.
pub fn look_up_all(plan: &Plan) -> Vec<Vec<Place>> {
    plan.trunks.iter().map(|trunk| look_up(&peers(trunk))).collect()
}

fn peers(trunk: &Trunk) -> Vec<Peer> {
    let registrars = trunk.registrations.iter().map(|r| &r.registrar).take(1).cloned();
    trunk.peers.iter().cloned().chain(registrars).collect()
}

/// Looks all names up and tells the engine. A lookup that finds nothing changes nothing.
/// `false`: there are trunks to be called and none of them has an address.
pub fn tell(plan: &Arc<Plan>, inbox: &Inbox, hosts: &Hosts) -> bool {
    let (mut wanted, mut found) = (false, false);
    for (trunk, settings) in plan.trunks.iter().enumerate() {
        let peers = peers(settings);
        wanted |= !peers.is_empty();
        let peers = look_up(&peers);
        for place in peers.iter().filter(|p| p.transport == Transport::Tls) {
            hosts.learn(&place.host, place.address);
        }
        if !peers.is_empty() {
            found = true;
            inbox.push(Input::Peers { trunk, peers });
        }
    }
    found || !wanted
}
