//! An open weight file: names, types and shapes are known at once, values are read on demand.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use memmap2::{Mmap, MmapMut};

use super::adapted_file::MergedAdapters;
use super::dialect::NameMap;
use super::safetensors::{self, FileContents};
use super::{DataType, data_type, is_unprintable, pytorch, shown};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::model::{Description, TensorRole, TensorSpec};

/// A memory-mapped safetensors file or PyTorch archive.
pub struct WeightsFile {
    path: PathBuf,
    map: Mmap,
    /// Maps the file's names to the model's, if they differ.
    pub(super) entries: BTreeMap<String, TensorEntry>,
    metadata: BTreeMap<String, String>,
    classes: Option<Vec<String>>,
    pub(super) names: NameMap,
    pub(super) merged: MergedAdapters,
}

/// The location of a tensor in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    pub shape: Vec<usize>,
    pub dtype: DataType,
    /// The bytes from the first element to the last.
    pub(super) bytes: Range<usize>,
    /// The strides in elements.
    pub(super) strides: Vec<usize>,
}

/// Far more tensors than any network has.
pub(super) const MAX_TENSORS: usize = 100_000;
/// Far more dimensions than any parameter has.
pub(super) const MAX_DIMENSIONS: usize = 16;
/// The maximum length of a tensor name in bytes.
const LONGEST_NAME: usize = 1024;

/// Describes what is wrong with a name that no program writes.
pub(super) fn name_error(name: &str) -> Option<String> {
    if name.len() > LONGEST_NAME {
        Some(format!("the name of a tensor has {} bytes", name.len()))
    } else if name.chars().any(is_unprintable) {
        Some(format!("the name `{}` of a tensor has control characters", shown(name)))
    } else {
        None
    }
}

