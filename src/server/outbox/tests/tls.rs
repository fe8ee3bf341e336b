//! By https: who cannot prove its name gets nothing, who can gets everything.

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

/// 127.91.0.4 says that it is 127.91.0.4. Good for these tests alone, until 2120.
const CERTIFICATE: &str = "\
MIIBWzCCAQGgAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApjb29lZS10ZXN0MCAXDTIw\
MDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAVMRMwEQYDVQQDDApjb29lZS10ZXN0MFkwEwYH\
KoZIzj0CAQYIKoZIzj0DAQcDQgAE+IvDTdDeebxO3K2RiwdbWYGezb6b4gBm+M54iQ1Isi9mE8X2\
2/qUYoXRVu///b1xXNMApg+mmRx7xFT4n8LL1KNAMD4wDwYDVR0RBAgwBocEf1sABDAMBgNVHRMB\
Af8EAjAAMB0GA1UdDgQWBBSyyBEWKdyqb4Gn7RfBREchfdr//zAKBggqhkjOPQQDAgNIADBFAiBe\
IvXo0toBNzrrv3HbAZFm6bg2BHHmm9dHF+YB1f8jTQIhAJ+BHqae8ebb7n43xiyjy7r+HZLp6k2D\
V29aZu+6WRt+";

const ITS_KEY: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnmRmrjlOC+GpRt0+PoK8e7Zbbz/T\
ANg/hqwL3At8SO+hRANCAAT4i8NN0N55vE7crZGLB1tZgZ7NvpviAGb4zniJDUiyL2YTxfbb+pRi\
hdFW7//9vXFc0wCmD6aZHHvEVPifwsvU";

fn certificate() -> CertificateDer<'static> {
    STANDARD.decode(CERTIFICATE).unwrap().into()
}

fn receiver() -> Receiver {
    let key = PrivatePkcs8KeyDer::from(STANDARD.decode(ITS_KEY).unwrap());
    let config = ServerConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key.into())
        .unwrap();
    let listener = std::net::TcpListener::bind("127.91.0.4:0").unwrap();
    Receiver::by_tls(listener, Arc::new(config), |_| say(200))
}

fn trusting(roots: RootCertStore) -> Post {
    let config = ClientConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Post::with(config)
}

fn ground(url: &str) -> Ground {
    let ground = Ground::new(vec![webhook("ops", url)]);
    ground.calls(0..3);
    ground
}

#[test]
fn who_cannot_prove_its_name_gets_nothing() {
    let receiver = receiver();
    let ground = ground(&receiver.url().replace("http:", "https:"));
    let store = ground.store();
    let outbox = Outbox::begin(
        store,
        &ground.webhooks,
        trusting(RootCertStore::empty()),
        Box::new(Unmeasured),
        &ground.bell,
    );
    let outbox = outbox.unwrap();
    until("it is tried", || figures(&outbox, "ops").failed_transport > 0);
    assert_eq!((receiver.events(), ground.tally()), (0, (15, 0, 0)));
    let error = ground.letters().into_iter().find_map(|letter| letter.last_error).unwrap();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn who_proves_its_name_gets_everything() {
    let receiver = receiver();
    let ground = ground(&receiver.url().replace("http:", "https:"));
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let outbox = Outbox::begin(
        ground.store(),
        &ground.webhooks,
        trusting(roots),
        Box::new(Unmeasured),
        &ground.bell,
    );
    let _outbox = outbox.unwrap();
    until("all arrive", || ground.tally() == (0, 0, 15));
    assert_faithful(&receiver.got(), 3, 5);
}
