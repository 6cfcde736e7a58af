//! Computes embeddings of images with the model of a finished run, and writes them to files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::Predictor;
use crate::autograd::Value;
use crate::csv_cells;
use crate::data;
use crate::device::to_device;
use crate::error::{Error, Result};
use crate::model::Pass;
use crate::stage::INFERENCE_BATCH;
use crate::store;

/// Embeddings with their image files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbeddedFiles {
    /// The files as given, in order.
    pub files: Vec<String>,
    /// Of equal length for each file.
    pub rows: Vec<Vec<f32>>,
}

impl Predictor {
    /// # Errors
    /// The model has no embeddings, as a detector.
    pub fn require_embeddings(&self) -> Result<()> {
        if self.model.embeds() {
            return Ok(());
        }
        let message =
            format!("`{}` is a detector, which has no embedding of an image", self.checkpoint.display());
        Err(Error::usage(message).hint("use a run that classifies images, or `defrost predict` for objects"))
    }

    /// The embedding of each image file, or the error if it cannot be read or decoded. Images do not affect one
    /// another.
    ///
    /// An embedding head gives unit length. For any other head, the embedding is the head's input features.
    pub fn embed(&self, files: &[PathBuf]) -> Vec<Result<Vec<f32>>> {
        let mut pass = Pass::inference(&self.state);
        let batches = files.chunks(INFERENCE_BATCH);
        batches.flat_map(|files| self.embed_batch(files, &mut pass)).collect()
    }

    fn embed_batch(&self, files: &[PathBuf], pass: &mut Pass) -> Vec<Result<Vec<f32>>> {
        let images: Vec<Result<Tensor>> = files.par_iter().map(|file| self.image(file)).collect();
        let readable: Vec<&Tensor> = images.iter().flatten().collect();
        let mut embed = || -> Result<Vec<Vec<f32>>> {
            if readable.is_empty() {
                return Ok(Vec::new());
            }
            let input = Value::constant(to_device(&Tensor::cat(&readable, 0)?, &self.choice.device)?);
            let embeddings = self.model.embed(pass, 0, input)?.into_tensor();
            Ok(embeddings.to_device(&Device::Cpu)?.to_vec2()?)
        };
        match embed() {
            Ok(rows) => {
                let mut rows = rows.into_iter();
                let next = |image: Result<Tensor>| image.map(|_| rows.next().expect("a row for each image"));
                images.into_iter().map(next).collect()
            }
            Err(error) => files.iter().map(|_| Err(Error::failed(error.message.clone()))).collect(),
        }
    }
}

/// The requested image files: files as given, and the image files at any depth of each folder, by name.
///
/// # Errors
/// A folder without images, or one that cannot be read.
pub fn image_files(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let images = data::images_below(path)?;
        if images.is_empty() {
            let formats = data::image_format_names("or");
            return Err(Error::usage(format!("`{}` has no {formats} file", path.display())));
        }
        files.extend(images.into_iter().map(|image| path.join(image)));
    }
    Ok(files)
}

/// The file with the names of the images of a `.npy` file.
fn names_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".files.txt");
    name.into()
}

impl EmbeddedFiles {
    /// The length of an embedding; 0 if there are none.
    pub fn dimension(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Writes them to a `.safetensors`, `.csv` or `.npy` file. A `.npy` file has numbers alone: the names are in
    /// `NAME.npy.files.txt`, one a line.
    ///
    /// # Errors
    /// The file type is not supported, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => self.safetensors()?,
            Some("csv") => self.csv()?,
            Some("npy") => {
                let names: String = self.files.iter().map(|file| format!("{file}\n")).collect();
                store::write_output(&names_of(path), names.as_bytes())?;
                self.npy()
            }
            _ => {
                return Err(Error::usage(format!(
                    "`{}` is no .safetensors, .csv or .npy file",
                    path.display()
                ))
                .hint("use one of these extensions"));
            }
        };
        store::write_output(path, &bytes).map(drop)
    }

    /// One tensor `embeddings` [N, D], and the files as a JSON list in the metadata `defrost.files`.
    fn safetensors(&self) -> Result<Vec<u8>> {
        let bytes: Vec<u8> = self.rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
        let internal = |error: String| Error::bug(format!("cannot write embeddings: {error}"));
        let shape = vec![self.rows.len(), self.dimension()];
        let tensor =
            TensorView::new(Dtype::F32, shape, &bytes).map_err(|error| internal(error.to_string()))?;
        // A single entry: the crate writes several in random order.
        let files = serde_json::to_string(&self.files).map_err(|error| internal(error.to_string()))?;
        let metadata = HashMap::from([("defrost.files".to_owned(), files)]);
        safetensors::serialize([("embeddings", tensor)], Some(metadata))
            .map_err(|error| internal(error.to_string()))
    }

    /// NumPy's format, version 1.0: float32 [N, D] in row-major order. The header is padded so that numbers start at a
    /// multiple of 64 bytes.
    fn npy(&self) -> Vec<u8> {
        const START: &[u8] = b"\x93NUMPY\x01\x00";
        let (rows, columns) = (self.rows.len(), self.dimension());
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        let length = (START.len() + 2 + header.len() + 1).next_multiple_of(64) - START.len() - 2;
        let padded = format!("{header:width$}\n", width = length - 1);
        let mut bytes = [START, &(length as u16).to_le_bytes(), padded.as_bytes()].concat();
        bytes.extend(self.rows.iter().flatten().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    /// A row for each file: its name as text, then its numbers, which are read back without loss.
    fn csv(&self) -> Result<Vec<u8>> {
        let failed = |error: String| Error::bug(format!("cannot write embeddings: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = (0..self.dimension()).map(|place| format!("embedding {place}"));
        writer
            .write_record(std::iter::once("file".to_owned()).chain(columns))
            .map_err(|error| failed(error.to_string()))?;
        for (file, row) in self.files.iter().zip(&self.rows) {
            writer.serialize((csv_cells::text(file), row)).map_err(|error| failed(error.to_string()))?;
        }
        writer.into_inner().map_err(|error| failed(error.to_string()))
    }
}
