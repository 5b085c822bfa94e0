//! Files that are either whole or not there, whenever the process or the machine dies.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::TrainerError;

/// Writes `directory/name` under a temporary name, forces it to disk, and renames it into place.
pub fn write_whole(directory: &Path, name: &str, content: &[u8]) -> Result<(), TrainerError> {
    let written = write_temporary(directory, name, content).and_then(|()| move_into_place(directory, name));
    written.map_err(|error| TrainerError::io("write", &directory.join(name), &error))
}

/// Like `write_whole`, but the file that was there lives on as `previous`. One of the two exists at every moment.
pub fn write_whole_keeping(previous: &str, directory: &Path, name: &str, content: &[u8]) -> Result<(), TrainerError> {
    let path = directory.join(name);
    let written = write_temporary(directory, name, content)
        .and_then(|()| unless_missing(fs::rename(&path, directory.join(previous))))
        .and_then(|()| move_into_place(directory, name));
    written.map_err(|error| TrainerError::io("write", &path, &error))
}

/// Reads `directory/name`; nothing if there is no such file.
pub fn read_if_there(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, TrainerError> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TrainerError::io("read", &path, &error)),
    }
}

/// Removes `directory/name`, and what an interrupted write of it may have left.
pub fn remove(directory: &Path, name: &str) -> Result<(), TrainerError> {
    for path in [temporary(directory, name), directory.join(name)] {
        unless_missing(fs::remove_file(&path)).map_err(|error| TrainerError::io("remove", &path, &error))?;
    }
    sync_directory(directory).map_err(|error| TrainerError::io("sync", directory, &error))
}

fn write_temporary(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(temporary(directory, name))?;
    file.write_all(content)?;
    file.sync_all()
}

fn move_into_place(directory: &Path, name: &str) -> io::Result<()> {
    fs::rename(temporary(directory, name), directory.join(name))?;
    sync_directory(directory)
}

/// Takes a missing file for success.
fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn temporary(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!(".{name}.tmp"))
}

/// A rename or removal survives a power cut only once its directory is on disk.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
