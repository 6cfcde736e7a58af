//! Element types in files, and conversion of bytes to tensors.

use std::fmt;

use candle_core::{Device, Tensor};
use half::{bf16, f16};

use super::weights_file::{TensorEntry, row_major};
use crate::error::Result;

/// The supported element types. A tensor of another type is an error only when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    F16,
    Bf16,
    F32,
    F64,
    U8,
    I8,
    I16,
    I32,
    I64,
    Other(String),
}

impl DataType {
    /// The bytes of an element; 0 if the type is unknown.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Other(_) => 0,
        }
    }

    /// Whether weights may be of this type.
    pub(super) fn is_float(&self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }
}

/// PyTorch's name.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Other(name) => name,
        })
    }
}

/// The tensor of an entry whose bytes span its first to its last element; `None` for an unsupported type.
pub(super) fn tensor(entry: &TensorEntry, bytes: &[u8]) -> Result<Option<Tensor>> {
    let (shape, device) = (entry.shape.as_slice(), &Device::Cpu);
    Ok(Some(match entry.dtype {
        DataType::F16 => {
            Tensor::from_vec(gather(entry, bytes, |two| f16::from_le_bytes(two).to_f32()), shape, device)
        }
        DataType::Bf16 => {
            Tensor::from_vec(gather(entry, bytes, |two| bf16::from_le_bytes(two).to_f32()), shape, device)
        }
        DataType::F32 => Tensor::from_vec(gather(entry, bytes, f32::from_le_bytes), shape, device),
        DataType::F64 => {
            Tensor::from_vec(gather(entry, bytes, |eight| f64::from_le_bytes(eight) as f32), shape, device)
        }
        DataType::I64 => Tensor::from_vec(gather(entry, bytes, i64::from_le_bytes), shape, device),
        DataType::U8 | DataType::I8 | DataType::I16 | DataType::I32 | DataType::Other(_) => return Ok(None),
    }?))
}

/// The whole number in an entry.
///
/// # Errors
/// A description of what the entry holds instead.
pub(super) fn count(entry: &TensorEntry, bytes: &[u8]) -> Result<i64, String> {
    let dtype = &entry.dtype;
    let holds = |what: &str| format!("holds {what} ({dtype}), but a count is expected");
    let float = match dtype {
        DataType::Other(_) => return Err(format!("holds {dtype} numbers, but a count is expected")),
        _ if bytes.len() != dtype.size() => return Err(holds("several numbers or none")),
        DataType::U8 => return Ok(first(bytes, u8::from_le_bytes).into()),
        DataType::I8 => return Ok(first(bytes, i8::from_le_bytes).into()),
        DataType::I16 => return Ok(first(bytes, i16::from_le_bytes).into()),
        DataType::I32 => return Ok(first(bytes, i32::from_le_bytes).into()),
        DataType::I64 => return Ok(first(bytes, i64::from_le_bytes)),
        DataType::F16 => first(bytes, f16::from_le_bytes).to_f64(),
        DataType::Bf16 => first(bytes, bf16::from_le_bytes).to_f64(),
        DataType::F32 => first(bytes, f32::from_le_bytes).into(),
        DataType::F64 => first(bytes, f64::from_le_bytes),
    };
    // Above 2⁵³ floats cannot represent fractions, so such a value is no reliable count.
    if float.fract() == 0.0 && float.abs() < 2f64.powi(53) {
        Ok(float as i64)
    } else {
        Err(holds(&float.to_string()))
    }
}

fn first<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> T {
    read(bytes.try_into().expect("as many bytes as the type has"))
}

/// The elements in row-major order, whatever their order in the file.
fn gather<T, const N: usize>(entry: &TensorEntry, bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
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
