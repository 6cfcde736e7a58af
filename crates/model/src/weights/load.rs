//! Strict loading: every tensor of the model is read or explicitly initialised, and none of the file is silently
//! ignored.

use std::collections::HashSet;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::unmatched::Unmatched;
use super::{LoadRules, WeightsFile, initialize};
use crate::error::{Error, Result};
use crate::model::{Description, StateDict, TensorId, TensorRole, TensorSpec};
use crate::sanitize;

/// Where a tensor's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Source,
    /// Initialised: named by `reinit`, or missing or mismatched and allowed.
    Initialized,
}

/// Reads the tensors of a description from a file. Tensors that are not read are initialised from `seed`.
///
/// # Errors
/// As [`origins`]; also a tensor of an unsupported type.
pub fn load(
    description: &Description,
    source: &WeightsFile,
    rules: &LoadRules,
    seed: u64,
) -> Result<StateDict> {
    let origins = origins(description, source, rules)?;
    let read = |(spec, origin): (&TensorSpec, &Origin)| match origin {
        Origin::Initialized => initialize(spec, seed),
        Origin::Source if spec.role == TensorRole::BatchCount => {
            let count = source.count(&spec.name).map_err(|what| source.file_error(&spec.name, &what))?;
            Ok(Tensor::full(count, spec.shape.as_slice(), &Device::Cpu)?)
        }
        Origin::Source => {
            let tensor = source.tensor(&spec.name)?;
            if !is_finite(&tensor)? {
                return Err(Error::usage(format!(
                    "tensor `{}` of `{}` has values that are not finite",
                    source.written(&spec.name),
                    source.path().display()
                ))
                .hint("the file is damaged, or its training diverged: use another checkpoint"));
            }
            if spec.role == TensorRole::Constant {
                require_constant(spec, &tensor, source)?;
            }
            Ok(tensor)
        }
    };
    let tensors = description.tensors.par_iter().zip(&origins).map(read).collect::<Result<_>>()?;
    Ok(StateDict { tensors })
}

/// The computation always uses these numbers, so a file with others is of another network.
fn require_constant(spec: &TensorSpec, found: &Tensor, source: &WeightsFile) -> Result<()> {
    let numbers = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1()?) };
    if numbers(found)? == numbers(&initialize(spec, 0)?)? {
        return Ok(());
    }
    let (name, file, last) = (source.written(&spec.name), source.path().display(), spec.elements() - 1);
    Err(Error::usage(format!(
        "tensor `{name}` of `{file}` is not 0, 1, …, {last}, as in every published file"
    ))
    .hint(format!(
        "the file is of another network; to ignore the tensor, add `reinit = [\"{}\"]`",
        spec.name
    )))
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    Ok(numbers.iter().all(|number| number.is_finite()))
}

/// Decides where the values of each tensor come from. It reads no values except counts.
///
/// A file may lack `num_batches_tracked`: PyTorch before 0.4.1 and many converters omit it, and no computation
/// depends on it. It then starts at 0. It may also lack constants of the architecture. Tensors that [`Description::ignores`] names are silently skipped.
///
/// # Errors
/// One error lists all missing, unexpected, mismatched and mistyped tensors that no rule allows. Also: rules
/// that match nothing, and a head trained on other classes that is not reinitialised.
pub fn origins(description: &Description, source: &WeightsFile, rules: &LoadRules) -> Result<Vec<Origin>> {
    check_classes(description, source, rules)?;
    let entries = source.entries();
    let mut origins = vec![Origin::Source; description.tensors.len()];
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    for (id, spec) in description.tensors.iter().enumerate() {
        match entries.get(&spec.name) {
            _ if rules.reinit.contains(id) => origins[id] = Origin::Initialized,
            None if matches!(spec.role, TensorRole::BatchCount | TensorRole::Constant) => {
                origins[id] = Origin::Initialized
            }
            None => missing.push(id),
            Some(entry) if entry.shape != spec.shape => mismatched.push(id),
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = description.tensors.iter().map(|spec| spec.name.as_str()).collect();
    let strange = |name: &&str| !known.contains(name) && !description.ignores(name);
    let mut unexpected: Vec<&str> = entries.keys().map(String::as_str).filter(strange).collect();

    let (allowed, idle_missing) = rules.missing.apply_to(description, &missing);
    missing = take_allowed(missing, &allowed, &mut origins);
    let (allowed, idle_mismatched) = rules.mismatched.apply_to(description, &mismatched);
    mismatched = take_allowed(mismatched, &allowed, &mut origins);
    let (allowed, idle_unexpected) = rules
        .unexpected
        .apply(unexpected.len(), |pattern, item| pattern.matches_name(&source.written(unexpected[item])));
    let mut allowed = allowed.into_iter();
    unexpected.retain(|_| !allowed.next().unwrap_or(false));

    let read = description.tensors.iter().enumerate().filter(|(id, _)| origins[*id] == Origin::Source);
    let read = read.filter(|(id, _)| !missing.contains(id) && !mismatched.contains(id));
    let mistyped: Vec<(TensorId, String)> =
        read.filter_map(|(id, spec)| Some((id, wrong_type(spec, source)?))).collect();

    if !(missing.is_empty() && mismatched.is_empty() && unexpected.is_empty() && mistyped.is_empty()) {
        return Err(Unmatched { description, source, missing, mismatched, unexpected, mistyped }.error());
    }
    let idle = [idle_missing, idle_mismatched, idle_unexpected].concat();
    if !idle.is_empty() {
        let path = source.path().display();
        return Err(Error::usage(format!(
            "{} allows something that does not occur in `{path}`",
            idle.join(" and ")
        ))
        .hint("remove the pattern: it is not needed for this file"));
    }
    Ok(origins)
}

/// Why values cannot be used by the model: a count must be one whole number, everything else floats.
fn wrong_type(spec: &TensorSpec, source: &WeightsFile) -> Option<String> {
    match spec.role {
        TensorRole::BatchCount => source.count(&spec.name).err(),
        _ => {
            let dtype = &source.entries()[&spec.name].dtype;
            (!dtype.is_float()).then(|| format!("holds {dtype} numbers, but floats are expected"))
        }
    }
}

/// Marks the allowed tensors as initialised and returns the rest.
fn take_allowed(ids: Vec<TensorId>, allowed: &[bool], origins: &mut [Origin]) -> Vec<TensorId> {
    let (allowed, refused): (Vec<_>, Vec<_>) =
        ids.into_iter().zip(allowed).partition(|(_, allowed)| **allowed);
    for (id, _) in allowed {
        origins[id] = Origin::Initialized;
    }
    refused.into_iter().map(|(id, _)| id).collect()
}

/// Compares the classes recorded in a file with those of the head, by name and order.
fn check_classes(description: &Description, source: &WeightsFile, rules: &LoadRules) -> Result<()> {
    const SHOWN: usize = 8;
    let recorded = source.metadata().get("defrost.classes");
    let recorded = recorded.and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
    let (Some(recorded), Some(wanted)) = (recorded, &rules.classes) else { return Ok(()) };
    let fresh = description.parameters().all(|(id, _)| !description.in_head(id) || rules.reinit.contains(id));
    if recorded == *wanted || fresh {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the head in `{}` was trained on the classes {}, but this data set has {}",
        source.path().display(),
        sanitize::list(&recorded, SHOWN),
        sanitize::list(wanted, SHOWN),
    ))
    .hint("add `reinit = [\"@head\"]` to the stage, or list `classes` in the same order"))
}
