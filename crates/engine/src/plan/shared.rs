//! What the runs of a file share while they are planned: each data set is scanned once, and each file of weights is read once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::data::Dataset;
use crate::stage::{LoadWeightsStage, LocatedWeights};

/// Inputs that were found for earlier runs. It is for one command: a file that changes later is not seen.
#[derive(Default)]
pub struct SharedInputs {
    /// By the folder of the pipeline file and the settings of the data set.
    datasets: Mutex<HashMap<String, Arc<Dataset>>>,
    /// By everything that they depend on. Only stages without errors.
    weights: Mutex<HashMap<String, (LoadWeightsStage, LocatedWeights)>>,
}

impl SharedInputs {
    /// The data set with these settings, or what `scan` finds.
    pub(super) fn dataset(
        &self,
        base: &Path,
        settings: &impl serde::Serialize,
        scan: impl FnOnce() -> crate::Result<Arc<Dataset>>,
    ) -> crate::Result<Arc<Dataset>> {
        let key = format!("{}\0{}", base.display(), serde_json::to_string(settings).unwrap_or_default());
        if let Some(known) = lock(&self.datasets).get(&key) {
            return Ok(Arc::clone(known));
        }
        let found = scan()?;
        lock(&self.datasets).insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// A stage that loads a file, if an earlier run has the same.
    pub(super) fn weights(&self, key: &str) -> Option<(LoadWeightsStage, LocatedWeights)> {
        lock(&self.weights).get(key).cloned()
    }

    pub(super) fn keep_weights(
        &self,
        key: String,
        stage: &LoadWeightsStage,
        weights: &LocatedWeights,
        rules: &Value,
    ) {
        if rules.is_null() {
            lock(&self.weights).insert(key, (stage.clone(), weights.clone()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
