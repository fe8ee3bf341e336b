//! TLS for connections: what we prove ourselves by, whom we believe; both anew when files change.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cooee_config::Tls as Files;
use cooee_signalling::message::address::host_and_port;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::error::Error;

/// What the files held: a change of any of it is a change.
type Print = [u8; 32];

/// Both ends of TLS.
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    files: Files,
    print: Print,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Tls`] names the file that cannot be used.
    pub fn load(files: &Files) -> Result<Self, Error> {
        let print = print(files);
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unfit(&files.key, &e))?;
        let server = ServerConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .map_err(|e| unfit(&files.certificate, &e))?;
        let server = match &files.client_ca {
            Some(ca) => {
                let roots = Arc::new(believed(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, ring()).build();
                server.with_client_cert_verifier(verifier.map_err(|e| unfit(ca, &e))?)
            }
            None => server.with_no_client_auth(),
        };
        let server = server
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|e| unfit(&files.certificate, &e))?;
        let roots = match &files.ca {
            Some(ca) => believed(ca)?,
            None => of_the_system(),
        };
        let client = ClientConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .map_err(|e| unfit(&files.certificate, &e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|e| unfit(&files.certificate, &e))?;
        let (acceptor, connector) = (Arc::new(server).into(), Arc::new(client).into());
        Ok(Self { acceptor, connector, files: files.clone(), print })
    }

    /// The same files, read again if they changed. `None`: they did not.
    pub fn renewed(&self) -> Option<Result<Self, Error>> {
        (print(&self.files) != self.print).then(|| Self::load(&self.files))
    }

    /// For connections that peers open.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// For connections that we open.
    pub fn connector(&self) -> TlsConnector {
        self.connector.clone()
    }
}

/// Agrees on TLS as the one that called; the peer must prove that it is `host`.
pub(super) async fn call(
    connector: TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(connector.connect(name, stream).await?.into())
}

/// The names by which peers' addresses were found: what their certificates must say. An address
/// that was found by no name must be in the certificate itself.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<Mutex<BTreeMap<SocketAddr, String>>>);

/// Addresses whose names are kept. Past it the least is forgotten.
const HOSTS: usize = 65_536;

impl Hosts {
    /// A name, with or without a port, led to this address.
    pub fn learn(&self, host: &str, address: SocketAddr) {
        let name = host_and_port(host.as_bytes()).map_or(host.as_bytes(), |(name, _)| name);
        let name = String::from_utf8_lossy(name);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(address, name.to_owned());
        if known.len() > HOSTS {
            known.pop_first();
        }
    }

    /// Who is to be there.
    pub fn at(&self, address: SocketAddr) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&address).cloned().unwrap_or_else(|| plain(address.ip()))
    }
}

fn plain(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| unfit(path, &e))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| unfit(path, &e))?;
    if found.is_empty() { Err(unfit(path, &"no certificate in it")) } else { Ok(found) }
}

fn believed(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unfit(path, &e))?;
    }
    Ok(roots)
}

/// The authorities of the system. Where there is none nobody is believed, which calls tell.
fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unfit) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(unfit, "no authorities: SIP peers by TLS cannot prove themselves");
    }
    roots
}

fn print(files: &Files) -> Print {
    let mut hash = Sha256::new();
    let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    for path in all.into_iter().chain([files.ca.as_ref()]).flatten() {
        let bytes = std::fs::read(path).unwrap_or_default();
        hash.update(u64::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

fn unfit(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Tls { file: path.to_owned(), why: why.to_string() }
}

fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
