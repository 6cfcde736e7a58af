//! The digests of the inputs of stages. Each file and each data set is digested once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Dataset;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::stage::Digester;
use crate::store::InputIndex;

/// Digests inputs, each once. Unchanged ones come from the index, unless `rehash` is set.
pub struct InputDigester<'a> {
    index: &'a InputIndex,
    rehash: bool,
    /// Each file of weights.
    files: HashMap<PathBuf, Digest>,
    /// Each data set as found, and with digests, because stages share data sets.
    datasets: Vec<(Arc<Dataset>, Arc<Dataset>)>,
}

impl<'a> InputDigester<'a> {
    pub fn new(index: &'a InputIndex, rehash: bool) -> Self {
        Self { index, rehash, files: HashMap::new(), datasets: Vec::new() }
    }

    /// Saves what is new in the index.
    pub(super) fn save(&self) {
        self.index.save();
    }

    fn digests(&self, paths: &[PathBuf]) -> Result<Vec<Digest>> {
        if self.rehash { self.index.rehash(paths) } else { self.index.digests(paths) }
    }
}

impl Digester for InputDigester<'_> {
    fn file(&mut self, path: &Path) -> Result<Digest> {
        if let Some(known) = self.files.get(path) {
            return Ok(*known);
        }
        let digest = self.digests(&[path.to_owned()])?.pop();
        let digest = digest.ok_or_else(|| Error::bug("a file without a digest"))?;
        self.files.insert(path.to_owned(), digest);
        Ok(digest)
    }

    fn files(&mut self, paths: &[PathBuf]) -> Result<Vec<Digest>> {
        self.digests(paths)
    }

    fn images(&mut self, found: &Arc<Dataset>) -> Result<Arc<Dataset>> {
        let known = self.datasets.iter().find(|(other, _)| Arc::ptr_eq(other, found));
        if let Some((_, digested)) = known {
            return Ok(Arc::clone(digested));
        }
        let paths: Vec<PathBuf> = (0..found.samples.len()).map(|index| found.file(index)).collect();
        let mut dataset = Dataset::clone(found);
        for (sample, digest) in dataset.samples.iter_mut().zip(self.digests(&paths)?) {
            sample.digest = Some(digest);
        }
        let digested = Arc::new(dataset);
        self.datasets.push((Arc::clone(found), Arc::clone(&digested)));
        Ok(digested)
    }
}
