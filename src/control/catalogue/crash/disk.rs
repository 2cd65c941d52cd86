//! A directory that records every step taken on it, and what a power cut may make of them.
//!
//! The rules are those of POSIX and of disks, and no kinder: what has not been flushed may be there
//! or not, each sector of each write for itself and in any order; a new length likewise; a name that
//! was made, moved or replaced is durable only after its directory was flushed, and that flush says
//! nothing of what is in the file. A sector of 512 bytes is never half written.
#![allow(clippy::disallowed_types, reason = "control runs off the reactors")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::RngExt;
use rand::rngs::StdRng;
use redb::StorageBackend;

use super::super::storage::Storage;

const SECTOR: usize = 512;

/// One step. Files go by number, because names change.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
        file: usize,
    },
    FlushNames,
    Write {
        file: usize,
        offset: usize,
        data: Vec<u8>,
    },
    SetLength {
        file: usize,
        length: usize,
    },
    Flush {
        file: usize,
    },
    /// The change of that number begins.
    Begins(usize),
    /// It was acknowledged.
    Returned(usize),
    /// It was refused: nothing has changed.
    Refused,
}

/// What the next steps are to run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Writes and new lengths fail from that step on, and leave no trace: the disk is full.
    Full { from: usize },
    /// That one flush fails; what it was to flush may be on the disk or not.
    Flush { nth: usize },
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    steps: Vec<Step>,
    writes: usize,
    flushes: usize,
    fault: Option<Fault>,
}

/// The directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    /// A directory as a power cut left it.
    pub(super) fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let inner = Inner {
            names: files.keys().cloned().zip(0..).collect(),
            files: files.values().cloned().collect(),
            ..Inner::default()
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// All steps so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().steps.clone()
    }

    /// How many writes and new lengths, and how many flushes there have been.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.0.lock().unwrap();
        (inner.writes, inner.flushes)
    }

    pub(super) fn mark(&self, step: Step) {
        self.0.lock().unwrap().steps.push(step);
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    fn file(&self, number: usize) -> Box<dyn StorageBackend> {
        Box::new(Handle {
            disk: self.clone(),
            number,
        })
    }
}

