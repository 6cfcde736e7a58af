//! A weight file, opened: every tensor's name, type and shape at once, its numbers when asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use memmap2::{Mmap, MmapMut};

use super::dialect::Names;
use super::safetensors::{self, Contents};
use super::{Type, is_unprintable, numbers, pytorch, shown};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::model::{Description, Role, TensorSpec};

/// A safetensors file or a PyTorch archive, mapped into memory.
pub struct Source {
    path: PathBuf,
    map: Mmap,
    /// By the names of the model, where they are known to be others.
    pub(super) entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    pub(super) names: Names,
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub shape: Vec<usize>,
    pub dtype: Type,
    /// The bytes from the first element to the last.
    pub(super) bytes: Range<usize>,
    /// The steps between neighbours along each dimension, in elements.
    pub(super) strides: Vec<usize>,
}

/// Far more tensors than a network has.
pub(super) const MOST_TENSORS: usize = 100_000;
/// Far more dimensions than a parameter has.
pub(super) const MOST_DIMENSIONS: usize = 16;
/// The bytes of the name of a tensor.
const LONGEST_NAME: usize = 1024;

/// What is wrong with a name that no program gives a tensor, if it is one.
pub(super) fn fault_of_name(name: &str) -> Option<String> {
    if name.len() > LONGEST_NAME {
        Some(format!("the name of a tensor has {} bytes", name.len()))
    } else if name.chars().any(is_unprintable) {
        Some(format!("the name `{}` of a tensor has control characters", shown(name)))
    } else {
        None
    }
}

impl Source {
    /// Opens a file by what it holds, whatever it is called.
    ///
    /// # Errors
    /// A file that is missing, truncated, corrupt or of another kind; a pickled module instead of a state dict.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("read", path, error).as_usage();
        let within = |error: Error| error.as_usage().within(format!("cannot read `{}`", path.display()));
        // Asked first: to open a pipe without a writer would wait for one.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(within(
                Error::usage("it is not a regular file").hint("use the path of the file with the weights"),
            ));
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the file is mapped read-only and never written by us. Were another process to change it meanwhile,
        // numbers could change, and the digest of what was read would tell.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let state_dict = |entries| Contents { entries, metadata: BTreeMap::new() };
        let contents = match kind(&map) {
            Some(Kind::Safetensors) => safetensors::read(&map),
            Some(Kind::Zip) => pytorch::zip(&map).map(state_dict),
            Some(Kind::Legacy) => pytorch::legacy(&map).map(state_dict),
            None => Err(unknown(&map)),
        };
        let Contents { entries, metadata } = contents.map_err(within)?;
        if entries.is_empty() {
            return Err(within(
                Error::usage("it holds no tensors").hint("use the path of the file with the weights"),
            ));
        }
        Ok(Self { path: path.to_owned(), map, entries, metadata, names: Names::default() }
            .with_recorded_names())
    }

    /// Weights that are not there yet, by name and shape alone: what a stage will leave, for [`super::origins`].
    pub fn planned(
        name: &str,
        description: &Description,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self> {
        let failed = |error| Error::io("plan the weights of", Path::new(name), error);
        // Counts are looked at ahead of time; here they are all 0.
        let map = MmapMut::map_anon(Type::I64.size()).and_then(MmapMut::make_read_only).map_err(failed)?;
        let entry = |spec: &TensorSpec| {
            let dtype = if spec.role == Role::BatchCount { Type::I64 } else { Type::F32 };
            let bytes = if spec.role == Role::BatchCount { 0..map.len() } else { 0..0 };
            Entry { shape: spec.shape.clone(), dtype, bytes, strides: Vec::new() }
        };
        let entries = description.tensors.iter().map(|spec| (spec.name.clone(), entry(spec))).collect();
        Ok(Self { path: name.into(), map, entries, metadata, names: Names::default() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by name, in the order of their names.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// What the file says of itself; `defrost.arch`, `defrost.classes` and `defrost.names` in files that defrost wrote.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
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
    /// No tensor of this name; numbers of a type that is not read.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (entry, bytes) = self.found(name)?;
        numbers::tensor(entry, bytes)?.ok_or_else(|| {
            self.fault(name, &format!("holds {} numbers", entry.dtype))
                .hint("save it as float32, float16, bfloat16 or int64")
        })
    }

    /// Reads a count, of whatever type: a tensor of one whole number.
    ///
    /// # Errors
    /// What the tensor is instead, in words that follow its name.
    pub(super) fn count(&self, name: &str) -> Result<i64, String> {
        let (entry, bytes) = self.found(name).map_err(|error| error.message)?;
        numbers::count(entry, bytes)
    }

    fn found(&self, name: &str) -> Result<(&Entry, &[u8])> {
        let entry = self.entries.get(name).ok_or_else(|| self.fault(name, "does not exist"))?;
        Ok((entry, &self.map[entry.bytes.clone()]))
    }

    pub(super) fn fault(&self, name: &str, what: &str) -> Error {
        let (name, path) = (self.written(name), self.path.display());
        Error::usage(format!("tensor `{name}` of `{path}` {what}"))
    }
}

pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

enum Kind {
    Safetensors,
    Zip,
    Legacy,
}

/// A safetensors file begins with the length of its JSON header, an archive with the mark of zip, and a file of
/// PyTorch before 1.6 with a pickled magic number.
fn kind(bytes: &[u8]) -> Option<Kind> {
    if bytes.starts_with(b"PK\x03\x04") {
        Some(Kind::Zip)
    } else if bytes.starts_with(pytorch::LEGACY_MAGIC) {
        Some(Kind::Legacy)
    } else {
        (bytes.get(8) == Some(&b'{')).then_some(Kind::Safetensors)
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
