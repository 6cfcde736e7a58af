//! Writes PyTorch files: a state dict that `torch.load(…, weights_only=True)` reads. Equal values give equal bytes.
//!
//! Such a file is an uncompressed zip archive. `data.pkl` is a pickle of a dict, whose tensors name their values, the
//! files `data/0`, `data/1`, …

use std::io::{Seek, Write};

use candle_core::DType;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::dialect::Dialect;
use super::save::bytes;
use super::weights_file::row_major;
use crate::error::{Error, Result};
use crate::model::{Description, StateDict};

/// The folder of all files, which PyTorch reads from the first of them.
const FOLDER: &str = "model";
/// The version of the archive that `torch.save` writes since PyTorch 1.6.
const VERSION: &[u8] = b"3\n";
/// PyTorch aligns values so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

/// Writes a state under the names of `dialect`, in the order of the description.
///
/// # Errors
/// A description of what could not be written.
pub fn save_pytorch(
    out: impl Write + Seek,
    description: &Description,
    state: &StateDict,
    dialect: Dialect,
) -> Result<()> {
    let names = dialect.names(description);
    let ids: Vec<usize> =
        (0..state.tensors.len()).filter(|&id| dialect.keeps(&description.tensors[id])).collect();
    let mut pickle = Pickle::begin();
    for (key, &id) in ids.iter().enumerate() {
        let tensor = PickledTensor {
            storage: storage_type(state.tensors[id].dtype())?,
            key: key.to_string(),
            shape: &dialect.shape(description, id),
        };
        pickle.entry(&names[id], &tensor);
    }
    let failed = |error: zip::result::ZipError| Error::failed(format!("cannot write the archive: {error}"));
    let mut archive = ZipWriter::new(out);
    let mut member = |name: &str, content: &[u8]| -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::DEFAULT)
            .system(System::Unix)
            .with_alignment(ALIGNMENT)
            .large_file(u32::try_from(content.len()).is_err());
        archive.start_file(format!("{FOLDER}/{name}"), options).map_err(failed)?;
        archive.write_all(content).map_err(|error| failed(error.into()))
    };
    member("data.pkl", &pickle.end())?;
    member("byteorder", b"little")?;
    for (key, &id) in ids.iter().enumerate() {
        member(&format!("data/{key}"), &bytes(&state.tensors[id])?)?;
    }
    member("version", VERSION)?;
    archive.finish().map_err(failed)?.flush().map_err(|error| failed(error.into()))
}

/// PyTorch's class for values of a type.
fn storage_type(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("FloatStorage"),
        DType::I64 => Ok("LongStorage"),
        other => Err(Error::bug(format!("a state dict of {other:?} numbers"))),
    }
}

/// A tensor that is all of a storage, in row-major order.
struct PickledTensor<'a> {
    storage: &'static str,
    key: String,
    shape: &'a [usize],
}

/// A pickle of protocol 2, written for one dict. The opcodes are those of Python's `pickletools`.
struct Pickle(Vec<u8>);

impl Pickle {
    /// Begins a dict.
    fn begin() -> Self {
        Self(b"\x80\x02}(".to_vec())
    }

    /// Ends the dict and the pickle.
    fn end(mut self) -> Vec<u8> {
        self.0.extend(b"u.");
        self.0
    }

    fn entry(&mut self, name: &str, tensor: &PickledTensor) {
        self.text(name);
        self.tensor(tensor);
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`
    fn tensor(&mut self, PickledTensor { storage, key, shape }: &PickledTensor) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage");
        self.global("torch", storage);
        self.text(key);
        self.text("cpu");
        self.number(shape.iter().product());
        self.0.extend(b"tQ");
        self.number(0);
        self.numbers(shape);
        self.numbers(&row_major(shape));
        self.0.push(b'\x89');
        self.global("collections", "OrderedDict");
        self.0.extend(b")RtR");
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        // Names of tensors have at most some hundred bytes.
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn number(&mut self, number: usize) {
        match i32::try_from(number) {
            Ok(number) => {
                self.0.push(b'J');
                self.0.extend(number.to_le_bytes());
            }
            // LONG1: the number of bytes, then the bytes of a signed number.
            Err(_) => {
                self.0.extend(b"\x8a\x09");
                self.0.extend((number as u128).to_le_bytes().iter().take(9));
            }
        }
    }

    fn numbers(&mut self, numbers: &[usize]) {
        self.0.push(b'(');
        numbers.iter().for_each(|&number| self.number(number));
        self.0.push(b't');
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::model::Model;
    use crate::pipeline::{self, Arch};
    use crate::weights::{LoadRules, WeightsFile, digests, initialize_all, load};

    fn written(description: &Description, state: &StateDict) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        save_pytorch(&mut file, description, state, Dialect::Own).unwrap();
        file.into_inner()
    }

    #[test]
    fn what_is_written_is_read_to_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        // Scalars, whole numbers, and tensors of one to four dimensions.
        for arch in [Arch::MobileNetV3Small, Arch::SwinT, Arch::Yolo11N] {
            let description = Model::build(&pipeline::Model::of(arch), 7).description;
            let state = initialize_all(&description, 3).unwrap();
            let bytes = written(&description, &state);
            assert!(bytes == written(&description, &state), "the same values give the same bytes");
            let path = folder.path().join("model.pth");
            std::fs::write(&path, &bytes).unwrap();
            let file = WeightsFile::open(&path).unwrap();
            assert_eq!(file.entries().len(), description.tensors.len());
            let read = load(&description, &file, &LoadRules::default(), 0).unwrap();
            assert_eq!(digests(&read).unwrap(), digests(&state).unwrap());
            assert!(file.entries().values().all(|entry| entry.bytes.start % usize::from(ALIGNMENT) == 0));
        }
    }

    #[test]
    fn large_numbers_are_long_integers() {
        let mut pickle = Pickle(Vec::new());
        pickle.number(1 << 31);
        assert_eq!(pickle.0, b"\x8a\x09\x00\x00\x00\x80\x00\x00\x00\x00\x00");
    }
}
