//! What the depths of a published detector freeze.

use super::ParameterTable;
use crate::model::{Model, TensorId};
use crate::pipeline::{self, Arch, Train};

fn detector(arch: Arch, classes: usize) -> Model {
    let head = toml::from_str("kind = \"detect\"").unwrap();
    Model::build(&pipeline::Model { head, ..pipeline::Model::of(arch) }, classes)
}

#[test]
fn depths_freeze_what_the_published_networks_have_there() {
    // Parameters, norms and tensors of n; parameters of s and of m, and the norms of m.
    let expected = [
        (3, 11_776, 6, 18, 45_568, 187_712, 11),
        (4, 48_768, 7, 21, 193_280, 778_048, 12),
        (5, 74_848, 11, 33, 296_640, 1_222_976, 21),
        (6, 222_560, 12, 36, 886_976, 3_583_296, 22),
        (10, 1_115_744, 33, 99, 4_451_008, 9_361_216, 43),
        (11, 1_365_472, 40, 120, 5_441_984, 10_352_192, 50),
        (12, 1_365_472, 40, 120, 5_441_984, 10_352_192, 50),
        (23, 2_159_168, 63, 189, 8_608_384, 18_641_984, 88),
    ];
    for (depth, n, norms, tensors, s, m, norms_of_m) in expected {
        let stage: Train = toml::from_str(&format!(
            "from = \"a\"\nepochs = 1\nfreeze_first = {depth}\noptimizer = {{ kind = \"sgd\", lr = 0.1 }}"
        ))
        .unwrap();
        let found = [Arch::Yolo11N, Arch::Yolo11S, Arch::Yolo11M].map(|arch| {
            let description = detector(arch, 5).description;
            let table = ParameterTable::resolve(&description, &stage).unwrap();
            let constants: Vec<TensorId> = description.constants().map(|(id, _)| id).collect();
            assert!(constants.iter().all(|id| table.frozen(&description).contains(id)));
            let all: usize = description.parameters().map(|(_, spec)| spec.elements()).sum();
            assert_eq!(table.totals().trainable_parameters + table.totals().frozen_parameters, all);
            (table.totals(), table.last().norm_counts().1)
        });
        assert_eq!(
            (found[0].0.frozen_parameters, found[0].1, found[0].0.frozen_tensors),
            (n, norms, tensors)
        );
        assert_eq!((found[1].0.frozen_parameters, found[2].0.frozen_parameters), (s, m), "{depth}");
        assert_eq!((found[1].1, found[2].1), (norms, norms_of_m));
        if depth == 3 {
            assert_eq!(found[1].0.trainable_parameters, 9_384_143);
        }
    }
}
