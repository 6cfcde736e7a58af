//! Numbers that an architecture fixes and files keep.

use super::*;
use crate::pipeline::{Arch, DetectHead, Head};

const NAME: &str = "model.23.dfl.conv.weight";

fn detector() -> Description {
    let head = Head::Detect(DetectHead { class_width: None });
    Model::build(&pipeline::Model { head, ..pipeline::Model::of(Arch::Yolo11N) }, 2).description
}

/// Saves a fresh state after a change, and loads it.
fn loaded(
    settings: &str,
    change: impl FnOnce(&mut Description, &mut StateDict, usize),
) -> Result<Vec<f32>, String> {
    let description = detector();
    let (mut written, mut state) = (description.clone(), initialize_all(&description, 1).unwrap());
    let id = description.id(NAME).unwrap();
    change(&mut written, &mut state, id);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    save(&path, &written, &state, Dialect::Own, &BTreeMap::new()).unwrap();
    let rules = LoadRules::resolve(&description, &stage(settings)).unwrap();
    let source = WeightsFile::open(&path).unwrap();
    let state = load(&description, &source, &rules, 2).map_err(|error| error.message)?;
    Ok(state.tensors[id].flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn a_constant_is_saved_and_a_file_may_lack_it_but_not_contradict_it() {
    let bins: Vec<f32> = (0..16).map(|bin| bin as f32).collect();
    assert_eq!(loaded("", |_, _, _| ()), Ok(bins.clone()));
    let lacking = |description: &mut Description, state: &mut StateDict, id: usize| {
        description.tensors.remove(id);
        state.tensors.remove(id);
    };
    assert_eq!(loaded("", lacking), Ok(bins.clone()));
    let other = |_: &mut Description, state: &mut StateDict, id: usize| {
        state.tensors[id] = state.tensors[id].affine(1.0, 1.0).unwrap();
    };
    let message = loaded("", other).unwrap_err();
    assert!(
        message.contains(&format!("tensor `{NAME}`")) && message.contains("is not 0, 1, …, 15"),
        "{message}"
    );
    assert_eq!(loaded(&format!("reinit = [\"{NAME}\"]"), other), Ok(bins));
}
