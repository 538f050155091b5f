//! The folder of an embedded store, and which processes have that store open.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    time::Duration,
};

use sea_orm::DbErr;
use tokio::time::{Instant, sleep};

use crate::deadline;

/// How long until the folder is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// A process that has come to a folder, and may open the store.
#[derive(Debug)]
pub struct Entered {
    /// `None` where the file system has no locks.
    folder: Option<File>,
    /// Whether nobody else has the store open; who comes meanwhile, waits.
    pub is_first: bool,
}

/// The folder that a file is in.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a process has a store in the folder open.
pub fn is_in_use(folder: &Path) -> io::Result<bool> {
    match File::open(folder) {
        Ok(folder) => Ok(matches!(folder.try_lock(), Err(TryLockError::WouldBlock))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Enters alone, as the first one, or else when the first one has let the others in.
///
/// # Errors
/// When the first one does not do that in time.
pub async fn enter(folder: &Path, timeout: Duration) -> Result<Entered, DbErr> {
    let without_locks = Entered {
        folder: None,
        is_first: true,
    };
    let Ok(folder) = File::open(folder) else {
        return Ok(without_locks);
    };
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        let is_first = match folder.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) if folder.try_lock_shared().is_ok() => false,
            Err(TryLockError::WouldBlock) => {
                sleep(PAUSE).await;
                continue;
            }
            // A file system without locks has none to respect.
            Err(TryLockError::Error(_)) => return Ok(without_locks),
        };
        return Ok(Entered {
            folder: Some(folder),
            is_first,
        });
    }
    Err(deadline::over())
}

impl Entered {
    /// Lets others in. Until the file is closed they know that the store is open.
    ///
    /// # Errors
    /// When another process has taken the folder for itself at this moment, and keeps it.
    pub async fn share(self, timeout: Duration) -> Result<Option<File>, DbErr> {
        let Some(folder) = self.folder else {
            return Ok(None);
        };
        let deadline = Instant::now() + timeout;
        while folder.try_lock_shared().is_err() {
            if Instant::now() > deadline {
                return Err(deadline::over());
            }
            sleep(PAUSE).await;
        }
        Ok(Some(folder))
    }
}
