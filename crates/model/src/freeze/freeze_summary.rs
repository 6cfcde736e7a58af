//! What a stage freezes at its start, for people.

use std::ops::RangeInclusive;

use super::table::ParameterTable;
use crate::model::Description;
use crate::pipeline::Train;

/// More runs of frozen layers than this are no summary.
const MOST_RUNS: usize = 4;

/// The parameters that are frozen when a stage begins, and those that train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeSummary {
    pub trainable_parameters: u64,
    /// Those of the trainable parameters that adapters have.
    pub adapter_parameters: u64,
    pub frozen_parameters: u64,
    pub frozen_tensors: u64,
    /// The frozen layers in runs, if exactly these layers are frozen and they are few runs.
    pub frozen_layers: Vec<RangeInclusive<usize>>,
    /// Norms that use running statistics, and all.
    pub norms_in_eval: usize,
    pub norms: usize,
    /// The number of finished epochs after which more parameters train, in order.
    pub unfreezes_after: Vec<u32>,
}

impl ParameterTable {
    /// The state in the first epoch of the stage `settings`.
    pub fn freeze_summary(&self, description: &Description, settings: &Train) -> FreezeSummary {
        let phase = self.first();
        let (training, eval) = phase.norm_counts();
        let mut summary = FreezeSummary {
            trainable_parameters: 0,
            adapter_parameters: 0,
            frozen_parameters: 0,
            frozen_tensors: 0,
            frozen_layers: Vec::new(),
            norms_in_eval: eval,
            norms: training + eval,
            unfreezes_after: self.phases[1..].iter().map(|phase| phase.after_epochs).collect(),
        };
        for row in &self.rows {
            if phase.trainable[row.id] {
                summary.trainable_parameters += row.elements() as u64;
                if description.adapted_by(row.id).is_some() {
                    summary.adapter_parameters += row.elements() as u64;
                }
            } else {
                summary.frozen_parameters += row.elements() as u64;
                summary.frozen_tensors += 1;
            }
        }
        if summary.frozen_tensors > 0 {
            summary.frozen_layers = self.frozen_layers(description, settings);
        }
        summary
    }

    /// Empty if a layer is frozen in part, or if the layers are too many runs.
    fn frozen_layers(&self, description: &Description, settings: &Train) -> Vec<RangeInclusive<usize>> {
        let layers = description.layers.len();
        // The settings that count layers say it themselves, with the layers that have no parameters.
        let counted = match (settings.freeze_first, settings.train_last, settings.train_first) {
            (Some(count), _, _) => Some(0..count),
            (_, Some(count), _) => Some(0..layers - count.min(layers)),
            (_, _, Some(count)) => Some(count..layers),
            _ => None,
        };
        // Adapters train in layers that are frozen otherwise.
        if let Some(range) = counted.filter(|_| description.adapters.layers.is_empty()) {
            return if range.is_empty() { Vec::new() } else { vec![range.start..=range.end - 1] };
        }
        // Whether the parameters of each layer are frozen, train, or both.
        let mut found = vec![(false, false); layers];
        for row in &self.rows {
            let (frozen, trains) = &mut found[row.layer];
            let flag = if self.first().trainable[row.id] { trains } else { frozen };
            *flag = true;
        }
        if found.contains(&(true, true)) {
            return Vec::new();
        }
        let mut runs: Vec<RangeInclusive<usize>> = Vec::new();
        for (layer, (frozen, _)) in found.iter().enumerate() {
            // Layers without parameters between two frozen ones belong to the run.
            let joins =
                |run: &RangeInclusive<usize>| found[run.end() + 1..layer].iter().all(|(_, trains)| !trains);
            match runs.last_mut() {
                _ if !frozen => {}
                Some(run) if joins(run) => *run = *run.start()..=layer,
                _ => runs.push(layer..=layer),
            }
        }
        if runs.len() > MOST_RUNS { Vec::new() } else { runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::pipeline::{self, Arch};

    /// The layers that are frozen, the tensors, and the norms in eval.
    fn summary(settings: &str) -> (Vec<RangeInclusive<usize>>, u64, usize) {
        let text =
            format!("from = \"a\"\nepochs = 4\noptimizer = {{ kind = \"sgd\", lr = 0.1 }}\n{settings}");
        let stage: Train = toml::from_str(&text).unwrap();
        let head = pipeline::Head::Detect(pipeline::DetectHead { class_width: None });
        let model = pipeline::Model { head, ..pipeline::Model::of(Arch::Yolo11S) };
        let description = Model::build(&model, 5).description;
        let table = ParameterTable::resolve(&description, &stage).unwrap();
        let summary = table.freeze_summary(&description, &stage);
        let all = summary.trainable_parameters + summary.frozen_parameters;
        assert_eq!((all, summary.norms), (9_429_711, 81));
        (summary.frozen_layers, summary.frozen_tensors, summary.norms_in_eval)
    }

    #[test]
    fn whole_layers_are_named_and_parts_are_counted() {
        assert_eq!(summary(""), (vec![], 0, 0));
        assert_eq!(summary("freeze_first = 0"), (vec![], 0, 0));
        assert_eq!(summary("freeze_first = 3"), (vec![0..=2], 18, 6));
        assert_eq!(summary("freeze = [\"model.{0..2}\"]"), (vec![0..=2], 18, 6));
        // Layers without parameters, at the end and inside.
        assert_eq!(summary("freeze_first = 12"), (vec![0..=11], 120, 40));
        assert_eq!(summary("train = [\"@head\"]"), (vec![0..=22], 189, 63));
        assert_eq!(summary("train_last = 1"), (vec![0..=22], 189, 63));
        assert_eq!(summary("train_first = 11").0, [11..=23]);
        assert_eq!(summary("freeze = [\"@neck\"]"), (vec![13..=22], 69, 23));
        assert_eq!(summary("freeze = [\"model.0\", \"model.4\", \"model.5\"]").0, [0..=0, 4..=5]);
        assert_eq!(summary("freeze = [\"model.2.cv1\"]"), (vec![], 3, 1));
        let alternate = "freeze = [\"model.0\", \"model.2\", \"model.4\", \"model.6\", \"model.8\"]";
        assert!(summary(alternate).0.is_empty());
    }
}
