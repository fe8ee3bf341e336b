//! Finds, opens and makes the head: a preallocated file on tmpfs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;

use crate::error::JournalError;
use crate::format::{HEAD_HEADER, Newer, SLOT, SLOT_AT, Slot};
use crate::ring::Ring;
use crate::scan::Scanner;

/// The head's name in its directory.
const NAME: &str = "head";

/// A head that is open and locked.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Where the spool thread was.
    pub(crate) slot: Slot,
    /// Which of the two copies says so.
    pub(crate) turn: usize,
}

/// The head of the journal `identity` that an earlier run left in one of `dirs`.
pub(crate) fn left(dirs: &[PathBuf], identity: [u8; 16]) -> Result<Option<Head>, JournalError> {
    for dir in dirs.iter().filter(|dir| is_ours(dir)) {
        let path = dir.join(NAME);
        let file = match options().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(JournalError::at(path)(error)),
        };
        lock(&file, &path)?;
        match slot(&file, &path)? {
            Some((turn, slot)) if slot.identity == identity => {
                return Ok(Some(Head { path, file, slot, turn }));
            }
            _ => {
                let _ = file.unlock();
            }
        }
    }
    Ok(None)
}

/// A new head of `bytes` in the first of `dirs` that lies on tmpfs and has the room.
pub(crate) fn make(dirs: &[PathBuf], bytes: u64, identity: [u8; 16]) -> Option<Head> {
    dirs.iter().find_map(|dir| {
        make_in(dir, bytes, identity)
            .inspect_err(|error| {
                tracing::warn!(dir = %dir.display(), %error, "no head of the journal here");
            })
            .ok()
    })
}

fn make_in(dir: &Path, bytes: u64, identity: [u8; 16]) -> io::Result<Head> {
    let mut present = dir;
    while !present.exists() {
        present = present.parent().ok_or(io::ErrorKind::NotFound)?;
    }
    if statfs(present)?.filesystem_type() != TMPFS_MAGIC {
        return Err(io::Error::other("not on tmpfs"));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !is_ours(dir) {
        return Err(io::Error::other("belongs to another user"));
    }
    let path = dir.join(NAME);
    let file = options().create(true).open(&path)?;
    file.try_lock()?;
    if let Ok(Some((_, other))) = slot(&file, &path)
        && other.identity != identity
        && holds_more(&file, other)?
    {
        return Err(io::Error::other("holds records of another journal"));
    }
    file.set_len(0)?;
    let made = i64::try_from(bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
        .and_then(|bytes| posix_fallocate(&file, 0, bytes).map_err(io::Error::from));
    if let Err(error) = made {
        // A half allocated head would take the memory without being of use.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    let ring_bytes = bytes - HEAD_HEADER;
    let slot = Slot { identity, ring_bytes, position: 0, id: 0 };
    for at in SLOT_AT {
        file.write_all_at(&slot.bytes(), at)?;
    }
    Ok(Head { path, file, slot, turn: 0 })
}

/// The later of the two positions in the head, if one of them is whole.
fn slot(file: &File, path: &Path) -> Result<Option<(usize, Slot)>, JournalError> {
    let mut best: Option<(usize, Slot)> = None;
    for (turn, at) in SLOT_AT.into_iter().enumerate() {
        let mut bytes = [0; SLOT];
        if file.read_exact_at(&mut bytes, at).is_err() {
            continue;
        }
        let found = Slot::read(&bytes)
            .map_err(|Newer(found)| JournalError::Newer { path: path.to_owned(), found })?;
        let usable = found.filter(|slot| slot.ring_bytes > 0).map(|slot| (turn, slot));
        best = best.into_iter().chain(usable).max_by_key(|(_, slot)| slot.position);
    }
    Ok(best)
}

/// Whether there are records in the head that are in no segment yet.
fn holds_more(file: &File, slot: Slot) -> io::Result<bool> {
    let ring = Ring::in_file(file.try_clone()?, slot.ring_bytes);
    let mut walk = Scanner::at(slot.position);
    let more = walk.step(&ring.until(slot.position.saturating_add(slot.ring_bytes)))?;
    Ok(more && walk.record().is_some_and(|(raw, _)| raw.id > slot.id))
}

/// Whether `dir` is a directory of this user: anyone may make one in a shared tmpfs.
fn is_ours(dir: &Path) -> bool {
    let user = geteuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == user)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    options
}

/// Takes `file` for this process alone, until it is closed.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    file.try_lock().map_err(|refused| match refused {
        TryLockError::WouldBlock => JournalError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => JournalError::at(path)(error),
    })
}
