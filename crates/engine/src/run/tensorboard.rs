//! Event files for TensorBoard: the numbers of each epoch, as they come. They contain times, so no manifest lists them.
//!
//! A file is a list of records (TensorFlow's `record_writer`): the length, a checksum of it, the data, a checksum of the
//! data. The data of a record is an `Event` of Protocol Buffers.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::UNIX_EPOCH;

use super::request::Clock;
use crate::error::{Error, Result};
use crate::events::{Event, Observer};
use crate::protobuf::Message;

/// Writes a file for each stage of a run, into a folder of its name: TensorBoard shows it as a run.
pub struct TensorBoard {
    folder: PathBuf,
    clock: Clock,
    state: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    by_stage: BTreeMap<String, File>,
    failure: Option<Error>,
}

impl TensorBoard {
    pub fn new(run: &Path, clock: Clock) -> Self {
        Self { folder: run.join("tensorboard"), clock, state: Mutex::default() }
    }

    /// The first write failure, if there was one.
    pub fn finish(self) -> Result<()> {
        self.state().failure.take().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, Files> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn seconds(&self) -> f64 {
        (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    fn epoch(&self, files: &mut Files, stage: &str, epoch: u32, row: &[(String, f64)]) -> Result<()> {
        if !files.by_stage.contains_key(stage) {
            let file = self.begin(stage)?;
            files.by_stage.insert(stage.to_owned(), file);
        }
        let file = &files.by_stage[stage];
        let record = record(&scalars(self.seconds(), epoch, row));
        // In one write, so that readers see whole records.
        let mut file = file;
        file.write_all(&record).map_err(|error| Error::io("write", &self.folder.join(stage), error))
    }

    /// A new file; a resumed stage continues in another one, which TensorBoard joins by the names of the files.
    fn begin(&self, stage: &str) -> Result<File> {
        let folder = self.folder.join(stage);
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        let begun = self.seconds();
        let name = |number: u64| format!("events.out.tfevents.{:010}.defrost.{number}", begun as u64);
        for number in 0.. {
            let path = folder.join(name(number));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let version = Message::default().double(1, begun).text(3, "brain.Event:2");
                    let written = file.write_all(&record(&version.into_bytes()));
                    return written.map(|()| file).map_err(|error| Error::io("write", &path, error));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("make", &path, error)),
            }
        }
        Err(Error::bug("no free name for a file"))
    }
}

impl Observer for TensorBoard {
    fn event(&self, event: &Event) {
        let Event::EpochFinished { stage, epoch, row, .. } = event else { return };
        let mut files = self.state();
        if let Err(error) = self.epoch(&mut files, stage, *epoch, row) {
            files.failure.get_or_insert(error);
        }
    }
}

/// An event with the numbers of an epoch. `train_loss` and `validation_loss` become `loss/train` and `loss/validation`, so
/// that TensorBoard shows them next to each other.
fn scalars(seconds: f64, epoch: u32, row: &[(String, f64)]) -> Vec<u8> {
    let tag = |name: &str| match name.split_once('_') {
        Some((part @ ("train" | "validation"), metric)) => format!("{metric}/{part}"),
        _ => name.to_owned(),
    };
    let value =
        |(name, value): &(String, f64)| Message::default().text(1, &tag(name)).float(2, *value as f32);
    let shown = row.iter().filter(|(name, value)| name != "epoch" && value.is_finite());
    let values: Vec<Message> = shown.map(value).collect();
    let summary = Message::default().messages(1, &values);
    Message::default().double(1, seconds).int(2, i64::from(epoch)).message(5, &summary).into_bytes()
}

/// A record of a file.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let checksums = [&length[..], data].map(|bytes| masked(checksum(bytes)).to_le_bytes());
    [&length[..], &checksums[0], data, &checksums[1]].concat()
}

/// As TensorFlow stores a checksum: a checksum of data that contains one would be weak.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: records are short.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_castagnoli() {
        // RFC 3720, appendix B.4.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_resumed_stage_continues_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Clock = || UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        let epoch = |epoch| Event::EpochFinished {
            stage: "fit".to_owned(),
            epoch,
            epochs: 2,
            row: vec![("epoch".to_owned(), f64::from(epoch)), ("train_loss".to_owned(), 0.5)],
            best: false,
        };
        for number in 1..=2 {
            let board = TensorBoard::new(folder.path(), clock);
            board.event(&epoch(number));
            board.finish().unwrap();
        }
        let files = fs::read_dir(folder.path().join("tensorboard/fit")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let names = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap());
        let expected =
            ["events.out.tfevents.0000001000.defrost.0", "events.out.tfevents.0000001000.defrost.1"];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        let first = fs::read(&files[0]).unwrap();
        let version = record(&Message::default().double(1, 1000.0).text(3, "brain.Event:2").into_bytes());
        assert!(first.starts_with(&version));
        assert_eq!(&first[version.len()..], record(&scalars(1000.0, 1, &[("train_loss".to_owned(), 0.5)])));
        assert!(String::from_utf8_lossy(&first).contains("loss/train"));
    }
}