impl Inner {
    /// Counts a write, or refuses it.
    fn admit(&mut self) -> io::Result<()> {
        let number = self.writes;
        self.writes += 1;
        match self.fault {
            Some(Fault::Full { from }) if number >= from => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Storage for Disk {
    fn path(&self) -> &Path {
        Path::new("/recorded")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn volume_files(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let number = self.0.lock().unwrap().names.get(name).copied();
        Ok(self.file(number.ok_or(io::ErrorKind::NotFound)?))
    }

    /// A file that is there stays the same one, and is emptied.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut inner = self.0.lock().unwrap();
        inner.admit()?;
        let file = match inner.names.get(name).copied() {
            Some(file) => {
                inner.files[file].clear();
                inner.steps.push(Step::SetLength { file, length: 0 });
                file
            }
            None => {
                let file = inner.files.len();
                inner.files.push(Vec::new());
                inner.names.insert(name.to_owned(), file);
                let name = name.to_owned();
                inner.steps.push(Step::Create { name, file });
                file
            }
        };
        drop(inner);
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        let (from, to) = (from.to_owned(), to.to_owned());
        inner.steps.push(Step::Rename { from, to, file });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().unwrap().steps.push(Step::FlushNames);
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    number: usize,
}

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.number].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.disk.0.lock().unwrap();
        let found = inner.files[self.number].get(at(offset)..at(offset) + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.0.lock().unwrap();
        inner.admit()?;
        let (file, length) = (self.number, at(length));
        inner.files[file].resize(length, 0);
        inner.steps.push(Step::SetLength { file, length });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.0.lock().unwrap();
        let number = inner.flushes;
        inner.flushes += 1;
        if inner.fault == Some(Fault::Flush { nth: number }) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        inner.steps.push(Step::Flush { file: self.number });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.0.lock().unwrap();
        inner.admit()?;
        let (file, offset, data) = (self.number, at(offset), data.to_vec());
        put(&mut inner.files[file], offset, &data);
        inner.steps.push(Step::Write { file, offset, data });
        Ok(())
    }
}

fn put(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(data);
}

/// What is on the platter, and what is still on its way there.
#[derive(Debug, Clone, Default)]
pub(super) struct Platter {
    names: BTreeMap<String, usize>,
    pending_names: Vec<Step>,
    files: Vec<FileOnPlatter>,
}

#[derive(Debug, Clone, Default)]
struct FileOnPlatter {
    bytes: Vec<u8>,
    pending: Vec<Step>,
}

/// Which of what is on its way arrives.
pub(super) enum Arrival<'a> {
    Everything,
    Nothing,
    /// Everything, but of the last write only so many sectors.
    Torn(usize),
    /// Each sector, length and name with a likelihood of its own draw.
    Chance(&'a mut StdRng),
}

impl Platter {
    /// A platter as a power cut left it, with nothing on its way.
    pub(super) fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let arrived = |bytes: &Vec<u8>| FileOnPlatter {
            bytes: bytes.clone(),
            pending: Vec::new(),
        };
        Self {
            names: files.keys().cloned().zip(0..).collect(),
            pending_names: Vec::new(),
            files: files.values().map(arrived).collect(),
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Create { file, .. } => {
                self.pending_names.push(step.clone());
                self.files.resize_with(file + 1, FileOnPlatter::default);
            }
            Step::Rename { .. } => self.pending_names.push(step.clone()),
            Step::FlushNames => {
                for step in std::mem::take(&mut self.pending_names) {
                    change_names(&mut self.names, &step);
                }
            }
            Step::Write { file, .. } | Step::SetLength { file, .. } => {
                self.files[*file].pending.push(step.clone());
            }
            Step::Flush { file } => {
                let file = &mut self.files[*file];
                for step in std::mem::take(&mut file.pending) {
                    change_file(&mut file.bytes, &step, |_| true);
                }
            }
            Step::Begins(_) | Step::Returned(_) | Step::Refused => {}
        }
    }

    /// The directory after a power cut.
    pub(super) fn cut(&self, mut arrival: Arrival<'_>) -> BTreeMap<String, Vec<u8>> {
        let likelihood = match &mut arrival {
            Arrival::Chance(rng) => rng.random_range(0.05..0.95),
            _ => 0.0,
        };
        let mut arrives = |sector: usize, is_last: bool| match &mut arrival {
            Arrival::Everything => true,
            Arrival::Nothing => false,
            Arrival::Torn(sectors) => !is_last || sector < *sectors,
            Arrival::Chance(rng) => rng.random_bool(likelihood),
        };
        let mut names = self.names.clone();
        for step in &self.pending_names {
            if arrives(0, false) {
                change_names(&mut names, step);
            }
        }
        let mut cut = BTreeMap::new();
        for (name, number) in names {
            let FileOnPlatter { bytes, pending } = &self.files[number];
            let mut bytes = bytes.clone();
            for (position, step) in pending.iter().enumerate() {
                let is_last = position + 1 == pending.len();
                change_file(&mut bytes, step, |sector| arrives(sector, is_last));
            }
            cut.insert(name, bytes);
        }
        cut
    }
}

/// A rename is of the file that had the name then, whether or not that name has arrived.
fn change_names(names: &mut BTreeMap<String, usize>, step: &Step) {
    match step {
        Step::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Step::Rename { from, to, file } => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        _ => {}
    }
}

fn change_file(bytes: &mut Vec<u8>, step: &Step, mut arrives: impl FnMut(usize) -> bool) {
    match step {
        Step::Write { offset, data, .. } => {
            // Sectors are those of the disk, not of the write.
            let mut done = 0;
            let mut sector = 0;
            while done < data.len() {
                let next = ((offset + done) / SECTOR + 1) * SECTOR - offset;
                let end = next.min(data.len());
                if arrives(sector) {
                    put(bytes, offset + done, &data[done..end]);
                }
                (done, sector) = (end, sector + 1);
            }
        }
        Step::SetLength { length, .. } if arrives(0) => bytes.resize(*length, 0),
        _ => {}
    }
}

/// How many sectors a write touches.
pub(super) fn sectors(step: &Step) -> usize {
    match step {
        Step::Write { offset, data, .. } if !data.is_empty() => {
            (offset + data.len() - 1) / SECTOR - offset / SECTOR + 1
        }
        _ => 0,
    }
}
