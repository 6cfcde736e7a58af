//! A folder that `timm.create_model("local-dir:DIR", pretrained=True)` reads: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::require_own_folder;
use crate::error::{Error, Result};
use crate::pipeline::{Fit, Head, RGB_CHANNELS};
use crate::run::Predictor;
use crate::store::{self, disk};
use crate::task::OutputForm;
use crate::weights::{self, Dialect, TimmNetwork};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const README: &str = "README.md";

impl Predictor {
    /// Writes the model for timm, under timm's names and with its preprocessing, and returns the files. The folder is made,
    /// or is that of an earlier export.
    ///
    /// # Errors
    /// timm has no network that computes the same. The head is not a single linear layer. Images have other channels than
    /// RGB. The folder holds other files, or cannot be written.
    pub fn save_for_timm(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let arch = &self.model.description.arch;
        let network = weights::timm_network(arch, self.variant).ok_or_else(|| {
            Error::usage(format!("timm has no network that computes the same as `{arch}`"))
                .hint("write an ONNX file: `--out NAME.onnx`")
        })?;
        if !matches!(self.head, Head::Linear(_)) {
            return Err(Error::usage(
                "timm's networks end in one linear layer, and this head is another one",
            )
            .hint("write an ONNX file: `--out NAME.onnx`"));
        }
        if self.images.keeps_depth() || self.images.channels != RGB_CHANNELS {
            return Err(Error::usage("timm reads images as 8-bit RGB, and this model reads others")
                .hint("write an ONNX file: `--out NAME.onnx`"));
        }
        let (size, step) = (self.images.image_size, network.size_step);
        if !size.is_multiple_of(step) {
            let name = network.name;
            return Err(Error::usage(format!(
                "timm's `{name}` computes the same as `{arch}` only for images of {step} pixels or multiples, and these have \
                 {size}"
            ))
            .hint("write a state dict, `--format torch --out DIR`, or an ONNX file, `--out NAME.onnx`"));
        }
        require_own_folder(folder, &[CONFIG, WEIGHTS, README])?;
        fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let files = [CONFIG, WEIGHTS, README].map(|name| folder.join(name));
        let config = format!("{:#}\n", self.config(network));
        store::write_output(&files[0], config.as_bytes())?;
        let failed = |error| Error::io("write", &files[1], error);
        let begun = disk::unfinished_file(folder).map_err(failed)?;
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        weights::save(begun.path(), &self.model.description, &self.state, Dialect::Timm, &metadata)?;
        begun.persist(&files[1]).map_err(|error| failed(error.error))?;
        store::write_output(&files[2], self.readme(network, folder).as_bytes())?;
        Ok(files.into())
    }

    fn config(&self, network: TimmNetwork) -> Json {
        let TimmNetwork { name, classifier, first_conv, has_image_size, size_step: _ } = network;
        let images = &self.images;
        let (mean, std): (Vec<f64>, Vec<f64>) = images.statistics().into_iter().unzip();
        let size = images.image_size;
        let crop = match images.fit {
            Fit::CentreCrop => {
                let resize = images.shorter_side(size);
                json!({ "crop_pct": size as f64 / resize as f64, "crop_mode": "center" })
            }
            Fit::Letterbox { .. } => json!({ "crop_pct": 1.0, "crop_mode": "border" }),
        };
        let mut config = json!({
            "architecture": name,
            "num_classes": self.classes.len(),
            "pretrained_cfg": {
                "input_size": [RGB_CHANNELS, size, size],
                "interpolation": "bilinear",
                "crop_pct": crop["crop_pct"],
                "crop_mode": crop["crop_mode"],
                "mean": mean,
                "std": std,
                "num_classes": self.classes.len(),
                "label_names": self.classes,
                "classifier": classifier,
                "first_conv": first_conv,
            },
        });
        if has_image_size {
            config["model_args"] = json!({ "img_size": size });
        }
        config
    }

    fn readme(&self, network: TimmNetwork, folder: &Path) -> String {
        let (checkpoint, folder) = (self.checkpoint.display(), folder.display());
        let arch = &self.model.description.arch;
        let probabilities = match self.kind.output_form() {
            OutputForm::Independent => "sigmoid()",
            OutputForm::Exclusive | OutputForm::Boxes | OutputForm::Embeddings => "softmax(-1)",
        };
        format!(
            "# {arch}\n\nExported by defrost from `{checkpoint}`. `label_names` in `config.json` has the classes.\n\n\
             ```python\nimport timm\n\n\
             model = timm.create_model(\"local-dir:{folder}\", pretrained=True).eval()    # {}\n\
             transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n\
             probabilities = model(transform(image).unsqueeze(0)).{probabilities}\n```\n",
            network.name
        )
    }
}
