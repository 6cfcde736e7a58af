//! Verifies a run directory: its files have their original bytes, and frozen tensors did not change.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{RunDirectory, RunState, StageRecord};
use crate::error::{Error, Result};
use crate::freeze::{self, TensorChange};
use crate::store::disk;
use crate::weights::WeightsFile;

/// What was checked, and the problems found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The number of files with their original bytes.
    pub files: usize,
    pub frozen: Vec<FrozenProof>,
    pub problems: Vec<VerifyProblem>,
}

/// A checkpoint whose frozen tensors equal the starting weights bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrozenProof {
    pub stage: String,
    pub checkpoint: String,
    /// How many tensors were compared.
    pub tensors: usize,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum VerifyProblem {
    /// A file in the manifest is missing.
    Missing { file: String },
    /// A file is not in the manifest.
    Unexpected { file: String },
    /// A file does not have its original bytes.
    Changed { file: String },
    /// A frozen tensor differs from the starting weights: first at this element, in row-major order. No element
    /// if one of the two lacks the tensor or it has another shape.
    Moved { file: String, tensor: String, element: Option<usize>, reason: String },
    /// A checkpoint cannot be read, so nothing is proved about it.
    Unreadable { file: String, reason: String },
}

impl fmt::Display for VerifyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { file } => write!(f, "`{file}` is missing"),
            Self::Unexpected { file } => write!(f, "`{file}` does not belong to this run"),
            Self::Changed { file } => write!(f, "`{file}` changed since the run ended"),
            Self::Moved { file, reason, .. } => write!(f, "`{file}`: frozen {reason}"),
            Self::Unreadable { file, reason } => write!(f, "cannot read `{file}`: {reason}"),
        }
    }
}

/// Reads every file of a finished run again, and compares frozen tensors again.
///
/// # Errors
/// The run is not complete, or its manifest or plan cannot be read.
pub fn verify(run: &RunDirectory) -> Result<VerifyReport> {
    let state = run.state();
    if state != RunState::Complete {
        return Err(Error::usage(format!(
            "`{}` is {state}: only a complete run can be verified",
            run.path().display()
        ))
        .hint("run its pipeline again to resume it"));
    }
    let manifest = run.manifest()?;
    let there = run.listed_files();
    let present: BTreeSet<&String> = there.iter().collect();
    let mut problems: Vec<VerifyProblem> = there
        .iter()
        .filter(|file| !manifest.contains_key(*file))
        .map(|file| VerifyProblem::Unexpected { file: file.clone() })
        .collect();
    for (file, digest) in &manifest {
        if !present.contains(file) {
            problems.push(VerifyProblem::Missing { file: file.clone() });
        } else if disk::digest_file(&run.path().join(file))? != *digest {
            problems.push(VerifyProblem::Changed { file: file.clone() });
        }
    }
    let files = there.len()
        - problems.iter().filter(|problem| !matches!(problem, VerifyProblem::Missing { .. })).count();
    let mut frozen = Vec::new();
    for stage in &run.record()?.stages {
        prove_frozen(run, stage, &mut frozen, &mut problems)?;
    }
    Ok(VerifyReport { files, frozen, problems })
}

fn prove_frozen(
    run: &RunDirectory,
    stage: &StageRecord,
    proofs: &mut Vec<FrozenProof>,
    problems: &mut Vec<VerifyProblem>,
) -> Result<()> {
    let Some(source) = stage.source.as_ref().filter(|_| !stage.frozen.is_empty()) else {
        return Ok(());
    };
    if !disk::stays_below(source) {
        return Err(Error::failed(format!("the plan names `{source}` as a checkpoint of this run")));
    }
    for checkpoint in ["best.safetensors", "last.safetensors"] {
        let file = format!("stages/{}/{checkpoint}", stage.name);
        // Missing files were reported before.
        if !run.path().join(source).exists() || !run.path().join(&file).exists() {
            continue;
        }
        let proof = WeightsFile::open(&run.path().join(source)).and_then(|before| {
            freeze::changed_tensors(&before, &WeightsFile::open(&run.path().join(&file))?, &stage.frozen)
        });
        match proof {
            Ok(moved) if moved.is_empty() => {
                let (stage, tensors) = (stage.name.clone(), stage.frozen.len());
                proofs.push(FrozenProof { stage, checkpoint: checkpoint.into(), tensors });
            }
            Ok(moved) => problems.extend(moved.into_iter().map(|moved| {
                let reason = moved.to_string();
                let element = match moved.change {
                    TensorChange::Value { index, .. } => Some(index),
                    TensorChange::Missing { .. } | TensorChange::Shape { .. } => None,
                };
                VerifyProblem::Moved { file: file.clone(), tensor: moved.name, element, reason }
            })),
            Err(error) => problems.push(VerifyProblem::Unreadable { file, reason: error.message }),
        }
    }
    Ok(())
}
