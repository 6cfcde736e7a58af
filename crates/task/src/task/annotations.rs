//! The annotations of a batch's images, from which a task makes targets.

use super::Task;
use crate::data::{
    BoxArea, ComposedPart, Dataset, Geometry, GeometryChain, LabelKind, LabelledBox, Sample, Symmetry,
};
use crate::train::{Batches, TrainBatch};

/// The annotations of a batch, row by row.
#[derive(Clone, Debug)]
pub struct Annotations<'a> {
    /// The sample of each row.
    pub samples: Vec<&'a Sample>,
    /// The weight of each row's own image if images were mixed (mixup, CutMix). The previous row has the rest; for the
    /// first row, this is the last row.
    pub shares: Option<Vec<f64>>,
    /// The objects of each row as the network sees them, if the data set has boxes.
    pub objects: Option<Vec<InputObjects>>,
}

/// The objects in an image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct InputObjects {
    /// In fractions of the width and height of the network's input. An image of several samples has the boxes of all.
    pub boxes: Vec<LabelledBox>,
    /// The geometric changes from the upright picture of the row's own sample to the input. With `multi_scale`, the
    /// input is resized afterwards; fractions stay.
    pub moves: GeometryChain,
}

impl InputObjects {
    /// Of an image that shows these parts. The first is the row's own sample.
    fn of(parts: &[ComposedPart], dataset: &Dataset) -> Self {
        let moves = parts.first().map_or(GeometryChain(Vec::new()), |own| own.moves.clone());
        Self { boxes: parts.iter().flat_map(|part| part.boxes(dataset)).collect(), moves }
    }

    /// Width and height of the upright picture in pixels.
    pub fn picture_size(&self) -> Option<[u32; 2]> {
        self.moves.0.first().map(|first| first.source)
    }

    /// Width and height of the network's input in pixels, before `multi_scale`.
    pub fn input_size(&self) -> Option<[u32; 2]> {
        self.moves.0.last().map(|last| last.output)
    }

    /// Maps an area of the network's input, such as a predicted box, to the picture: in fractions of its width and
    /// height, clipped to it.
    pub fn picture_area(&self, area: &BoxArea) -> Option<BoxArea> {
        self.moves.source_area(area)
    }
}

impl<'a> Annotations<'a> {
    /// For images that were not mixed.
    pub fn of(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        Self { samples: samples.into_iter().collect(), shares: None, objects: None }
    }

    /// For a picture of no data set, which a prediction is asked for.
    pub fn of_picture(geometry: Geometry) -> Self {
        let objects = InputObjects { boxes: Vec::new(), moves: GeometryChain(vec![geometry]) };
        Self { objects: Some(vec![objects]), ..Self::of([]) }
    }

    /// For the same images, flipped or turned.
    pub fn turned(&self, symmetry: &Symmetry) -> Self {
        let turned = |row: &InputObjects| {
            let mut moves = row.moves.clone();
            moves.0.extend(row.input_size().map(|size| symmetry.geometry(size)));
            InputObjects { boxes: row.boxes.iter().map(|object| symmetry.moved(object)).collect(), moves }
        };
        let objects = self.objects.as_ref().map(|rows| rows.iter().map(turned).collect());
        Self { samples: self.samples.clone(), shares: self.shares.clone(), objects }
    }

    /// For images that show these parts, row by row.
    pub fn of_images(dataset: &'a Dataset, samples: &[usize], parts: &[Vec<ComposedPart>]) -> Self {
        let objects = || parts.iter().map(|parts| InputObjects::of(parts, dataset)).collect();
        Self {
            objects: (dataset.label_kind == LabelKind::Boxes).then(objects),
            ..Self::of(samples.iter().map(|&sample| &dataset.samples[sample]))
        }
    }
}

/// Batches without targets yet.
pub type Annotated<'a> = Batches<'a, Annotations<'a>>;

/// Makes the targets of every batch.
pub fn with_targets<'a, T: Task>(task: &'a T, batches: Annotated<'a>) -> Batches<'a, T::Targets> {
    Box::new(batches.map(|batch| {
        let TrainBatch { index, input, layer, targets, samples, streams, teacher } = batch?;
        Ok(TrainBatch { index, input, layer, targets: task.targets(&targets)?, samples, streams, teacher })
    }))
}

/// For each of `rows` rows, the row that was mixed into it.
pub(super) fn mixed_in(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).map(move |row| (row + rows - 1) % rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BoxFilter, Label, Split};

    #[test]
    fn rows_have_the_boxes_of_all_their_parts_in_the_input() {
        let object = |class, left| {
            LabelledBox::new(class, BoxArea { left, top: 0.5, right: left + 0.25, bottom: 1.0 })
        };
        let sample = |number: u32| Sample {
            path: format!("{number}.png"),
            label: Label::Boxes(vec![object(number, 0.25)]),
            split: Split::Train,
            digest: None,
        };
        let mut dataset = Dataset {
            label_kind: LabelKind::Boxes,
            samples: (0..2).map(sample).collect(),
            ..Dataset::default()
        };
        // A letterbox of 40 × 20 pixels, five pixels lower.
        let letterbox = Geometry::identity((40, 20)).then([[0.5, 0.0, 0.0], [0.0, 0.5, 5.0]], (20, 20));
        let part = |sample| ComposedPart {
            sample,
            moves: GeometryChain(vec![letterbox]),
            filter: BoxFilter::VISIBLE,
        };
        let parts = [vec![part(1)], vec![part(0), part(1)]];
        let annotations = Annotations::of_images(&dataset, &[1, 0], &parts);
        let objects = annotations.objects.unwrap();
        let area = BoxArea { left: 0.25, top: 0.5, right: 0.5, bottom: 0.75 };
        assert_eq!(objects[0].boxes, [LabelledBox::new(1, area)]);
        assert_eq!(objects[1].boxes.iter().map(|object| object.class).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((objects[0].picture_size(), objects[0].input_size()), (Some([40, 20]), Some([20, 20])));
        assert_eq!(objects[0].picture_area(&area), Some(object(1, 0.25).area));
        dataset.label_kind = LabelKind::Class;
        assert!(Annotations::of_images(&dataset, &[1, 0], &parts).objects.is_none());
    }
}
