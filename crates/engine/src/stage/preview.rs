//! What a train stage sees in an epoch: its images after all random changes, with their labels.

use std::sync::Arc;

use super::TrainStage;
use crate::data::{
    BatchMixer, BatchResizer, CacheBudget, ComposedPart, Dataset, EpochOrder, Images, Label, LabelKind,
    LabelledBox, Loader, Split, shuffled,
};
use crate::error::{Error, Result};
use crate::random::name_hash;

/// An image as the network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewImage {
    /// The path of the sample.
    pub path: String,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// RGB8, row by row: the normalisation is undone.
    pub pixels: Vec<u8>,
    /// The paths of the samples that the image shows.
    pub parts: Vec<String>,
    /// The objects, in fractions of width and height, if the data set has boxes.
    pub boxes: Option<Vec<LabelledBox>>,
    /// The weight of each class or label, by its index; empty if the data set has boxes.
    pub shares: Vec<(u32, f64)>,
}

impl TrainStage {
    /// The first `count` images of an epoch, counted from 0, in its order. Nothing is written.
    ///
    /// # Errors
    /// An image that cannot be read or decoded, and a data set without training images.
    pub fn preview(
        &self,
        dataset: &Arc<Dataset>,
        epoch: u32,
        count: usize,
        workers: usize,
    ) -> Result<Vec<PreviewImage>> {
        let settings = &self.settings;
        let samples = dataset.split(Split::Train);
        if samples.is_empty() {
            return Err(Error::failed("there are no training images"));
        }
        let memory = Arc::new(CacheBudget::new(0));
        let images = Arc::new(Images::for_training(
            Arc::clone(dataset),
            &self.preprocess.0,
            &settings.augment,
            settings.epochs,
            memory,
        ));
        let begun = self.prefixes.iter().rev().find(|prefix| prefix.after_epochs <= epoch);
        let view = begun.map_or(epoch, |prefix| prefix.view(epoch));
        let mut order = shuffled(&samples, self.seed, epoch);
        // Whole batches: an image may be mixed with the last of its batch.
        order.truncate(count.div_ceil(settings.batch_size).saturating_mul(settings.batch_size));
        let (batch_size, seed) = (settings.batch_size, self.seed);
        let order = EpochOrder { order, batch_size, first_batch: 0, seed, epoch: view };
        let has_boxes = dataset.label_kind == LabelKind::Boxes;
        let mixer = BatchMixer::new(&settings.augment, seed).filter(|_| !has_boxes);
        let resizer = BatchResizer::new(&settings.augment, seed);
        let mut shown = Vec::new();
        for batch in Loader::new(Arc::clone(&images), order, workers)? {
            let batch = batch?;
            let (mut tensor, mut weights) = (batch.images, vec![1.0; batch.samples.len()]);
            if let Some(mixer) = &mixer {
                let names = batch.samples.iter().map(|&sample| name_hash(&dataset.samples[sample].path));
                (tensor, weights) = mixer.mix(&tensor, view, &names.collect::<Vec<u64>>())?;
            }
            if let Some(resizer) = &resizer {
                tensor = resizer.resize(&tensor, view, batch.index)?;
            }
            let (rows, height, width, _) = tensor.dims4()?;
            #[expect(clippy::needless_range_loop)]
            for row in 0..rows.min(count - shown.len()) {
                let numbers = tensor.get(row)?.flatten_all()?.to_vec1::<f32>()?;
                let own = &dataset.samples[batch.samples[row]];
                let other = &dataset.samples[batch.samples[(row + rows - 1) % rows]];
                let parts = &batch.parts[row];
                shown.push(PreviewImage {
                    path: own.path.clone(),
                    size: [width as u32, height as u32],
                    pixels: images.picture(&numbers),
                    parts: parts.iter().map(|part| dataset.samples[part.sample].path.clone()).collect(),
                    boxes: has_boxes.then(|| boxes(parts, dataset)),
                    shares: match has_boxes {
                        true => Vec::new(),
                        false => shares((&own.label, weights[row]), &other.label),
                    },
                });
            }
            if shown.len() == count {
                break;
            }
        }
        Ok(shown)
    }
}

fn boxes(parts: &[ComposedPart], dataset: &Dataset) -> Vec<LabelledBox> {
    parts.iter().flat_map(|part| part.boxes(dataset)).collect()
}

/// The weights of the classes of an image and of the one that is mixed in.
fn shares((own, weight): (&Label, f64), other: &Label) -> Vec<(u32, f64)> {
    let mut shares: Vec<(u32, f64)> = own.classes().iter().map(|&class| (class, weight)).collect();
    if weight < 1.0 {
        for &class in other.classes().iter() {
            match shares.iter_mut().find(|(known, _)| *known == class) {
                Some((_, share)) => *share += 1.0 - weight,
                None => shares.push((class, 1.0 - weight)),
            }
        }
    }
    shares
}
