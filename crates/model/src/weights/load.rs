//! Strict loading: every tensor of the model is read or explicitly initialised, and none of the file is silently
//! ignored.

use std::collections::{BTreeMap, HashSet};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::class_rows::{ClassMapping, rows};
use super::data_type::DataType;
use super::first_conv::{adapted, differs_in_channels, first_conv};
use super::fused::{self, FusedNorm};
use super::unmatched::Unmatched;
use super::weights_file::TensorEntry;
use super::{LoadRules, WeightsFile, initialize};
use crate::error::{Error, Result};
use crate::model::{Description, Init, StateDict, TensorId, TensorRole, TensorSpec};
use crate::sanitize;

/// Where a tensor's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Source,
    /// Initialised: named by `reinit`, or missing or mismatched and allowed.
    Initialized,
    /// Some rows are those of the file's classes; the others are initialised.
    ClassRows,
    /// The file's first convolution, for another number of channels.
    FirstConv,
    /// Batch normalisation that the file has merged into a convolution. The bias is the convolution's; the other values
    /// are initialised, until [`crate::model::Model::restore_batch_norms`] computes them.
    Restored,
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
    let mapping = ClassMapping::new(source, rules)?;
    let biases: BTreeMap<TensorId, String> = fused::fused(description, source)
        .into_iter()
        .map(|FusedNorm { norm, bias }| (description.norms[norm].bias, bias))
        .collect();
    let read = |(id, spec): (TensorId, &TensorSpec)| match (origins[id], &mapping, rules.first_conv) {
        (Origin::Initialized, ..) => initialize(spec, seed),
        (Origin::Restored, ..) => match biases.get(&id) {
            Some(bias) => finite(source, bias),
            None => initialize(spec, seed),
        },
        (Origin::ClassRows, Some(mapping), _) => mapping.tensor(spec, &finite(source, &spec.name)?, seed),
        (Origin::FirstConv, _, Some(method)) => adapted(method, spec, &finite(source, &spec.name)?, seed),
        _ if spec.role == TensorRole::BatchCount => {
            let count = source.count(&spec.name).map_err(|what| source.file_error(&spec.name, &what))?;
            Ok(Tensor::full(count, spec.shape.as_slice(), &Device::Cpu)?)
        }
        _ if spec.role == TensorRole::Constant => constant(spec, source),
        _ => finite(source, &spec.name),
    };
    let tensors = description.tensors.par_iter().enumerate().map(read).collect::<Result<_>>()?;
    Ok(StateDict { tensors })
}

/// The numbers that the architecture fixes. The computation always uses these, so a file with others is of another network.
fn constant(spec: &TensorSpec, source: &WeightsFile) -> Result<Tensor> {
    let numbers =
        |tensor: &Tensor| -> Result<Vec<f64>> { Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?) };
    let expected = initialize(spec, 0)?;
    if numbers(&source.tensor(&spec.name)?)? == numbers(&expected)? {
        return Ok(expected);
    }
    let (name, file) = (source.written(&spec.name), source.path().display());
    let what = match spec.init {
        Init::RelativePositions { .. } => "does not have the relative positions of a window".to_owned(),
        _ => format!("is not 0, 1, …, {}", spec.elements() - 1),
    };
    Err(Error::usage(format!("tensor `{name}` of `{file}` {what}, as in every published file")).hint(
        format!("the file is of another network; to ignore the tensor, add `reinit = [\"{}\"]`", spec.name),
    ))
}

