use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::*;
use crate::digest::Digest;
use crate::events::Interrupt;
use crate::pipeline::FeatureType;
use crate::random::{Purpose, Stream};
use crate::store::{InputIndex, disk};

const WIDTH: usize = 3 * 3 * 5;

struct World {
    root: tempfile::TempDir,
    index: InputIndex,
    kind: FeatureType,
}

impl World {
    fn new(kind: FeatureType) -> Self {
        let root = tempfile::tempdir().unwrap();
        let index = InputIndex::open(root.path().join("inputs.index"));
        Self { root, index, kind }
    }

    fn store(&self) -> FeatureStore<'_> {
        FeatureStore::new(self.root.path().join("features"), &self.index, "scalar", 1 << 30)
    }

    fn open(&self) -> FeatureSet {
        self.store().open(&made_of(), self.kind).unwrap()
    }

    fn publish(&self, set: &mut FeatureSet, images: std::ops::Range<u32>) {
        let mut draft = set.writer();
        let keys: Vec<Digest> = images.clone().map(key).collect();
        let numbers: Vec<f32> = images.clone().flat_map(row).collect();
        let rows = Tensor::from_vec(numbers, (images.len(), 3, 3, 5), &Device::Cpu).unwrap();
        draft.push(&keys, &[rows]).unwrap();
        self.store().publish(&made_of(), set, draft).unwrap();
    }

    fn segments(&self) -> Vec<PathBuf> {
        let set = self.root.path().join("features").join(Digest::of_json(&document()).to_string());
        let names = disk::entries(&set).unwrap().into_iter().filter(|name| name.ends_with(".rows"));
        names.map(|name| set.join(name)).collect()
    }
}

fn made_of() -> Value {
    json!({ "layers": 3 })
}

fn document() -> Value {
    json!({ "made_of": made_of(), "profile": "scalar" })
}

fn key(image: u32) -> Digest {
    Digest::of(&image.to_le_bytes())
}

/// Values as networks produce them: many zeros, all magnitudes.
fn row(image: u32) -> Vec<f32> {
    let mut stream = Stream::new(1, Purpose::Initialize, 0, image.into());
    (0..WIDTH)
        .map(|_| (stream.normal() * f64::from(10f32.powi(stream.below(9) as i32 - 4))).max(0.0) as f32)
        .collect()
}

#[track_caller]
fn assert_row(set: &FeatureSet, images: &[u32], kind: FeatureType) {
    let places: Vec<RowLocation> = images
        .iter()
        .map(|&image| match set.find(&key(image)) {
            Some(FeatureLookup::Row(place)) => place,
            other => panic!("image {image}: {other:?}"),
        })
        .collect();
    let found = set.gather(&places).unwrap().remove(0);
    assert_eq!(found.dims(), [images.len(), 3, 3, 5]);
    let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let rounded = |number: f32| match kind {
        FeatureType::F32 => number,
        FeatureType::Bf16 => half::bf16::from_f32(number).to_f32(),
    };
    let expected: Vec<f32> = images.iter().flat_map(|&image| row(image)).map(rounded).collect();
    assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
}

