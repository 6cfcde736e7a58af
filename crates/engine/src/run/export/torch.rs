//! A folder for PyTorch: `model.pth`, a state dict under the names of torchvision or of the published weights, and
//! `preprocessing.json`.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::require_own_folder;
use crate::error::{Error, Result};
use crate::pipeline::{Arch, Fit, Head, Variant};
use crate::run::Predictor;
use crate::store::{self, disk};
use crate::weights::{self, Dialect};

const WEIGHTS: &str = "model.pth";
const PREPROCESSING: &str = "preprocessing.json";
const README: &str = "README.md";

impl Predictor {
    /// Writes the weights as float32 for `torch.load`, with what is done to images before, and returns the files. The folder
    /// is made, or is that of an earlier export.
    ///
    /// # Errors
    /// The folder holds other files, or cannot be written.
    pub fn save_for_torch(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        require_own_folder(folder, &[WEIGHTS, PREPROCESSING, README])?;
        fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let files = [WEIGHTS, PREPROCESSING, README].map(|name| folder.join(name));
        let failed = |error| Error::io("write", &files[0], error);
        let begun = disk::unfinished_file(folder).map_err(failed)?;
        weights::save_pytorch(
            BufWriter::new(begun.as_file()),
            &self.model.description,
            &self.state,
            Dialect::Own,
        )?;
        begun.as_file().sync_all().map_err(failed)?;
        begun.persist(&files[0]).map_err(|error| failed(error.error))?;
        let preprocessing = format!("{:#}\n", self.torch_preprocessing());
        store::write_output(&files[1], preprocessing.as_bytes())?;
        store::write_output(&files[2], self.torch_readme(folder).as_bytes())?;
        Ok(files.into())
    }

    fn torch_preprocessing(&self) -> Json {
        let images = &self.images;
        let (mean, std): (Vec<f64>, Vec<f64>) = images.statistics().into_iter().unzip();
        let mut document = json!({
            "arch": self.model.description.arch,
            "variant": self.variant,
            "checkpoint": self.checkpoint.display().to_string(),
            "classes": self.classes,
            "image_size": images.image_size,
            "channels": images.channels,
            "interpolation": "bilinear",
            "antialias": true,
            "mean": mean,
            "std": std,
            // How files are read, as in the run's recipe.
            "settings": self.preprocessing,
        });
        match images.fit {
            Fit::CentreCrop => {
                document["fit"] = json!("centre_crop");
                document["resize"] = json!(images.shorter_side(images.image_size));
            }
            Fit::Letterbox { pad } => {
                document["fit"] = json!("letterbox");
                document["pad"] = json!(pad);
            }
        }
        document
    }

    fn torch_readme(&self, folder: &Path) -> String {
        let arch = self.model.description.arch.as_str();
        let (checkpoint, folder) = (self.checkpoint.display(), folder.display());
        let (import, network) = if self.is_in_torchvision() {
            let size = match arch.starts_with("vit") {
                true => format!(", image_size={}", self.images.image_size),
                false => String::new(),
            };
            let classes = self.classes.len();
            (", torchvision", format!("torchvision.models.{arch}(num_classes={classes}{size})"))
        } else {
            ("", "...    # an implementation with these names; torchvision has none".to_owned())
        };
        format!(
            "# {arch}\n\nExported by defrost from `{checkpoint}`. `model.pth` is a state dict of float32 under the names of \
             `defrost params`. `preprocessing.json` has the classes, in the order of the outputs, and what is done to images \
             before.\n\n\
             ```python\nimport torch{import}\n\n\
             model = {network}\n\
             model.load_state_dict(torch.load(\"{folder}/model.pth\", weights_only=True))\n\
             model.eval()\n```\n"
        )
    }

    /// Whether torchvision's function of this name builds the network, with this head.
    fn is_in_torchvision(&self) -> bool {
        let arch = Arch::all().iter().find(|arch| arch.name() == self.model.description.arch);
        arch.is_some_and(|arch| arch.is_in_torchvision())
            && matches!(self.head, Head::Linear(_))
            && self.variant == Variant::default()
            && self.images.channels == 3
    }
}
