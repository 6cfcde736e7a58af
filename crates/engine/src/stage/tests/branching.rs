//! Features of a network that branches: a row of two tensors.

use super::*;
use crate::data::{CacheBudget, EpochOrder, Images, Transform};
use crate::features::FeatureLookup;
use crate::model::Model as Network;
use crate::pipeline::Broken;
use crate::stage::features::{FeatureBatches, key};
use crate::stage::frozen_backbone::{FrozenBackbone, sequential_epoch};
use crate::task::Annotations;
use crate::train::Batches;

/// The cut ahead of `join`, which reads `body.1` and `stem`.
const CUT: usize = 3;

/// The samples and the bits of all tensors of each batch.
fn bits(batches: Batches<Annotations>) -> Vec<(Vec<usize>, Vec<Vec<u32>>)> {
    let tensor = |tensor: &candle_core::Tensor| -> Vec<u32> {
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect()
    };
    batches
        .map(|batch| {
            let batch = batch.unwrap();
            assert_eq!((batch.layer, batch.input.count()), (CUT, 2));
            (batch.samples, batch.input.tensors().map(tensor).collect())
        })
        .collect()
}

#[test]
fn features_of_two_tensors_are_the_same_kept_or_computed() {
    let scene = Scene::new();
    let (folder, dataset) = scene.images();
    let model = Network::branching(2);
    let state = crate::weights::initialize_all(&model.description, 4).unwrap();
    let images = Images::new(
        Arc::clone(&dataset),
        Transform::evaluation(&folder, None),
        Broken::Skip,
        Arc::new(CacheBudget::new(0)),
    );
    let (images, samples) = (Arc::new(images), (0..dataset.samples.len()).collect::<Vec<_>>());
    for kind in [FeatureType::F32, FeatureType::Bf16] {
        let prefix = FrozenPrefix { kind, ..FrozenPrefix::without_features(CUT) };
        let made_of = serde_json::json!({ "dtype": kind });
        let work = |context: &StageContext| {
            let frozen = FrozenBackbone::new(&dataset, &model, &state, &prefix, context);
            let computed = bits(frozen.batches(&images, sequential_epoch(samples.clone()), None, None)?);
            let store = context.features.unwrap();
            for _ in ["computed", "found"] {
                let features = FeatureBatches::open(
                    &frozen,
                    Arc::clone(&images),
                    Broken::Skip,
                    None,
                    store,
                    made_of.clone(),
                )?;
                assert!(features.complete(&samples, 0)?);
                assert_eq!(bits(features.batches(EpochOrder::sequential(samples.clone(), 32))), computed);
                // In another order, and in batches of other sizes, each image has the same row.
                let backward = bits(
                    features.batches(EpochOrder::sequential(samples.iter().rev().copied().collect(), 5)),
                );
                assert_eq!(
                    backward.iter().map(|(samples, _)| samples.len()).sum::<usize>(),
                    computed[0].0.len()
                );
            }
            let set = store.open_keys(&made_of, kind)?;
            assert_eq!(set.shapes().unwrap(), [[16, 16, 4], [16, 16, 4]]);
            let found = |sample: &usize| set.find(&key(&dataset, *sample, None).unwrap());
            assert_eq!(
                samples.iter().filter(|sample| found(sample) == Some(FeatureLookup::Unreadable)).count(),
                2
            );
            Ok(())
        };
        scene.execute(&scene.folders(ROOM), &NullObserver, &Interrupt::default(), &work).unwrap();
    }
}