fn damage(path: &Path, at: usize) {
    #[allow(clippy::permissions_set_readonly_false)]
    let writable = |path: &Path| {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(false);
        fs::set_permissions(path, permissions).unwrap();
    };
    writable(path);
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn rows_come_back_from_any_segment_in_any_order() {
    for kind in [FeatureType::F32, FeatureType::Bf16] {
        let world = World::new(kind);
        let mut set = world.open();
        assert_eq!((set.shapes(), set.find(&key(0))), (None, None));
        world.publish(&mut set, 0..7);
        world.publish(&mut set, 7..8);
        let mut draft = set.writer();
        draft.push_unreadable(key(99));
        world.store().publish(&made_of(), &mut set, draft).unwrap();
        let again = world.open();
        for set in [&set, &again] {
            assert_row(set, &[7, 0, 3, 3, 6], kind);
            assert_row(set, &[2], kind);
            assert_eq!(set.find(&key(99)), Some(FeatureLookup::Unreadable));
            assert_eq!(set.find(&key(8)), None);
        }
        assert_eq!(again.row_bytes(), Some(WIDTH * kind.bytes()));
        let elsewhere = json!({ "layers": 4 });
        assert_eq!(world.store().open(&elsewhere, kind).unwrap().find(&key(0)), None);
        let profile = FeatureStore::new(world.root.path().join("features"), &world.index, "x86-v4", 0);
        assert_eq!(profile.open(&made_of(), kind).unwrap().find(&key(0)), None);
        assert_eq!(profile.available_bytes().unwrap(), 0);
    }
}

/// Rows of two tensors, in one file that records their number.
#[test]
fn rows_of_several_tensors_come_back_as_they_were() {
    for kind in [FeatureType::F32, FeatureType::Bf16] {
        let world = World::new(kind);
        let mut set = world.open();
        let (keys, store) = ((0..6).map(key).collect::<Vec<_>>(), world.store());
        let tensor = |first: u32, shape: &[usize]| {
            let count = shape.iter().product::<usize>() as u32;
            // Exact in both types.
            let numbers: Vec<f32> = (0..count).map(|number| ((first + number) % 251) as f32).collect();
            Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
        };
        let features = [tensor(0, &[6, 2, 3]), tensor(100, &[6, 5]), tensor(200, &[6])];
        let mut draft = set.writer();
        let first = features.each_ref().map(|tensor| tensor.narrow(0, 0, 4).unwrap());
        draft.push(&keys[..4], &first).unwrap();
        store.publish(&made_of(), &mut set, draft).unwrap();
        let mut draft = set.writer();
        draft.push(&keys[4..], &features.each_ref().map(|tensor| tensor.narrow(0, 4, 2).unwrap())).unwrap();
        store.publish(&made_of(), &mut set, draft).unwrap();
        assert_eq!(set.row_bytes(), Some((6 + 5 + 1) * kind.bytes()));
        for set in [set, world.open()] {
            let order = [3u32, 5, 0, 0, 4];
            let places: Vec<RowLocation> = order
                .iter()
                .map(|&image| match set.find(&key(image)) {
                    Some(FeatureLookup::Row(place)) => place,
                    other => panic!("image {image}: {other:?}"),
                })
                .collect();
            let order = Tensor::new(&order, &Device::Cpu).unwrap();
            let expected = features.each_ref().map(|tensor| tensor.index_select(&order, 0).unwrap());
            let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in set.gather(&places).unwrap().iter().zip(&expected) {
                assert_eq!((found.dims(), numbers(found)), (expected.dims(), numbers(expected)));
            }
        }
        for path in world.segments() {
            assert!(fs::read(path).unwrap().starts_with(b"defrost rows 2\n\0"));
        }
        // A different number of tensors is a different set.
        let mut draft = world.open().writer();
        draft.push(&[key(9)], &[tensor(0, &[1, 2, 3])]).unwrap();
        assert!(store.publish(&made_of(), &mut world.open(), draft).is_err());
    }
}

/// The exact bytes of a file with rows of one tensor, because a store is used by later versions of the program.
#[test]
fn a_file_of_rows_of_one_tensor_stays_as_it_is() {
    let world = World::new(FeatureType::F32);
    world.publish(&mut world.open(), 0..2);
    let mut expected = b"defrost rows 1\n\0".to_vec();
    [0u32, 3].iter().for_each(|number| expected.extend(number.to_le_bytes()));
    [3u64, 3, 5, 2, 2].iter().for_each(|number| expected.extend(number.to_le_bytes()));
    for image in 0..2u32 {
        expected.extend(key(image).as_bytes());
        expected.extend(u64::from(image).to_le_bytes());
    }
    expected.resize(192, 0);
    (0..2).flat_map(row).for_each(|number| expected.extend(number.to_le_bytes()));
    assert_eq!(fs::read(&world.segments()[0]).unwrap(), expected);
}

#[test]
fn a_segment_that_is_not_what_its_name_says_is_not_used() {
    let world = World::new(FeatureType::F32);
    world.publish(&mut world.open(), 0..5);
    let bytes = fs::read(&world.segments()[0]).unwrap();
    for at in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
        let path = world.segments().remove(0);
        damage(&path, at);
        let set = world.open();
        assert_eq!((set.find(&key(0)), world.segments()), (None, vec![]), "a bit at {at}");
        world.publish(&mut world.open(), 0..5);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    // Truncated, and another content.
    let path = world.segments().remove(0);
    fs::remove_file(&path).unwrap();
    for other in [&bytes[..bytes.len() - 4], &bytes[..20], b""] {
        let named = path.with_file_name(format!("{}.rows", Digest::of(other)));
        fs::write(&named, other).unwrap();
        assert_eq!(world.open().find(&key(0)), None);
        assert!(!named.exists());
    }
}

#[test]
fn two_who_compute_the_same_rows_leave_one_file() {
    let world = World::new(FeatureType::F32);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut set = world.open();
                world.publish(&mut set, 0..6);
                assert_row(&set, &[5, 1], FeatureType::F32);
            });
        }
    });
    assert_eq!(world.segments().len(), 1);
    // Overlapping rows are in two files, and either is correct.
    world.publish(&mut world.open(), 4..9);
    assert_eq!(world.segments().len(), 2);
    assert_row(&world.open(), &[0, 4, 5, 8], FeatureType::F32);
}

#[test]
fn who_computes_is_waited_for() {
    let world = World::new(FeatureType::F32);
    let (store, interrupt) = (world.store(), Interrupt::default());
    let held = store.lock(&made_of(), &interrupt, &mut || panic!("nobody else is there")).unwrap();
    let mut held = Some(held);
    let mut waited = 0;
    drop(store.lock(&made_of(), &interrupt, &mut || {
        waited += 1;
        drop(held.take());
    }));
    assert_eq!(waited, 1);
    let _held = store.lock(&made_of(), &interrupt, &mut || {}).unwrap();
    let stopped = store.lock(&made_of(), &interrupt, &mut || interrupt.request());
    assert_eq!(stopped.err().unwrap().kind, crate::error::ErrorKind::Interrupted);
}
