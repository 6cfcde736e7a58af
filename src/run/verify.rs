//! Whether a run directory still tells the truth: its bytes are those it was sealed with, and what was frozen did not move.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Serialize;

use super::{RunDirectory, StageRecord, State};
use crate::error::{Error, Result};
use crate::store::disk;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Files whose bytes are as sealed.
    pub files: usize,
    pub frozen: Vec<FrozenProof>,
    pub problems: Vec<Problem>,
}

/// A checkpoint whose frozen tensors are, bit for bit, those it started from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrozenProof {
    pub stage: String,
    pub checkpoint: String,
    /// How many tensors were compared.
    pub tensors: usize,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// The manifest names a file that is not there.
    Missing { file: String },
    /// A file is there that the manifest does not name.
    Unexpected { file: String },
    /// A file has other bytes than when the run was sealed.
    Changed { file: String },
    /// A frozen tensor differs from the one the stage started from, first at this element in row-major order.
    Moved { file: String, tensor: String, element: usize },
    /// A frozen tensor cannot be compared: one of the two lacks it, or it has another shape or type.
    Incomparable { file: String, tensor: String, reason: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { file } => write!(f, "`{file}` is missing"),
            Self::Unexpected { file } => write!(f, "`{file}` is not of this run"),
            Self::Changed { file } => write!(f, "`{file}` has other bytes than when the run ended"),
            Self::Moved { file, tensor, element } => {
                write!(f, "`{file}`: frozen `{tensor}` moved, first at element {element}")
            }
            Self::Incomparable { file, tensor, reason } => write!(f, "`{file}`: frozen `{tensor}` {reason}"),
        }
    }
}

/// Reads every file of a finished run again, and proves again that what was frozen did not move.
///
/// # Errors
/// The run is not complete, or its manifest or plan cannot be read.
pub fn verify(run: &RunDirectory) -> Result<Verification> {
    let state = run.state();
    if state != State::Complete {
        return Err(Error::usage(format!(
            "`{}` is {state}: only a complete run can be verified",
            run.path().display()
        ))
        .hint("run its pipeline again, which resumes it"));
    }
    let manifest = run.manifest()?;
    let there = run.listed_files();
    let present: BTreeSet<&String> = there.iter().collect();
    let mut problems: Vec<Problem> = there
        .iter()
        .filter(|file| !manifest.contains_key(*file))
        .map(|file| Problem::Unexpected { file: file.clone() })
        .collect();
    for (file, digest) in &manifest {
        if !present.contains(file) {
            problems.push(Problem::Missing { file: file.clone() });
        } else if disk::digest_file(&run.path().join(file))? != *digest {
            problems.push(Problem::Changed { file: file.clone() });
        }
    }
    let files =
        there.len() - problems.iter().filter(|problem| !matches!(problem, Problem::Missing { .. })).count();
    let mut frozen = Vec::new();
    for stage in &run.record()?.stages {
        prove_frozen(run, stage, &mut frozen, &mut problems)?;
    }
    Ok(Verification { files, frozen, problems })
}

fn prove_frozen(
    run: &RunDirectory,
    stage: &StageRecord,
    proofs: &mut Vec<FrozenProof>,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let Some(source) = stage.source.as_ref().filter(|_| !stage.frozen.is_empty()) else {
        return Ok(());
    };
    if !disk::stays_below(source) {
        return Err(Error::failed(format!("the plan names `{source}` as a checkpoint of this run")));
    }
    // A missing checkpoint has been told already.
    let Ok(source) = fs::read(run.path().join(source)) else { return Ok(()) };
    for name in ["best.safetensors", "last.safetensors"] {
        let file = format!("stages/{}/{name}", stage.name);
        let Ok(checkpoint) = fs::read(run.path().join(&file)) else { continue };
        let found =
            moved(&source, &checkpoint, &stage.frozen).map_err(|error| error.within(format!("`{file}`")))?;
        if found.is_empty() {
            proofs.push(FrozenProof {
                stage: stage.name.clone(),
                checkpoint: name.into(),
                tensors: stage.frozen.len(),
            });
        }
        problems.extend(found.into_iter().map(|(tensor, fault)| match fault {
            Fault::Element(element) => Problem::Moved { file: file.clone(), tensor, element },
            Fault::Other(reason) => {
                Problem::Incomparable { file: file.clone(), tensor, reason: reason.into() }
            }
        }));
    }
    Ok(())
}

enum Fault {
    Element(usize),
    Other(&'static str),
}

/// The named tensors whose bits differ between two safetensors files of one run, and where first.
fn moved(source: &[u8], checkpoint: &[u8], names: &[String]) -> Result<BTreeMap<String, Fault>> {
    let open = |bytes| {
        SafeTensors::deserialize(bytes)
            .map_err(|error| Error::failed(format!("not a safetensors file: {error}")))
    };
    let (source, checkpoint) = (open(source)?, open(checkpoint)?);
    let fault = |name: &String| match (source.tensor(name), checkpoint.tensor(name)) {
        (Ok(source), Ok(checkpoint)) => first_difference(&source, &checkpoint),
        (Err(_), _) => Some(Fault::Other("is not in the checkpoint the stage started from")),
        (_, Err(_)) => Some(Fault::Other("is not in it")),
    };
    Ok(names.iter().filter_map(|name| Some((name.clone(), fault(name)?))).collect())
}

fn first_difference(source: &TensorView, checkpoint: &TensorView) -> Option<Fault> {
    if (source.dtype(), source.shape()) != (checkpoint.dtype(), checkpoint.shape()) {
        return Some(Fault::Other("has another shape or type than where the stage started"));
    }
    let byte = source.data().iter().zip(checkpoint.data()).position(|(a, b)| a != b)?;
    Some(Fault::Element(byte * 8 / source.dtype().bitsize()))
}
