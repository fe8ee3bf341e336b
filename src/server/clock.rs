//! The clock, the boot id and true randomness: the only place where they are read, but for packet
//! stamps.

use std::fs::File;
use std::io::{self, Read};

use cooee_model::moment::Moment;

/// Now.
pub fn now() -> Moment {
    cooee_media::socket::now()
}

/// The kernel's id of this boot; zero where it tells none.
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&hex, 16).unwrap_or_default().to_be_bytes()
}

/// Bytes that nobody can guess.
///
/// # Errors
/// If the kernel's generator cannot be read.
pub fn seed() -> io::Result<[u8; 24]> {
    let mut seed = [0; 24];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
