//! What only the names of parameters and classes can tell: which model a stage computes with, and whether its rules fit.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Description, Model};
use crate::pipeline::{self, Data, Diagnostic, Resolved, Stage};
use crate::weights::{LoadRules, Source, origins};

/// How many classes a model has whose data set is not at hand; names and rules do not depend on it.
const ANY_CLASSES: usize = 2;

/// The classes of a data set, in the order of the model's outputs; its folder is read only where it does not name them.
///
/// # Errors
/// As [`Dataset::scan`].
pub fn classes(resolved: &Resolved, data: &str) -> Result<Vec<String>> {
    let Data::ImageFolder(folder) = &resolved.data[data];
    match &folder.classes {
        Some(classes) => Ok(classes.clone()),
        None => {
            let scanned = Dataset::scan(folder, &resolved.path(&folder.root)?);
            Ok(scanned.map_err(|error| error.within(format!("data `{data}`")))?.classes)
        }
    }
}

/// The names of the model and of the data set that a stage's weights began with.
pub fn lineage<'a>(resolved: &'a Resolved, stage: &str) -> Result<(&'a str, &'a str)> {
    let unknown = || Error::usage(format!("there is no stage `{stage}`"));
    let mut current = resolved.stage(stage).ok_or_else(unknown)?;
    while let Some(parent) = current.parent() {
        current = resolved.stage(parent.stage).ok_or_else(unknown)?;
    }
    let (model, data) = match current {
        Stage::LoadWeights(load) => (&load.model, &load.data),
        Stage::InitWeights(init) => (&init.model, &init.data),
        Stage::Train(_) | Stage::Evaluate(_) => (&None, &None),
    };
    match (model, data) {
        (Some(model), Some(data)) => Ok((model, data)),
        _ => Err(Error::failed(format!("internal: stage `{stage}` has no model"))),
    }
}

/// The description of the model a stage computes with, with a head for `classes` classes.
pub fn describe(resolved: &Resolved, stage: &str, classes: usize) -> Result<Description> {
    let (model, _) = lineage(resolved, stage)?;
    let spec: &pipeline::Model = &resolved.model[model];
    Ok(Model::build(spec, classes).description)
}

/// Holds the rules of every stage against its model, and with `inputs` the weight files too: everything that is wrong.
pub fn check(resolved: &Resolved, inputs: bool) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for (name, stage) in &resolved.stages {
        let Ok(description) = describe(resolved, name, ANY_CLASSES) else { continue };
        let errors = match stage {
            Stage::LoadWeights(load) => match LoadRules::resolve(&description, load) {
                Ok(rules) if inputs => {
                    let at = format!("stage.{name}.file");
                    diagnostics.extend(
                        check_weights(resolved, name, load, rules)
                            .err()
                            .map(|error| resolved.diagnose(&at, "weights", error.message, error.hint)),
                    );
                    Vec::new()
                }
                outcome => outcome.err().unwrap_or_default(),
            },
            Stage::Train(train) => ParameterTable::resolve(&description, train).err().unwrap_or_default(),
            Stage::InitWeights(_) | Stage::Evaluate(_) => Vec::new(),
        };
        diagnostics.extend(errors.into_iter().map(|error| {
            resolved.diagnose(
                &format!("stage.{name}.{}", error.setting),
                error.code,
                error.message,
                error.help,
            )
        }));
    }
    diagnostics
}

/// Reads the header of a weight file and holds it against the model.
fn check_weights(
    resolved: &Resolved,
    stage: &str,
    load: &pipeline::LoadWeights,
    mut rules: LoadRules,
) -> Result<()> {
    let (_, data) = lineage(resolved, stage)?;
    // What is wrong with the data is not told here.
    let Ok(classes) = classes(resolved, data) else { return Ok(()) };
    let description = describe(resolved, stage, classes.len())?;
    rules.classes = Some(classes);
    origins(&description, &Source::open(&resolved.path(&load.file)?)?, &rules)?;
    Ok(())
}
