//! An index of images with intact headers, by digest. They are not checked again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::disk;
use crate::digest::Digest;

const MAGIC: &[u8; 16] = b"defrost sounds 1";

/// Above this many entries (64 MiB) the index starts empty.
const MOST: usize = 1 << 21;

/// Digests of intact images. It is only a cache: deleting it costs time, never a result.
pub struct DecodableIndex {
    file: PathBuf,
    known: BTreeSet<Digest>,
    changed: bool,
}

impl DecodableIndex {
    /// Reads the index in `file`. A missing or damaged index starts empty.
    pub fn open(file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        let known = std::fs::read(&file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { file, known, changed: false }
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.known.contains(digest)
    }

    pub fn extend(&mut self, digests: impl IntoIterator<Item = Digest>) {
        let before = self.known.len();
        if before > MOST {
            self.known.clear();
        }
        self.known.extend(digests);
        self.changed |= self.known.len() != before;
    }

    /// Saves new entries for the next process. A failure only costs a second check.
    pub fn save(&mut self) {
        if !self.changed {
            return;
        }
        let mut bytes = MAGIC.to_vec();
        self.known.iter().for_each(|digest| bytes.extend(digest.as_bytes()));
        bytes.extend(Digest::of(&bytes).as_bytes());
        self.changed = disk::write_atomically(&self.file, &bytes).is_err();
    }
}

fn decode(bytes: &[u8]) -> Option<BTreeSet<Digest>> {
    let (body, seal) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() != seal {
        return None;
    }
    let (digests, rest) = body.strip_prefix(MAGIC)?.as_chunks::<32>();
    rest.is_empty().then(|| digests.iter().map(|digest| Digest::from_bytes(*digest)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sound_is_remembered_and_damage_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store/sound.index");
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut index = DecodableIndex::open(&file);
        index.extend([one]);
        index.save();
        let index = DecodableIndex::open(&file);
        assert!(index.contains(&one) && !index.contains(&other));
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(!DecodableIndex::open(&file).contains(&one));
    }
}
