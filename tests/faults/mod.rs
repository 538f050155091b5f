//! A disk that fails on command under the real program: what `faults.c` does, and the loss of power.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = include_str!("faults.c");

/// The files of the store.
pub const MAIN: i64 = 1;
pub const WAL: i64 = 2;
pub const SHM: i64 = 4;
/// All that is in the folder.
pub const ALL: i64 = MAIN | WAL | SHM | 8;

const NONE: i64 = -1;

/// What a disk writes at once or not at all.
const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// The disk on which a folder is.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    undo: PathBuf,
    control: PathBuf,
    numbers: File,
    library: PathBuf,
}

/// Which of the writes that were not synced are lost with the power.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of them.
    All,
    /// Some sectors, drawn by this number.
    Some(u64),
}

impl Disk {
    /// The disk of `folder`, which is not there yet. What is needed to make it fail is put into `beside`.
    pub fn of(folder: &Path, beside: &Path) -> io::Result<Self> {
        fs::create_dir_all(beside)?;
        let beside = beside.canonicalize()?;
        let (undo, control) = (beside.join("undo"), beside.join("control"));
        let library = beside.join("faults.so");
        fs::create_dir_all(&undo)?;
        let source = beside.join("faults.c");
        fs::write(&source, SOURCE)?;
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-pthread", "-o"])
            .args([&library, &source])
            .status()?;
        if !compiled.success() {
            return Err(io::Error::other("cc does not compile faults.c"));
        }
        let parent = folder.parent().unwrap_or(Path::new(".")).canonicalize()?;
        let numbers = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .read(true)
            .open(&control)?;
        let disk = Self {
            folder: parent.join(folder.file_name().unwrap_or_default()),
            undo,
            control,
            numbers,
            library,
        };
        disk.set(4, 0)?;
        disk.set(5, 0)?;
        disk.set(6, 0)?;
        disk.heal()?;
        Ok(disk)
    }

    /// What the program is started with.
    pub fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAULTS_FOLDER", &self.folder),
            ("FAULTS_CONTROL", &self.control),
            ("FAULTS_UNDO", &self.undo),
        ]
    }

    /// Files may grow by this many bytes, and then the disk is full.
    pub fn fill(&self, files: i64, left: i64) -> io::Result<()> {
        self.limit(files, 1, left)
    }

    /// So many bytes can be written, and then there are input/output errors.
    pub fn fail_writes(&self, files: i64, left: i64) -> io::Result<()> {
        self.limit(files, 2, left)
    }

    /// So many syncs succeed, and then there are input/output errors.
    pub fn fail_syncs(&self, files: i64, left: i64) -> io::Result<()> {
        self.limit(files, 3, left)
    }

    /// A sync takes so many milliseconds more.
    pub fn slow_down(&self, millis: i64) -> io::Result<()> {
        self.set(6, millis)
    }

    /// Nothing fails any more.
    pub fn heal(&self) -> io::Result<()> {
        for limit in 1..=3 {
            self.set(limit, NONE)?;
        }
        self.set(0, 0)
    }

    /// How many calls have failed.
    pub fn failures(&self) -> io::Result<i64> {
        let mut number = [0; 8];
        self.numbers.read_exact_at(&mut number, 4 * 8)?;
        Ok(i64::from_ne_bytes(number))
    }

    fn limit(&self, files: i64, limit: u64, left: i64) -> io::Result<()> {
        self.set(limit, left)?;
        self.set(0, files)
    }

    fn set(&self, index: u64, number: i64) -> io::Result<()> {
        self.numbers.write_all_at(&number.to_ne_bytes(), index * 8)
    }

    /// Takes back what was written and not synced; no process may have the files open. Gives how many sectors were lost.
    pub fn lose_power(&self, loss: Loss) -> io::Result<u64> {
        let mut lost = 0;
        for entry in fs::read_dir(&self.undo)? {
            let log = entry?.path();
            let file = self.folder.join(log.file_name().unwrap_or_default());
            if file.exists() {
                lost += take_back(&log, &file, loss)?;
            }
            fs::remove_file(log)?;
        }
        // A power cut forgives the errors before it.
        self.set(5, 0)?;
        Ok(lost)
    }
}

/// Finds out, of one file, which pages the disk holds in an older form, and puts that in place.
fn take_back(log: &Path, file: &Path, loss: Loss) -> io::Result<u64> {
    let mut records = io::BufReader::new(File::open(log)?);
    // Pages that were written since the last sync, and pages of which a sync failed: no later one writes them.
    let (mut dirty, mut dropped) = (BTreeMap::new(), BTreeMap::new());
    let mut size = None;
    let mut header = [0; 40];
    while records.read_exact(&mut header).is_ok() {
        let field = |index: usize| {
            let bytes = header[index * 8..][..8].try_into();
            bytes.map_or(0, usize::from_ne_bytes)
        };
        let (start, end, size_before, held) = (field(1), field(2), field(3), field(4));
        match field(0) {
            1 => {
                let mut old = vec![0; held];
                if records.read_exact(&mut old).is_err() {
                    break;
                }
                old.resize(end - start, 0);
                for (index, page) in old.chunks(PAGE).enumerate() {
                    let place = start + index * PAGE;
                    let on_disk = dropped.remove(&place).unwrap_or_else(|| page.to_vec());
                    dirty.entry(place).or_insert(on_disk);
                }
                size.get_or_insert(size_before);
            }
            2 => {
                dirty.clear();
                size = None;
            }
            _ => dropped.append(&mut dirty),
        }
    }
    dirty.append(&mut dropped);

    let file = File::options().read(true).write(true).open(file)?;
    let mut lost = 0;
    for (place, page) in dirty {
        for (index, sector) in page.chunks(SECTOR).enumerate() {
            let at = (place + index * SECTOR) as u64;
            let length = file.metadata()?.len();
            if at < length && loss.takes(at) {
                let within = sector.len().min((length - at) as usize);
                file.write_all_at(&sector[..within], at)?;
                lost += 1;
            }
        }
    }
    if let (Loss::All, Some(size)) = (loss, size) {
        file.set_len(size as u64)?;
    }
    Ok(lost)
}

impl Loss {
    fn takes(self, at: u64) -> bool {
        match self {
            Self::All => true,
            // The finalizer of SplitMix64: as good as a coin, and the same coin each time.
            Self::Some(seed) => {
                let mut z = (seed ^ at).wrapping_add(0x9e37_79b9_7f4a_7c15);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (z ^ (z >> 31)) & 1 == 0
            }
        }
    }
}
