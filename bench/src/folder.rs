//! Where a store is that goes with the bench.

use std::{
    env,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::failure::{Done, During};

/// A temporary folder, removed with this value.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// On a disk: `/tmp` is often in memory, where a commit costs nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create() -> Done<Self> {
        let on_disk = PathBuf::from("/var/tmp");
        let parent = match env::var_os("TMPDIR") {
            None if on_disk.is_dir() => on_disk,
            _ => env::temp_dir(),
        };
        tempfile::Builder::new()
            .prefix("renewd-bench-")
            .tempdir_in(&parent)
            .map(Self)
            .during(format!("make a temporary folder in {}", parent.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
