//! The way back of a copy: made ready beside its place, seen by nobody, and put there when it is complete.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use entity::setting;
use sea_orm::{ConnectOptions, Database};

use crate::{
    backup::{CopyError, create, fault},
    folder::{self, folder_of},
    sqlite,
};

/// What SQLite keeps beside a store that is open, or was not closed.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A copy on the way to its place. Unless it arrives, nothing is left of it.
#[derive(Debug)]
pub struct Arriving {
    /// Where it is made ready.
    file: PathBuf,
    to: PathBuf,
}

/// Copies `from` to where it is made ready for the place that `url` names, at which there must be no store, nor anything
/// that is left of one.
///
/// # Errors
/// When the place is not free, or `from` is no copy of a store.
pub fn stage(from: &Path, url: &str) -> Result<Arriving, CopyError> {
    let to = sqlite::file_of(url).ok_or(CopyError::NoFile)?;
    let mut header = [0; 16];
    let read = fs::File::open(from).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(fault(from, source));
        }
        Ok(()) if header == *b"SQLite format 3\0" => {}
        _ => return Err(CopyError::NotAStore(from.to_owned())),
    }
    // A file that was copied by other means, and is not complete without them.
    nothing_beside(from)?;
    nothing_at(&to)?;
    if folder::is_in_use(folder_of(&to)).map_err(|source| fault(&to, source))? {
        return Err(CopyError::InUse(folder_of(&to).to_owned()));
    }
    let arriving = Arriving {
        file: beside(&to, ".restoring"),
        to,
    };
    // Of an earlier attempt that was killed.
    arriving.remove()?;
    create(&arriving.file)?;
    let copy = || {
        fs::copy(from, &arriving.file)?;
        fs::set_permissions(&arriving.file, fs::Permissions::from_mode(0o600))
    };
    copy().map_err(|source| fault(&arriving.file, source))?;
    Ok(arriving)
}

/// Whether a store of renewd is in the file that `url` names.
///
/// # Errors
/// When it cannot be read.
pub async fn is_a_store(url: &str) -> Result<bool, CopyError> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await?;
    let claimed = setting::master_key(&db).await;
    db.close().await?;
    Ok(matches!(claimed, Ok(Some(_))))
}

impl Arriving {
    /// Opens it where it is made ready.
    pub fn url(&self) -> String {
        let mut url = "sqlite://".to_owned();
        for byte in self.file.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    url.push(char::from(*byte));
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url + "?mode=rw"
    }

    /// Puts it in its place, closed as it is by now. Gives the place.
    ///
    /// # Errors
    /// When something has come there meanwhile.
    pub fn arrive(self) -> Result<PathBuf, CopyError> {
        nothing_beside(&self.file)?;
        nothing_at(&self.to)?;
        let place = || {
            fs::File::open(&self.file)?.sync_all()?;
            // A link, which replaces nothing.
            fs::hard_link(&self.file, &self.to)?;
            fs::File::open(folder_of(&self.to))?.sync_all()
        };
        place().map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => CopyError::Exists(self.to.clone()),
            _ => fault(&self.to, source),
        })?;
        Ok(self.to.clone())
    }

    fn remove(&self) -> Result<(), CopyError> {
        let beside = BESIDE.map(|end| beside(&self.file, end));
        for file in beside.iter().chain([&self.file]) {
            match fs::remove_file(file) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(fault(file, source));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // The next attempt removes it, if this does not.
        let _ = self.remove();
    }
}

/// Whether anything is there: a link that leads nowhere, too, for whoever opens it makes what it leads to.
fn is_there(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
}

fn nothing_at(to: &Path) -> Result<(), CopyError> {
    if is_there(to) {
        return Err(CopyError::Exists(to.to_owned()));
    }
    nothing_beside(to)
}

fn nothing_beside(store: &Path) -> Result<(), CopyError> {
    let files: Vec<_> = BESIDE
        .iter()
        .map(|end| beside(store, end))
        .filter(|file| is_there(file))
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    Err(CopyError::Leftovers {
        files,
        beside: store.to_owned(),
    })
}

fn beside(store: &Path, end: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(end);
    name.into()
}
