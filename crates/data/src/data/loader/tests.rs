//! The loader as its owner meets it: the same batches whatever goes on inside.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use tempfile::TempDir;

use super::{CacheBudget, EpochOrder, ImageBatch, Images, Loader, shuffled};
use crate::data::{Dataset, Split, Transform};
use crate::digest::Digest;
use crate::pipeline::{Augment, Broken, Data, ImageFolder, RandomResizedCrop};
use crate::ranks::BatchShare;
use crate::{Error, Result};

fn folder() -> ImageFolder {
    serde_json::from_value(serde_json::json!({ "root": "", "image_size": 12 })).unwrap()
}

/// Two classes of eleven images, all different.
fn data() -> (TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    for (c, class) in ["cat", "dog"].into_iter().enumerate() {
        std::fs::create_dir(root.path().join(class)).unwrap();
        for i in 0..11 {
            let picture = RgbImage::from_fn(20 + i, 17 + i % 5, |x, y| {
                image::Rgb([(x * 11 + i) as u8, (y * 13) as u8, (c as u32 * 90 + x * y) as u8])
            });
            picture.save(root.path().join(format!("{class}/{i:02}.png"))).unwrap();
        }
    }
    let dataset = Dataset::scan(&folder(), root.path()).unwrap();
    (root, dataset)
}

fn augmented() -> Transform {
    let crop = RandomResizedCrop { scale: [0.2, 1.0], ratio: [0.75, 1.3] };
    let augment = Augment {
        random_resized_crop: Some(crop),
        horizontal_flip: 0.5,
        rotation: 9.0,
        ..Augment::default()
    };
    Transform::training(&Data::ImageFolder(folder()).images(), None, &augment)
}

fn images(dataset: &Dataset, broken: Broken, memory: usize) -> Arc<Images> {
    let memory = Arc::new(CacheBudget::new(memory));
    Arc::new(Images::new(Arc::new(dataset.clone()), augmented(), broken, memory))
}

fn epoch(dataset: &Dataset, first_batch: usize) -> EpochOrder {
    let order = shuffled(&dataset.split(Split::Train), 5, 2);
    EpochOrder { share: BatchShare::all(first_batch), seed: 5, epoch: 2, ..EpochOrder::sequential(order, 4) }
}

type Contents = Vec<(usize, Vec<usize>, Vec<f32>)>;

fn contents(loader: impl Iterator<Item = Result<ImageBatch>>) -> Contents {
    let batches = loader.map(|batch| {
        let batch = batch.unwrap();
        let numbers = batch.images.flatten_all().unwrap().to_vec1().unwrap();
        (batch.index, batch.samples, numbers)
    });
    batches.collect()
}

fn error(mut loader: Loader) -> Error {
    let error = loader.find_map(Result::err).expect("the epoch fails");
    assert!(loader.next().is_none(), "nothing comes after an error");
    error
}

fn overwrite(root: &Path, path: &str, bytes: &[u8]) {
    std::fs::write(root.join(path), bytes).unwrap();
}

#[test]
fn order_and_content_do_not_depend_on_workers_start_or_memory() {
    let (_root, dataset) = data();
    let load = |memory, first, workers| {
        Loader::new(images(&dataset, Broken::Error, memory), epoch(&dataset, first), workers).unwrap()
    };
    let whole = contents(load(0, 0, 1));
    assert_eq!(whole.iter().map(|(_, samples, _)| samples.len()).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 2]);
    assert!(whole.iter().all(|(_, samples, numbers)| numbers.len() == samples.len() * 12 * 12 * 3));
    for workers in [2, 4, 40] {
        assert!(contents(load(0, 0, workers)) == whole, "{workers} workers");
        assert!(contents(load(1 << 20, 3, workers)) == whole[3..], "{workers} workers, from batch 3");
    }
    assert!(contents(load(0, 6, 2)).is_empty());
}

