//! Writes checkpoints: safetensors under the names of the source weights. Equal values give equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::dialect::{Dialect, RECORD};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::model::{Description, StateDict};

/// Writes a state under the names of `dialect`, syncs it to disk, and returns the digest of the file.
///
/// Counts (i64) come before floats (f32), each in the order of the description, so every tensor is aligned. The
/// file is written by hand because the safetensors crate writes `metadata` in random order.
pub fn save(
    path: &Path,
    description: &Description,
    state: &StateDict,
    dialect: Dialect,
    metadata: &BTreeMap<String, String>,
) -> Result<Digest> {
    let names = dialect.names(description);
    let recorded = dialect.record().map(|dialect| (RECORD.to_owned(), dialect.to_owned()));
    let metadata: BTreeMap<String, String> = metadata.clone().into_iter().chain(recorded).collect();
    let kept = |id: &usize| dialect.keeps(&description.tensors[*id]);
    let mut order: Vec<usize> = (0..state.tensors.len()).filter(kept).collect();
    order.sort_by_key(|&id| state.tensors[id].dtype() != DType::I64);
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for &id in &order {
        let tensor = &state.tensors[id];
        let dtype = match tensor.dtype() {
            DType::F32 => "F32",
            DType::I64 => "I64",
            other => return Err(Error::bug(format!("a checkpoint of {other:?} numbers"))),
        };
        let end = offset + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let entry = json!({
            "dtype": dtype,
            "shape": dialect.shape(description, id),
            "data_offsets": [offset, end],
        });
        header.insert(names[id].clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    let failed = |error| Error::io("write", path, error);
    let mut out = HashingWriter {
        file: BufWriter::new(File::create(path).map_err(failed)?),
        hasher: Hasher::default(),
    };
    out.write(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write(&header).map_err(failed)?;
    for id in order {
        let bytes = bytes(&state.tensors[id])?;
        out.write(&bytes).map_err(failed)?;
    }
    let file = out.file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(out.hasher.finish())
}

struct HashingWriter {
    file: BufWriter<File>,
    hasher: Hasher,
}

impl HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

/// The digest of each tensor's values, as a checkpoint stores them.
pub fn digests(state: &StateDict) -> Result<Vec<Digest>> {
    state.tensors.par_iter().map(|tensor| Ok(Digest::of(&bytes(tensor)?))).collect()
}

/// The values in row-major order, little-endian.
pub fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::I64 => flat.to_vec1::<i64>()?.into_iter().flat_map(i64::to_le_bytes).collect(),
        _ => flat.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
    })
}
