//! A summary for people of the parameters that each phase unfreezes.

use serde::{Deserialize, Serialize};

use super::table::{ParameterRow, ParameterTable};
use crate::model::Description;

/// The parameters that start training at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnfreezeSummary {
    /// The number of finished epochs before that.
    pub after_epochs: u32,
    pub tensors: u64,
    pub parameters: u64,
    /// The lowest and the highest learning rate before the schedule; `None` if nothing is unfrozen.
    pub lr: Option<[f64; 2]>,
    /// The layers of the parameters, in the architecture's order.
    pub layers: Vec<String>,
}

impl ParameterTable {
    /// The parameters unfrozen in each phase, in order.
    pub fn unfreeze_summaries(&self, description: &Description) -> Vec<UnfreezeSummary> {
        let joining = |after_epochs: u32| {
            let joins = |row: &&ParameterRow| row.trainable && row.after_epochs == after_epochs;
            let rows: Vec<&ParameterRow> = self.rows.iter().filter(joins).collect();
            let rates = rows.iter().filter_map(|row| row.lr.map(|lr| [lr, lr]));
            let mut layers: Vec<usize> = rows.iter().map(|row| row.layer).collect();
            layers.sort_unstable();
            layers.dedup();
            UnfreezeSummary {
                after_epochs,
                tensors: rows.len() as u64,
                parameters: rows.iter().map(|row| row.elements() as u64).sum(),
                lr: rates.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]),
                layers: layers.into_iter().map(|layer| description.layers[layer].name.clone()).collect(),
            }
        };
        self.phases.iter().map(|phase| joining(phase.after_epochs)).collect()
    }
}