#[test]
fn ranks_load_the_batches_of_one_process() {
    let (_root, dataset) = data();
    let load = |share, workers| {
        let epoch = EpochOrder { share, ..epoch(&dataset, 0) };
        contents(Loader::new(images(&dataset, Broken::Error, 0), epoch, workers).unwrap())
    };
    let whole = load(BatchShare::all(0), 1);
    for (ranks, start, step, workers) in [(2, 0, 3, 1), (3, 1, 4, 3), (7, 0, 7, 2), (4, 3, 2, 40)] {
        let share = |rank| BatchShare::of_training(rank, ranks, start, step);
        let mut parts: Vec<_> = (0..ranks).flat_map(|rank| load(share(rank), workers)).collect();
        parts.sort_by_key(|(index, _, _)| *index);
        assert!(parts == whole[start..], "{ranks} ranks from batch {start}");
    }
}

#[test]
fn an_image_that_comes_again_has_other_random_changes() {
    let (_root, dataset) = data();
    let load = |kept_views, memory, first, workers| {
        let order = [3, 5, 3, 7, 3, 5].to_vec();
        let epoch = EpochOrder { order, batch_size: 2, kept_views, ..epoch(&dataset, first) };
        let loader = Loader::new(images(&dataset, Broken::Error, memory), epoch, workers).unwrap();
        loader.map(Result::unwrap).collect::<Vec<ImageBatch>>()
    };
    let rows = |batches: &[ImageBatch]| -> Vec<(usize, u64, Vec<u8>)> {
        let row = |batch: &ImageBatch| {
            let numbers = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let images = numbers.chunks_exact(12 * 12 * 3);
            let images = images.map(|image| image.iter().flat_map(|number| number.to_le_bytes()).collect());
            batch.samples.iter().copied().zip(batch.streams.clone()).zip(images).collect::<Vec<_>>()
        };
        batches.iter().flat_map(row).map(|((sample, stream), bytes)| (sample, stream, bytes)).collect()
    };
    let all = load(None, 0, 0, 1);
    let whole = rows(&all);
    let once = |sample| {
        let epoch = EpochOrder { order: vec![sample], ..epoch(&dataset, 0) };
        let loader = Loader::new(images(&dataset, Broken::Error, 0), epoch, 1).unwrap();
        rows(&loader.map(Result::unwrap).collect::<Vec<_>>()).remove(0)
    };
    for (place, sample) in [(0, 3), (1, 5), (3, 7)] {
        assert!(whole[place] == once(sample), "the first time is as if it were the only one");
    }
    for (one, other) in [(0, 2), (0, 4), (2, 4), (1, 5)] {
        assert!(whole[one].1 != whole[other].1 && whole[one].2 != whole[other].2);
    }
    for workers in [2, 5] {
        assert!(rows(&load(None, 1 << 20, 0, workers)) == whole);
        assert!(rows(&load(None, 1 << 20, 1, workers)) == whole[2..], "resumed after a batch");
    }
    // Of two kept views, the third time shows the first again, with draws of its own after loading.
    let kept = rows(&load(Some(2), 0, 0, 1));
    assert!(kept[0].2 == kept[4].2 && kept[0].2 != kept[2].2 && kept[0].1 != kept[4].1);
}

