//! Invariants of the code: the library is quiet, and imports run in one direction.
//!
//! The compiler checks the direction between crates; this test checks it between the modules of a crate.

use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// The modules of the library by layer, lowest first. A module imports only from lower layers.
const LAYERS: [&[&str]; 16] = [
    &["code_path", "regular_file", "sanitize"],
    &["csv_cells", "error"],
    &["capability", "ranks"],
    &["cuda", "digest", "memory", "random"],
    &["autograd", "events", "pipeline"],
    &["hub", "ops", "store"],
    &["data", "device", "metrics"],
    &["features", "model"],
    &["weights"],
    &["freeze"],
    &["report", "train"],
    &["task"],
    &["stage"],
    &["bench", "plan"],
    &["estimate"],
    &["run"],
];

/// Files of the crates by their path below `src`, and their text, without comments and tests.
fn library() -> Vec<(PathBuf, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let files = WalkDir::new(&crates).into_iter().map(|entry| entry.unwrap().into_path());
    let mut library = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let below = path.strip_prefix(&crates).unwrap().iter().skip(1).collect::<PathBuf>();
        let Ok(below) = below.strip_prefix("src").map(Path::to_owned) else { continue };
        let is_test = below
            .iter()
            .map(|part| part.to_string_lossy())
            .any(|part| part.starts_with("test") || part.trim_end_matches(".rs").ends_with("tests"));
        if is_test {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        library.push((below, code.collect::<Vec<_>>().join("\n")));
    }
    assert!(library.len() > 100, "the crates have files");
    library
}

#[test]
fn the_library_never_prints_exits_or_reads_environment_and_clock() {
    let forbidden =
        Regex::new(r"\b(e?println!|e?print!|dbg!|process::exit|env::var|SystemTime::now|Instant::now)")
            .unwrap();
    for (path, code) in library() {
        assert_eq!(forbidden.find(&code).map(|found| found.as_str()), None, "{}", path.display());
    }
}

#[test]
fn imports_run_in_one_direction() {
    let layer = |module: &str| LAYERS.iter().position(|modules| modules.contains(&module));
    let one = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    let several = Regex::new(r"\bcrate::\{([^}]*)\}").unwrap();
    for (path, code) in library() {
        let Some(module) = path.iter().next().and_then(|part| part.to_str()) else { continue };
        let Some(here) = layer(module.trim_end_matches(".rs")) else { continue };
        let groups = several.captures_iter(&code).flat_map(|list| {
            let names =
                list[1].split(',').map(|name| name.trim().split("::").next().unwrap_or_default().to_owned());
            names.collect::<Vec<_>>()
        });
        let named = one.captures_iter(&code).map(|name| name[1].to_owned()).chain(groups);
        for import in named.filter(|import| import != module.trim_end_matches(".rs")) {
            let Some(there) = layer(&import) else { continue };
            assert!(there < here, "{}: `{module}` imports `{import}`, which is not below it", path.display());
        }
    }
}

/// An architecture is its own file and one line of `architectures!`: no other code matches on one. `build.rs` and
/// the parity tests name some in what tests alone use.
#[test]
fn architectures_are_distinguished_in_one_file() {
    let variant = Regex::new(r"\bArch::[A-Z]\w+").unwrap();
    let naming = library().into_iter().filter(|(_, code)| variant.is_match(code)).map(|(path, _)| path);
    let expected = ["model/build.rs", "model/parity.rs"].map(PathBuf::from);
    assert_eq!(naming.collect::<std::collections::BTreeSet<_>>(), expected.into());
}
