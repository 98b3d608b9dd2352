//! The log file: opened, rotated, opened again when somebody took it away.
//!
//! Every failure ends in the file being closed and opened again with the next lines, so that a full disk, a removed directory or
//! withdrawn rights heal by themselves.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use router_values::Day;

use super::{
    FILE_NAME, LogOptions,
    queue::QueuedLine,
    rotated,
    writer::{Destination, Lost, write_lines},
};

/// Owner and group read it, nobody else: lines may quote what clients sent.
const MODE: u32 = 0o640;

pub(super) struct LogFile {
    dir: PathBuf,
    path: PathBuf,
    keep_days: Option<u32>,
    keep_bytes: Option<u64>,
    rotate_bytes: u64,
    open: Option<Open>,
}

/// The file as it is open.
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// The day of its lines: the name it gets when it is rotated.
    day: Day,
    bytes: u64,
}

impl LogFile {
    pub(super) fn new(dir: &Path, options: &LogOptions) -> Self {
        Self {
            dir: dir.to_owned(),
            path: dir.join(FILE_NAME),
            keep_days: options.keep_days,
            keep_bytes: options.keep_bytes,
            rotate_bytes: options.rotate_bytes,
            open: None,
        }
    }

    /// The file for lines of a day, with room for them.
    fn ready(&mut self, day: Day) -> io::Result<&mut Open> {
        let held = self.open.take().filter(|open| open.is_at(&self.path));
        let mut open = match held {
            Some(open) => open,
            None => self.open_or_create(day)?,
        };
        let full = open.bytes > 0 && open.bytes >= self.rotate_bytes;
        if open.day < day || full {
            open = self.rotate(open, day)?;
        }
        Ok(self.open.insert(open))
    }

    fn open_or_create(&self, day: Day) -> io::Result<Open> {
        fs::create_dir_all(&self.dir)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        let mut bytes = metadata.len();
        // An earlier router may have ended in the middle of a line.
        if bytes > 0 && !ends_a_line(&mut file)? {
            file.write_all(b"\n")?;
            bytes += 1;
        }
        let day = if bytes > 0 {
            Day::of(metadata.modified()?).min(day)
        } else {
            day
        };
        Ok(Open {
            file,
            device: metadata.dev(),
            inode: metadata.ino(),
            day,
            bytes,
        })
    }

    /// Gives the file its day's name and begins another. Where only the renaming fails, the file goes on for this day.
    fn rotate(&self, full: Open, day: Day) -> io::Result<Open> {
        let renamed =
            rotated::free_name(&self.dir, full.day).and_then(|name| fs::rename(&self.path, name));
        if renamed.is_err() {
            return Ok(Open {
                day,
                bytes: 0,
                ..full
            });
        }
        drop(full);
        let open = self.open_or_create(day)?;
        // What cannot be deleted now is tried again at the next rotation; the lines matter more.
        let _ = rotated::prune(&self.dir, day, self.keep_days, self.keep_bytes);
        Ok(open)
    }
}

impl Open {
    /// Whether the path still leads to this file: it may have been deleted, moved away, or replaced.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode)
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Destination for LogFile {
    fn write(&mut self, entries: &[QueuedLine]) -> Result<(), Lost> {
        let mut rest = entries;
        while let Some(first) = rest.first() {
            // A line of yesterday that comes a moment late goes where the day already is.
            let count = rest
                .iter()
                .take_while(|entry| entry.day <= first.day)
                .count();
            let (part, later) = rest.split_at(count);
            let lost = |lines: u64, error| Lost {
                lines: lines + later.len() as u64,
                error,
            };
            let open = self
                .ready(first.day)
                .map_err(|error| lost(part.len() as u64, error))?;
            match write_lines(part, &mut open.file) {
                Ok(bytes) => open.bytes += bytes,
                Err(failed) => {
                    // Opening it again ends a torn line and finds what else has changed.
                    self.open = None;
                    return Err(lost(failed.lines, failed.error));
                }
            }
            rest = later;
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
