//! Everything that the demo runs on: addresses on loopback, a folder, a configuration, the
//! simulators. All of it is gone when the demo ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use cooee_config::Loaded;
use cooee_config::secrets::Surroundings;
use cooee_sim::clock::Pace;
use cooee_sim::portal::{self, Portal};
use cooee_sim::receiver::{self, Receiver};
use cooee_sim::truth::Book;
use cooee_sim::unitalk::{self, Unitalk};
use cooee_sim::voximplant::{self, Line, Voximplant};
use tempfile::TempDir;

/// The account's host: realm of the challenges, host of the identities on B.
pub(super) const REALM: &str = "ip.b24-demo.example";

const CONFIGURATION: &str = include_str!("cooee.toml");
const TOKEN: &str = "application-token-of-the-demo";
const MEMBER: &str = "member-of-the-demo";
const KEY: &[u8] = b"webhook-key-of-the-demo-32-bytes";
/// The same as base64, as Standard Webhooks write it.
const SECRET: &str = "whsec_d2ViaG9vay1rZXktb2YtdGhlLWRlbW8tMzItYnl0ZXM=";

/// Each seventh event is answered 500 although it was taken, so that it comes again.
const FAILS_EACH: u32 = 7;

/// Shortest and longest delay of the portal's queue, milliseconds.
const DELAY_MS: (u64, u64) = (40, 350);

/// Where everything is, and the simulators.
#[derive(Debug)]
pub(super) struct World {
    pub(super) admin: SocketAddr,
    pub(super) book: Book,
    pub(super) unitalk: Unitalk,
    pub(super) receiver: Receiver,
    /// The third number of all addresses: 127.10.`block`.x.
    block: u8,
    data: TempDir,
    head: TempDir,
}

impl World {
    /// Finds free addresses and starts the simulators on them.
    pub(super) async fn new(pace: Pace) -> io::Result<Self> {
        let data = tempfile::Builder::new().prefix("cooee-demo-").tempdir()?;
        let head = head_dir(data.path())?;
        let book = Book::default();
        let (block, unitalk) = dialer(pace, &book).await?;
        let url = format!("http://{}/hooks/bitrix24", at(block, 1, 8061));
        let settings = portal::Settings {
            url,
            token: TOKEN.to_owned(),
            member_id: MEMBER.to_owned(),
            delay_ms: DELAY_MS,
            loss: 0,
            twice: 0,
            seed: 4,
        };
        let portal = Portal::start(settings, book.clone());
        let line = |login: &str, challenge| {
            let password = format!("password-of-{login}");
            Line { login: login.to_owned(), password, challenge }
        };
        let settings = voximplant::Settings {
            sip: at(block, 3, 5060),
            media: at(block, 4, 0).ip(),
            realm: REALM.to_owned(),
            lines: vec![line("sip12", 407), line("sip13", 401)],
            white_list: Vec::new(),
            users: vec!["67".to_owned(), "71".to_owned(), "83".to_owned()],
            pace,
        };
        Voximplant::start(settings, portal, book.clone()).await?;
        let address = at(block, 6, 8062);
        let settings = receiver::Settings { address, key: KEY.to_vec(), fails_each: FAILS_EACH };
        let receiver = Receiver::start(settings).await?;
        Ok(Self { admin: admin_address()?, book, unitalk, receiver, block, data, head })
    }

    /// The configuration of the node between the simulators.
    pub(super) fn configuration(&self) -> Result<Loaded, cooee_config::finding::Findings> {
        let path = |path: &Path| path.display().to_string();
        let text = CONFIGURATION
            .replace("DATA", &path(self.data.path()))
            .replace("HEAD", &path(self.head.path()))
            .replace("ADMIN", &self.admin.to_string())
            .replace("TOKEN", TOKEN)
            .replace("MEMBER", MEMBER)
            .replace("SECRET", SECRET)
            .replace("REALM", REALM)
            .replace("NET", &format!("127.10.{}", self.block));
        let around = Surroundings::new(self.data.path(), |_| None);
        cooee_config::load_str(&text, "the demo's configuration", &around)
    }

    /// Chooses another address for the admin API.
    pub(super) fn move_admin(&mut self) -> io::Result<()> {
        self.admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(())
    }

    /// Where the bridge speaks SIP.
    pub(super) fn bridge(&self) -> SocketAddr {
        at(self.block, 1, 5060)
    }
}

fn at(block: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 10, block, host)), port)
}

/// The dialer takes the first block of addresses that nobody has: several demos run side by side.
async fn dialer(pace: Pace, book: &Book) -> io::Result<(u8, Unitalk)> {
    for block in 0..=u8::MAX {
        let sip = at(block, 2, 5060);
        let (media, bridge) = (at(block, 5, 0).ip(), at(block, 1, 5060));
        let settings = unitalk::Settings { sip, media, bridge, pace };
        match Unitalk::bind(settings, book.clone()).await {
            Ok(unitalk) => return Ok((block, unitalk)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The usual address of the admin API, or another one where it is taken.
fn admin_address() -> io::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 8060));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(usual).or_else(|_| TcpListener::bind(any))?.local_addr()
}

/// The journal's head belongs on tmpfs, where there is one with room.
fn head_dir(data: &Path) -> io::Result<TempDir> {
    let shm = PathBuf::from("/dev/shm");
    let new = |dir: &Path| tempfile::Builder::new().prefix("cooee-demo-").tempdir_in(dir);
    new(&shm).or_else(|_| new(data))
}
