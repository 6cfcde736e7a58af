//! Checks that weights fit an architecture, before the pipeline file is written.

use std::path::Path;

use defrost::model::Model;
use defrost::pipeline::{self, Arch};
use defrost::weights::{LoadRules, WeightsFile, origins};
use defrost::{Error, Result};
use serde_json::json;

/// Does what the first stage of the starter pipeline does: it loads all weights except the head.
///
/// # Errors
/// The file cannot be read, or its tensors are not those of the architecture. Then the hint names the architecture that
/// they fit.
pub(super) fn fit(file: &Path, arch: Arch, names: &[&str]) -> Result<()> {
    let Err(error) = loads(file, arch) else { return Ok(()) };
    let mut known = names.iter().filter_map(|name| Some((name, super::parsed(name).ok()?)));
    match known.find(|(_, other)| loads(file, *other).is_ok()) {
        Some((name, _)) => Err(of_option(error).hint(format!("use `--arch {name}`, which the weights fit"))),
        None => Err(of_option(error)),
    }
}

fn loads(file: &Path, arch: Arch) -> Result<()> {
    let description = Model::build(&pipeline::Model::of(arch), 2).description;
    let stage = serde_json::from_value(json!({ "file": file, "reinit": ["@head"] }));
    let stage = stage.map_err(|error| Error::bug(format!("the stage to try: {error}")))?;
    let rules =
        LoadRules::resolve(&description, &stage).map_err(|_| Error::bug("an architecture without a head"))?;
    origins(&description, &WeightsFile::open(file)?.translated(&description)?, &rules).map(drop)
}

pub(super) fn of_option(mut error: Error) -> Error {
    error.message = format!("--weights: {}", error.message);
    error
}
