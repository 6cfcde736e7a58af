//! The bits of every numeric code path: one digest per profile for each name and version.
//!
//! Recipes rely on versions: if bits changed without a new version, the store would return results that the
//! program no longer computes. Changed bits therefore fail until the version is raised, and a raised version
//! fails until its digests are taken with `UPDATE_GOLDEN=1 cargo test --test engine golden` (for profiles that a
//! machine lacks, on a machine that has them).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use defrost::code_path::CodePath;
use defrost::ops::profile::Profile;
use defrost::{data, features, metrics, model, ops, report, train, weights};

use super::paths::PATHS;

const PROFILE: &str = "DEFROST_GOLDEN_PROFILE";
const UPDATE: &str = "UPDATE_GOLDEN";
const HEADER: &str =
    "# What each numeric code path computes, by profile, name and version: tests/engine/golden.rs.\n\n";

/// By name and version, such as `conv2d 1`.
type Digests = BTreeMap<String, String>;

/// Every declared code path, by name.
pub fn declared() -> BTreeMap<&'static str, CodePath> {
    let rooms = [
        ops::code_paths::ALL,
        model::code_paths::ALL,
        data::code_paths::ALL,
        features::code_paths::ALL,
        weights::code_paths::ALL,
        train::code_paths::ALL,
        metrics::code_paths::ALL,
        report::code_paths::ALL,
    ];
    let all = rooms.concat();
    let by_name: BTreeMap<_, _> = all.iter().map(|path| (path.name(), *path)).collect();
    assert_eq!(by_name.len(), all.len(), "two code paths have one name");
    assert!(all.iter().all(|path| path.version() > 0));
    by_name
}

/// A process has one profile, so each profile runs in its own process.
fn computed(profile: Profile) -> Digests {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["golden::digests_under_one_profile", "--exact", "--ignored", "--nocapture"])
        .env(PROFILE, profile.name())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{profile}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let (name, digest) = line.strip_prefix("golden: ")?.split_once(" = ")?;
        Some((name.to_owned(), digest.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[test]
#[ignore = "run by the test below, once for each profile"]
fn digests_under_one_profile() {
    let Ok(name) = std::env::var(PROFILE) else { return };
    let profile = Profile::supported().find(|profile| profile.name() == name).unwrap();
    profile.choose().unwrap();
    println!();
    for (path, digest) in PATHS {
        println!("golden: {} {} = {}", path.name(), path.version(), digest());
    }
}

#[test]
fn bits_change_only_with_their_version() {
    let mut pinned: BTreeSet<CodePath> = declared().into_values().collect();
    pinned.retain(|path| !model::code_paths::COMPUTED_BY_CANDLE.contains(path));
    let digested: BTreeSet<CodePath> = PATHS.iter().map(|(path, _)| *path).collect();
    assert_eq!(digested, pinned, "every code path has its digest");
    assert_eq!(digested.len(), PATHS.len(), "a code path has two digests");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut golden: BTreeMap<String, Digests> = toml::from_str(&text).unwrap();
    let update = std::env::var(UPDATE).is_ok();
    let mut wrong = Vec::new();
    for profile in Profile::supported() {
        let computed = computed(profile);
        assert_eq!(computed.len(), PATHS.len());
        let pinned = golden.entry(profile.name().to_owned()).or_default();
        for (path, digest) in &computed {
            match pinned.get(path) {
                Some(pinned) if pinned == digest => (),
                None if update => (),
                None => wrong.push(format!(
                    "{profile}: `{path}` has no digest yet: run `{UPDATE}=1 cargo test --test engine golden`"
                )),
                Some(_) => wrong.push(format!(
                    "{profile}: `{path}` computes other bits: raise its version, then run \
                     `{UPDATE}=1 cargo test --test engine golden`"
                )),
            }
        }
        *pinned = computed;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    if update {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{HEADER}{}", toml::to_string(&golden).unwrap())).unwrap();
    }
}
