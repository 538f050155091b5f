//! A consistent copy of the embedded store.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use tokio::time::Instant;

use crate::{Store, deadline};

/// How long a copy may take: as long as it takes for a very large store.
const COPY: Duration = Duration::from_hours(6);

/// Why a copy was not made, or not put in place.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0} exists already: nothing was written over it")]
    Exists(PathBuf),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{} beside {beside}: SQLite would take what is in there for a part of it. Move away what belongs to another store",
        list(.files)
    )]
    Leftovers {
        files: Vec<PathBuf>,
        beside: PathBuf,
    },
    #[error("a process has a store in {0} open: end it first")]
    InUse(PathBuf),
    #[error("{0} is not the copy of a store")]
    NotAStore(PathBuf),
    #[error("cannot copy the store: {0}")]
    Database(#[from] DbErr),
    #[error(
        "database_url names no file: the copies of a database server are made by its own tools"
    )]
    NoFile,
}

impl Store {
    /// Copies the store, as it is at one moment, into a new file that its owner alone reads. Requests go on
    /// meanwhile.
    ///
    /// # Errors
    /// When the store is a server's, or the file exists, or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), CopyError> {
        if self.reader.get_database_backend() != DbBackend::Sqlite {
            return Err(CopyError::NoFile);
        }
        create(to)?;
        let copy = self.reader.execute_raw(Statement::from_sql_and_values(
            self.reader.get_database_backend(),
            // Takes an empty file as well as none.
            "VACUUM INTO ?",
            [to.display().to_string().into()],
        ));
        let copied = deadline::until(Instant::now() + COPY, copy).await;
        match copied.and_then(|_| sync(to)) {
            Ok(()) => Ok(()),
            Err(error) => {
                // Not left behind to be mistaken for a copy.
                let _ = fs::remove_file(to);
                Err(error.into())
            }
        }
    }
}

pub(super) fn create(path: &Path) -> Result<(), CopyError> {
    let make = || {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)?;
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map(|_| ())
    };
    make().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists(path.to_owned()),
        _ => fault(path, source),
    })
}

fn sync(path: &Path) -> Result<(), DbErr> {
    let file = fs::File::open(path).and_then(|file| file.sync_all());
    file.map_err(|error| DbErr::Custom(error.to_string()))
}

pub(super) fn fault(path: &Path, source: io::Error) -> CopyError {
    CopyError::File {
        path: path.to_owned(),
        source,
    }
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let verb = if names.len() == 1 { "lies" } else { "lie" };
    format!("{} {verb}", names.join(" and "))
}