#[test]
fn views_of_an_image_are_neighbours_with_draws_of_their_own() {
    let (root, dataset) = data();
    let load = |memory, first, workers| {
        let epoch = EpochOrder { views: 2, ..epoch(&dataset, first) };
        contents(Loader::new(images(&dataset, Broken::Error, memory), epoch, workers).unwrap())
    };
    let whole = load(0, 0, 1);
    assert_eq!(whole.iter().map(|(_, samples, _)| samples.len()).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 4]);
    for workers in [2, 7] {
        assert!(load(0, 0, workers) == whole, "{workers} workers");
        assert!(load(1 << 20, 3, workers) == whole[3..], "{workers} workers, from batch 3");
    }
    // The first views are the images of a training with one.
    let single = Loader::new(images(&dataset, Broken::Error, 0), epoch(&dataset, 0), 1).unwrap();
    for ((_, samples, numbers), (_, alone, expected)) in whole.iter().zip(contents(single)) {
        let image = |numbers: &[f32], row: usize| numbers[row * 432..][..432].to_vec();
        for (row, sample) in alone.iter().enumerate() {
            assert_eq!(samples[2 * row..][..2], [*sample; 2]);
            assert_eq!(image(numbers, 2 * row), image(&expected, row));
            assert_ne!(image(numbers, 2 * row), image(numbers, 2 * row + 1));
        }
    }
    // A broken image loses both of its views.
    overwrite(root.path(), "dog/07.png", b"\x89PNG\r\n\x1a\nno more");
    let epoch = EpochOrder { views: 2, ..epoch(&dataset, 0) };
    let mut loader = Loader::new(images(&dataset, Broken::Skip, 0), epoch, 3).unwrap();
    let samples: Vec<usize> =
        contents(loader.by_ref()).into_iter().flat_map(|(_, samples, _)| samples).collect();
    assert_eq!((samples.len(), loader.skipped().len()), (42, 1));
    assert!(samples.chunks(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn kept_images_serve_later_epochs_unread() {
    let (root, dataset) = data();
    let room = images(&dataset, Broken::Error, 1 << 20);
    let load = |images: &Arc<Images>| Loader::new(images.clone(), epoch(&dataset, 0), 2).unwrap();
    let first = contents(load(&room));
    std::fs::remove_dir_all(root.path().join("cat")).unwrap();
    assert!(contents(load(&room)) == first);
    assert!(error(load(&images(&dataset, Broken::Error, 0))).message.starts_with("cannot read `"));
}

#[test]
fn another_image_in_the_data_changes_no_image() {
    let (root, dataset) = data();
    let of = |dataset: &Dataset, path: &str| {
        let sample = dataset.samples.iter().position(|sample| sample.path == path).unwrap();
        let epoch = EpochOrder { order: vec![sample], ..epoch(dataset, 0) };
        contents(Loader::new(images(dataset, Broken::Error, 0), epoch, 1).unwrap()).remove(0).2
    };
    let before = of(&dataset, "dog/03.png");
    std::fs::copy(root.path().join("dog/00.png"), root.path().join("cat/00b.png")).unwrap();
    assert_eq!(of(&Dataset::scan(&folder(), root.path()).unwrap(), "dog/03.png"), before);
}

#[test]
fn a_broken_image_is_an_error_or_left_out_by_name() {
    let (root, dataset) = data();
    overwrite(root.path(), "dog/07.png", b"\x89PNG\r\n\x1a\nno more");
    let load = |broken| Loader::new(images(&dataset, broken, 0), epoch(&dataset, 0), 3).unwrap();
    let failure = error(load(Broken::Error));
    assert!(failure.message.contains("dog/07.png`: the PNG data is cut off"), "{failure}");
    let mut loader = load(Broken::Skip);
    let samples: Vec<usize> =
        contents(loader.by_ref()).into_iter().flat_map(|(_, samples, _)| samples).collect();
    assert_eq!(samples.len(), 21);
    let skipped: Vec<&str> =
        loader.skipped().keys().map(|&sample| dataset.samples[sample].path.as_str()).collect();
    assert_eq!(skipped, ["dog/07.png"]);
}

#[test]
fn bytes_that_changed_are_an_error() {
    let (root, mut dataset) = data();
    for index in 0..dataset.samples.len() {
        dataset.samples[index].digest = Some(Digest::of(&std::fs::read(dataset.file(index)).unwrap()));
    }
    let load = || Loader::new(images(&dataset, Broken::Skip, 0), epoch(&dataset, 0), 2).unwrap();
    assert_eq!(contents(load()).len(), 6);
    let other = std::fs::read(root.path().join("cat/01.png")).unwrap();
    overwrite(root.path(), "cat/02.png", &other);
    assert!(error(load()).message.ends_with("cat/02.png` changed while the stage was running"));
}

#[test]
fn a_dropped_loader_leaves_nothing_running() {
    let (_root, dataset) = data();
    let images = images(&dataset, Broken::Error, 0);
    let mut loader = Loader::new(images.clone(), epoch(&dataset, 0), 4).unwrap();
    loader.next().unwrap().unwrap();
    drop(loader);
    assert_eq!(Arc::strong_count(&images), 1, "every thread has let go");
}

#[test]
fn epochs_are_shuffled_each_in_its_own_way() {
    let samples: Vec<usize> = (10..60).collect();
    let order = shuffled(&samples, 1, 0);
    assert_eq!(order, shuffled(&samples, 1, 0));
    assert_ne!(order, shuffled(&samples, 1, 1));
    assert_ne!(order, shuffled(&samples, 2, 0));
    let mut sorted = order;
    sorted.sort_unstable();
    assert_eq!(sorted, samples);
}
