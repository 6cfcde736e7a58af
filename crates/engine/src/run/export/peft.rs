//! A folder that `peft.PeftModel.from_pretrained(model, DIR)` reads: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::require_own_folder;
use crate::error::{Error, Result};
use crate::model::{TensorId, module_of};
use crate::pipeline::Variant;
use crate::run::Predictor;
use crate::run::predict::PredictorAdapter;
use crate::store::{self, disk};
use crate::weights::{self, Dialect};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const README: &str = "README.md";

impl Predictor {
    /// Writes the adapters, the head and all else that the stage trained for PEFT, under timm's names where timm has the
    /// network, and returns the files. The folder is made, or is that of an earlier export.
    ///
    /// # Errors
    /// The model has no adapters. The stage trained something that belongs to no module. The folder holds other files, or
    /// cannot be written.
    pub fn save_for_peft(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let Some(adapter) = &self.adapter else {
            let checkpoint = self.checkpoint.display();
            return Err(Error::usage(format!("`{checkpoint}` has no adapters"))
                .hint("choose a stage of a model with `adapter`: `--stage NAME`, or use `--format timm`"));
        };
        let saved = SavedAdapter::new(adapter)?;
        require_own_folder(folder, &[CONFIG, WEIGHTS, README])?;
        fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let files = [CONFIG, WEIGHTS, README].map(|name| folder.join(name));
        let config = format!("{:#}\n", saved.config(adapter));
        store::write_output(&files[0], config.as_bytes())?;
        let failed = |error| Error::io("write", &files[1], error);
        let begun = disk::unfinished_file(folder).map_err(failed)?;
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let PredictorAdapter { description, state, .. } = adapter;
        weights::save_adapter(begun.path(), description, state, &saved.ids, Dialect::Timm, &metadata)?;
        begun.persist(&files[1]).map_err(|error| failed(error.error))?;
        store::write_output(&files[2], self.peft_readme(&saved, folder).as_bytes())?;
        Ok(files.into())
    }

    fn peft_readme(&self, saved: &SavedAdapter, folder: &Path) -> String {
        let (checkpoint, folder) = (self.checkpoint.display(), folder.display());
        let arch = &self.model.description.arch;
        let network = saved.network.unwrap_or("NAME");
        let classes = self.classes.len();
        format!(
            "# Adapters of {arch}\n\nExported by defrost from `{checkpoint}`. They belong to the weights that the stage \
             started from: load the same into the network first.\n\n```python\nimport timm\nfrom peft import PeftModel\n\n\
             base = timm.create_model(\"{network}\", pretrained=True, num_classes={classes})\n\
             model = PeftModel.from_pretrained(base, \"{folder}\").eval()\n```\n"
        )
    }
}

/// What a folder has, under the names in it.
struct SavedAdapter {
    ids: Vec<TensorId>,
    /// The adapted layers.
    layers: Vec<String>,
    /// The other modules, which are saved whole.
    modules: BTreeSet<String>,
    /// timm's name of the network.
    network: Option<&'static str>,
}

impl SavedAdapter {
    fn new(adapter: &PredictorAdapter) -> Result<Self> {
        let PredictorAdapter { description, trained, .. } = adapter;
        let names = Dialect::Timm.names(description);
        let is_kept = |id: &TensorId| {
            let name = &description.tensors[*id].name;
            description.in_head(*id) || trained.contains(name) || description.adapted_by(*id).is_some()
        };
        let ids: Vec<TensorId> = (0..names.len()).filter(is_kept).collect();
        let mut modules = BTreeSet::new();
        for &id in ids.iter().filter(|id| description.adapted_by(**id).is_none()) {
            let Some((module, _)) = names[id].rsplit_once('.') else {
                return Err(Error::usage(format!(
                    "PEFT saves modules, and `{}` trained by itself",
                    names[id]
                ))
                .hint("use `--format timm`, which writes the merged weights"));
            };
            modules.insert(module.to_owned());
        }
        let layers = description.adapters.layers.keys().map(|&id| module_of(&names[id]).to_owned()).collect();
        let network =
            weights::timm_network(&description.arch, Variant::default()).map(|network| network.name);
        Ok(Self { ids, layers, modules, network })
    }

    fn config(&self, adapter: &PredictorAdapter) -> Json {
        json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": self.network,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "r": adapter.spec.rank,
            "lora_alpha": adapter.spec.alpha,
            "lora_dropout": 0.0,
            "target_modules": self.layers,
            "modules_to_save": self.modules,
        })
    }
}