/// Reads floats.
fn finite(source: &WeightsFile, name: &str) -> Result<Tensor> {
    let tensor = source.tensor(name)?;
    if is_finite(&tensor)? {
        return Ok(tensor);
    }
    Err(Error::usage(format!(
        "tensor `{}` of `{}` has values that are not finite",
        source.written(name),
        source.path().display()
    ))
    .hint("the file is damaged, or its training diverged: use another checkpoint"))
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
    let fused = fused::fused(description, source);
    if !fused.is_empty() && !rules.restores_norms {
        return Err(fused::error(description, source, &fused));
    }
    check_classes(description, source, rules)?;
    let mapping = ClassMapping::new(source, rules)?;
    let first_conv = rules.first_conv.and_then(|_| first_conv(description));
    let entries = source.entries();
    let mut origins = vec![Origin::Source; description.tensors.len()];
    for norm in fused.iter().map(|fused| &description.norms[fused.norm]) {
        for id in [norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.batch_count] {
            origins[id] = Origin::Restored;
        }
    }
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    for (id, spec) in description.tensors.iter().enumerate() {
        let takes_rows = |entry: &TensorEntry| match &mapping {
            Some(mapping) if rules.class_tensors.contains(&id) => {
                rows(&entry.shape) == mapping.file_rows() && entry.shape.get(1..) == spec.shape.get(1..)
            }
            _ => false,
        };
        match entries.get(&spec.name) {
            _ if rules.reinit.contains(id) => origins[id] = Origin::Initialized,
            _ if origins[id] == Origin::Restored => {}
            None if matches!(spec.role, TensorRole::BatchCount | TensorRole::Constant) => {
                origins[id] = Origin::Initialized
            }
            None => missing.push(id),
            Some(entry) if takes_rows(entry) => origins[id] = Origin::ClassRows,
            Some(entry) if first_conv == Some(id) && differs_in_channels(&spec.shape, &entry.shape) => {
                origins[id] = Origin::FirstConv;
            }
            Some(entry) if entry.shape != spec.shape => mismatched.push(id),
            Some(_) => {}
        }
    }
    let restored = |fused: &&FusedNorm| fused::is_restored(&description.norms[fused.norm], rules);
    for FusedNorm { norm, bias } in fused.iter().filter(restored) {
        let spec = &description.tensors[description.norms[*norm].bias];
        let entry = &entries[bias];
        if entry.shape != spec.shape || !entry.dtype.is_float() {
            let what =
                format!("has the shape {:?} of {}, not {:?} of floats", entry.shape, entry.dtype, spec.shape);
            return Err(source
                .file_error(bias, &what)
                .hint("load weights of the same architecture and size"));
        }
    }
    let biases: HashSet<&str> = fused.iter().map(|fused| fused.bias.as_str()).collect();
    let known: HashSet<&str> = description.tensors.iter().map(|spec| spec.name.as_str()).collect();
    let strange = |name: &&str| !known.contains(name) && !biases.contains(name) && !description.ignores(name);
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

    let read = description
        .tensors
        .iter()
        .enumerate()
        .filter(|(id, _)| matches!(origins[*id], Origin::Source | Origin::ClassRows | Origin::FirstConv));
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
    let has = |origin| origins.contains(&origin);
    let needless = [
        ("class_rows", rules.class_rows.is_some() && mapping.is_some() && !has(Origin::ClassRows)),
        ("first_conv", rules.first_conv.is_some() && !has(Origin::FirstConv)),
        ("restore_batch_norm", rules.restores_norms && !has(Origin::Restored)),
    ];
    match needless.iter().find(|(_, needless)| *needless) {
        Some((setting, _)) => Err(needless_setting(setting, source)),
        None => Ok(origins),
    }
}

/// A setting that changes nothing.
fn needless_setting(setting: &str, source: &WeightsFile) -> Error {
    let path = source.path().display();
    let why = match setting {
        "class_rows" => "no tensor with a row for each class is read",
        "first_conv" => "the first convolution has the model's number of channels, or is not read",
        _ => "it has its batch normalisation, or none that is read",
    };
    Error::usage(format!("`{setting}` has no effect on `{path}`: {why}")).hint(format!("remove `{setting}`"))
}

/// Why values cannot be used by the model: a count must be one whole number, everything else floats.
fn wrong_type(spec: &TensorSpec, source: &WeightsFile) -> Option<String> {
    match spec.role {
        TensorRole::BatchCount => source.count(&spec.name).err(),
        _ => {
            let dtype = &source.entries()[&spec.name].dtype;
            let fits = dtype.is_float() || spec.role == TensorRole::Constant && *dtype == DataType::I64;
            (!fits).then(|| format!("holds {dtype} numbers, but floats are expected"))
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
    let (Some(recorded), Some(wanted)) = (source.classes(), &rules.classes) else { return Ok(()) };
    let by_class = |id: &TensorId| match rules.class_tensors.as_slice() {
        [] => description.in_head(*id),
        tensors => tensors.contains(id),
    };
    let mut tensors = description.parameters().map(|(id, _)| id).filter(by_class);
    let fresh = tensors.all(|id| rules.reinit.contains(id));
    if recorded == *wanted || fresh || rules.class_rows.is_some() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the head in `{}` was trained on the classes {}, but this data set has {}",
        source.path().display(),
        sanitize::list(recorded, SHOWN),
        sanitize::list(wanted, SHOWN),
    ))
    .hint(
        "add `reinit = [\"@head\"]` to the stage, or `class_rows = \"by_name\"` to keep the classes of the same name, or list `classes` in the same order",
    ))
}