impl WeightsFile {
    /// Opens a file; its content, not its name, decides the format.
    ///
    /// # Errors
    /// The file is missing, truncated, damaged or of another kind, or holds neither a state dict nor a pickled
    /// module.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("read", path, error).as_usage();
        let within = |error: Error| error.as_usage().within(format!("cannot read `{}`", path.display()));
        // Checked first, because opening a pipe without a writer blocks.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(within(
                Error::usage("it is not a regular file").hint("use the path of the file with the weights"),
            ));
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the mapping is read-only and this process never writes the file. If another process changes
        // it, values may change, and the digest of the bytes read would differ.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let contents = match kind(&map) {
            Some(FileKind::Safetensors) => safetensors::read(&map),
            Some(FileKind::Zip) => pytorch::zip(&map),
            Some(FileKind::Legacy) => pytorch::legacy(&map),
            None => Err(unknown(&map)),
        };
        let FileContents { entries, metadata, classes } = contents.map_err(within)?;
        if entries.is_empty() {
            return Err(within(
                Error::usage("it holds no tensors").hint("use the path of the file with the weights"),
            ));
        }
        let classes = classes.or_else(|| recorded_classes(&metadata));
        let (names, merged) = Default::default();
        Ok(Self { path: path.to_owned(), map, entries, metadata, classes, names, merged }
            .with_recorded_names())
    }

    /// Weights that do not exist yet, by name and shape: the future output of a stage, for [`super::origins`].
    pub fn planned(
        name: &str,
        description: &Description,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self> {
        let failed = |error| Error::io("plan the weights of", Path::new(name), error);
        // Counts are read early; here they are all 0.
        let map =
            MmapMut::map_anon(DataType::I64.size()).and_then(MmapMut::make_read_only).map_err(failed)?;
        let entry = |spec: &TensorSpec| {
            let dtype = if spec.role == TensorRole::BatchCount { DataType::I64 } else { DataType::F32 };
            let bytes = if spec.role == TensorRole::BatchCount { 0..map.len() } else { 0..0 };
            TensorEntry { shape: spec.shape.clone(), dtype, bytes, strides: Vec::new() }
        };
        let entries = description.tensors.iter().map(|spec| (spec.name.clone(), entry(spec))).collect();
        let classes = recorded_classes(&metadata);
        let (names, merged) = Default::default();
        Ok(Self { path: name.into(), map, entries, metadata, classes, names, merged })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in name order.
    pub fn entries(&self) -> &BTreeMap<String, TensorEntry> {
        &self.entries
    }

    /// The file's metadata: `defrost.arch`, `defrost.classes` and `defrost.names` in files written by defrost.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The classes of the file's head in the order of its outputs, if it records them: as metadata, as defrost does, or
    /// as `names` of a pickled module, as Ultralytics does.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// The digest of the whole file.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(&self.map);
        hasher.finish()
    }

    /// Reads a tensor: f16 and bf16 widen exactly to f32, f64 is rounded to it, i64 stays.
    ///
    /// # Errors
    /// No tensor of this name, or an unsupported type.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.with_adapter(name, self.stored(name, self.found(name)?)?)
    }

    /// Converts the bytes of a tensor.
    pub(super) fn stored(&self, name: &str, (entry, bytes): (&TensorEntry, &[u8])) -> Result<Tensor> {
        data_type::tensor(entry, bytes)?.ok_or_else(|| {
            self.file_error(name, &format!("holds {} numbers", entry.dtype))
                .hint("save it as float32, float16, bfloat16 or int64")
        })
    }

    /// Reads a count of any type: a tensor of one whole number.
    ///
    /// # Errors
    /// A description of the tensor, to follow its name.
    pub(super) fn count(&self, name: &str) -> Result<i64, String> {
        let (entry, bytes) = self.found(name).map_err(|error| error.message)?;
        data_type::count(entry, bytes)
    }

    fn found(&self, name: &str) -> Result<(&TensorEntry, &[u8])> {
        let entry = self.entries.get(name).ok_or_else(|| self.file_error(name, "does not exist"))?;
        Ok((entry, self.bytes(entry)))
    }

    pub(super) fn bytes(&self, entry: &TensorEntry) -> &[u8] {
        &self.map[entry.bytes.clone()]
    }

    pub(super) fn file_error(&self, name: &str, what: &str) -> Error {
        let (name, path) = (self.written(name), self.path.display());
        Error::usage(format!("tensor `{name}` of `{path}` {what}"))
    }
}

fn recorded_classes(metadata: &BTreeMap<String, String>) -> Option<Vec<String>> {
    metadata.get("defrost.classes").and_then(|text| serde_json::from_str(text).ok())
}

pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

enum FileKind {
    Safetensors,
    Zip,
    Legacy,
}

/// A safetensors file begins with the length of its JSON header, an archive with the zip magic, and a file of
/// PyTorch before 1.6 with a pickled magic number.
fn kind(bytes: &[u8]) -> Option<FileKind> {
    if bytes.starts_with(b"PK\x03\x04") {
        Some(FileKind::Zip)
    } else if bytes.starts_with(pytorch::LEGACY_MAGIC) {
        Some(FileKind::Legacy)
    } else {
        (bytes.get(8) == Some(&b'{')).then_some(FileKind::Safetensors)
    }
}

fn unknown(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        Error::usage("the file is empty")
    } else if bytes.starts_with(b"version https://git-lfs") {
        Error::usage("it is a Git LFS pointer, not the weights").hint("fetch the file with `git lfs pull`")
    } else if bytes.get(257..262) == Some(b"ustar") {
        Error::usage("it is a tar archive, the format of PyTorch before 0.1.10")
            .hint("load it with PyTorch and save its state dict again")
    } else if bytes.starts_with(b"<") {
        Error::usage("it is a web page, not weights").hint("download the file itself")
    } else {
        Error::usage("it is neither a safetensors file nor a PyTorch state dict").hint(
            "save the weights as safetensors, or with `torch.save(model.state_dict(), \"weights.pth\")`",
        )
    }
}
