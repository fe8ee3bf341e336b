//! The same by TLS: who proves itself is heard, anybody else is not.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{ServerConnection as Server, StreamOwned};
use tempfile::TempDir;

use super::*;
use crate::streams::papers;

/// Our files; with `mutual` peers must prove themselves.
fn files(dir: &Path, mutual: bool) -> cooee_config::Tls {
    let put = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name)
    };
    let ca = put("ca.pem", papers::AUTHORITY);
    cooee_config::Tls {
        certificate: put("node.pem", papers::NODE),
        key: put("node.key", papers::NODE_KEY),
        client_ca: mutual.then(|| ca.clone()),
        ca: Some(ca),
    }
}

struct Place {
    ground: Ground,
    hosts: Hosts,
    dir: TempDir,
}

fn place(bind: &str, mutual: bool) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::load(&files(dir.path(), mutual)).unwrap();
    let hosts = Hosts::default();
    let secure = Some((tls, hosts.clone()));
    Place { ground: Ground::over(Transport::Tls, bind, FAST, secure), hosts, dir }
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(papers::AUTHORITY.as_bytes()).unwrap()).unwrap();
    roots
}

fn own(certificate: &str, key: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

fn ring() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A peer that calls; with what it proves itself by, if it does.
fn calls(
    ground: &Ground,
    papers: Option<(&str, &str)>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots());
    let config = match papers {
        Some((certificate, key)) => {
            let (chain, key) = own(certificate, key);
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("127.93.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, ground.connect())
}

/// A peer that is called.
fn listens(certificate: &str, key: &str) -> (TcpListener, Arc<ServerConfig>) {
    let (chain, key) = own(certificate, key);
    let config = ServerConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (TcpListener::bind("127.93.0.2:0").unwrap(), Arc::new(config))
}

fn taken(listener: &TcpListener, config: &Arc<ServerConfig>) -> StreamOwned<Server, TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

#[test]
fn flow_73_by_tls_a_peer_is_heard_and_answered() {
    let at = place("127.93.0.1:0", false);
    let mut peer = calls(&at.ground, None);
    let message = request("OPTIONS", "127.0.0.1:5999");
    peer.write_all(message.as_bytes()).unwrap();
    let (flow, heard) = at.ground.heard();
    assert_eq!((heard, flow.transport), (message, Transport::Tls));
    at.ground.send_by(Transport::Tls, flow.remote, response("127.0.0.1:5999"));
    let mut got = vec![0; response("127.0.0.1:5999").len()];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(text(&got), response("127.0.0.1:5999"));
}

#[test]
fn mutual_tls_hears_who_is_vouched_for_alone() {
    let at = place("127.93.0.1:0", true);
    let message = request("OPTIONS", "127.0.0.1:5999");
    for (count, papers) in [(1, None), (2, Some((papers::ODD, papers::ODD_KEY)))] {
        let mut peer = calls(&at.ground, papers);
        let _ = peer.write_all(message.as_bytes());
        assert!(!matches!(peer.read(&mut [0; 64]), Ok(1..)));
        at.ground.until("it is refused", |g| g.cut("handshake") == count);
    }
    assert!(at.ground.letters.next().is_none());
    let mut peer = calls(&at.ground, Some((papers::PEER, papers::PEER_KEY)));
    peer.write_all(message.as_bytes()).unwrap();
    assert_eq!(at.ground.heard().1, message);
}

#[test]
fn a_peer_that_is_called_must_be_who_it_is_said_to_be() {
    let at = place("127.93.0.1:0", false);
    let invite = request("INVITE", "127.93.0.1");
    // Whom nobody vouches for; and a name that is another's.
    for (certificate, key, name) in [
        (papers::ODD, papers::ODD_KEY, "127.93.0.2"),
        (papers::PEER, papers::PEER_KEY, "sip.other.test:5061"),
    ] {
        let (listener, config) = listens(certificate, key);
        let remote = listener.local_addr().unwrap();
        at.hosts.learn(name, remote);
        at.ground.send_by(Transport::Tls, remote, invite.clone());
        let mut called = taken(&listener, &config);
        assert!(!matches!(called.read(&mut [0; 64]), Ok(1..)));
        assert_eq!(at.ground.given_back(), invite);
    }
    assert_eq!(at.ground.cut("handshake"), 2);
    let (listener, config) = listens(papers::PEER, papers::PEER_KEY);
    let remote = listener.local_addr().unwrap();
    for (round, name) in ["sip.peer.test:5061", "127.93.0.2"].into_iter().enumerate() {
        at.hosts.learn(name, remote);
        at.ground.send_by(Transport::Tls, remote, invite.clone());
        let mut called = taken(&listener, &config);
        let mut got = vec![0; invite.len()];
        called.read_exact(&mut got).unwrap();
        assert_eq!((round, text(&got)), (round, invite.clone()));
        drop(called);
        at.ground.until("the connection is gone", |g| g.connections() == 0);
    }
}

#[test]
fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let at = place("127.93.0.1:0", false);
    let shown = || {
        let mut peer = calls(&at.ground, None);
        peer.conn.complete_io(&mut peer.sock).unwrap();
        peer.conn.peer_certificates().unwrap()[0].clone()
    };
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(shown(), der(papers::NODE));
    std::fs::write(at.dir.path().join("node.pem"), "no certificate").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(shown(), der(papers::NODE));
    std::fs::write(at.dir.path().join("node.key"), papers::AGAIN_KEY).unwrap();
    std::fs::write(at.dir.path().join("node.pem"), papers::AGAIN).unwrap();
    let end = Instant::now() + PATIENCE;
    while shown() != der(papers::AGAIN) {
        assert!(Instant::now() < end, "the old certificate stays");
    }
}

#[test]
fn a_peer_that_never_agrees_is_cut_off() {
    let at = place("127.93.0.1:0", false);
    let mut silent = at.ground.connect();
    assert!(is_closed(&mut silent));
    at.ground.until("it is counted", |g| g.cut("stalled") == 1);
    let mut plain = at.ground.connect();
    plain.write_all(request("OPTIONS", "h").as_bytes()).unwrap();
    at.ground.until("it is counted", |g| g.cut("handshake") == 1);
}
