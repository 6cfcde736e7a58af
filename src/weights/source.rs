//! A weight file, opened: every tensor's name, type and shape at once, its numbers when asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use memmap2::{Mmap, MmapMut};
use safetensors::{Dtype, SafeTensors};

use super::dialect::Names;
use super::pytorch;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::model::{Description, TensorSpec};

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

/// The types of numbers that are read; another one is an error only when its tensor is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    F16,
    Bf16,
    F32,
    F64,
    I64,
    Other(String),
}

impl Type {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Other(_) => 0,
        }
    }
}

impl Source {
    /// Opens a file by what it holds, whatever it is called.
    ///
    /// # Errors
    /// A file that is missing, truncated, corrupt or of another kind; a pickled module instead of a state dict.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("read", path, error).as_usage())?;
        // SAFETY: the file is mapped read-only and never written by us. Were another process to change it meanwhile,
        // numbers could change, and the digest of what was read would tell.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io("read", path, error).as_usage())?;
        let within = |error: Error| error.as_usage().within(format!("cannot read `{}`", path.display()));
        let (entries, metadata) = match kind(&map) {
            Some(Kind::Safetensors) => safetensors(&map),
            Some(Kind::Zip) => pytorch::zip(&map).map(|entries| (entries, BTreeMap::new())),
            Some(Kind::Legacy) => pytorch::legacy(&map).map(|entries| (entries, BTreeMap::new())),
            None => Err(unknown(&map)),
        }
        .map_err(within)?;
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
        let map = MmapMut::map_anon(1).and_then(MmapMut::make_read_only).map_err(failed)?;
        let entry = |spec: &TensorSpec| Entry {
            shape: spec.shape.clone(),
            dtype: Type::F32,
            bytes: 0..0,
            strides: Vec::new(),
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
        let fail = |what: String| {
            let (name, path) = (self.written(name), self.path.display());
            Error::usage(format!("tensor `{name}` of `{path}` {what}"))
        };
        let entry = self.entries.get(name).ok_or_else(|| fail("does not exist".to_owned()))?;
        let bytes = &self.map[entry.bytes.clone()];
        let shape = entry.shape.as_slice();
        let tensor = match &entry.dtype {
            Type::F16 => Tensor::from_vec(
                gather(entry, bytes, |two| f16::from_le_bytes(two).to_f32()),
                shape,
                &Device::Cpu,
            ),
            Type::Bf16 => Tensor::from_vec(
                gather(entry, bytes, |two| bf16::from_le_bytes(two).to_f32()),
                shape,
                &Device::Cpu,
            ),
            Type::F32 => Tensor::from_vec(gather(entry, bytes, f32::from_le_bytes), shape, &Device::Cpu),
            Type::F64 => Tensor::from_vec(
                gather(entry, bytes, |eight| f64::from_le_bytes(eight) as f32),
                shape,
                &Device::Cpu,
            ),
            Type::I64 => Tensor::from_vec(gather(entry, bytes, i64::from_le_bytes), shape, &Device::Cpu),
            Type::Other(other) => {
                return Err(fail(format!("holds numbers of type `{other}`"))
                    .hint("save it as float32, float16, bfloat16 or int64"));
            }
        };
        Ok(tensor?)
    }
}

/// The numbers in row-major order, whatever their order in the file.
fn gather<T, const N: usize>(entry: &Entry, bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let number = |chunk: &[u8]| read(chunk.try_into().expect("cut to the size of the type"));
    if entry.strides == row_major(&entry.shape) {
        return bytes.chunks_exact(N).map(number).collect();
    }
    let count = entry.shape.iter().product();
    let mut numbers = Vec::with_capacity(count);
    let mut place = vec![0; entry.shape.len()];
    for _ in 0..count {
        let offset: usize = place.iter().zip(&entry.strides).map(|(index, stride)| index * stride).sum();
        numbers.push(number(&bytes[offset * N..][..N]));
        for axis in (0..place.len()).rev() {
            place[axis] += 1;
            if place[axis] < entry.shape[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    numbers
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
    } else if bytes.starts_with(b"<") {
        Error::usage("it is a web page, not weights").hint("download the file itself")
    } else {
        Error::usage("it is neither a safetensors file nor a PyTorch state dict").hint(
            "save the weights as safetensors, or with `torch.save(model.state_dict(), \"weights.pth\")`",
        )
    }
}

type Contents = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn safetensors(bytes: &[u8]) -> Result<Contents> {
    let fail = |error| {
        Error::usage(format!("damaged safetensors file: {error}"))
            .hint("compare its size with the original's; it may be truncated")
    };
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(fail)?;
    let start = 8 + header;
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let dtype = match info.dtype {
            Dtype::F16 => Type::F16,
            Dtype::BF16 => Type::Bf16,
            Dtype::F32 => Type::F32,
            Dtype::F64 => Type::F64,
            Dtype::I64 => Type::I64,
            other => Type::Other(other.to_string()),
        };
        let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
        let strides = row_major(&info.shape);
        (name, Entry { shape: info.shape.clone(), dtype, bytes, strides })
    });
    let own = metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok((entries.collect(), own))
}
