//! `defrost doctor`, `defrost completions` and `defrost man`.

use assert_cmd::Command;
use serde_json::Value;

fn defrost(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("defrost").unwrap().args(args).output().unwrap()
}

#[test]
fn doctor_tells_the_profile_and_what_the_store_takes() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join(".store/key/x86-v3");
    std::fs::create_dir_all(&object).unwrap();
    std::fs::write(object.join("last.safetensors"), [0; 1000]).unwrap();
    let output = defrost(&["doctor", "--json", "--runs-dir", folder.path().to_str().unwrap()]);
    assert!(output.status.success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert!(["x86-v4", "x86-v3", "scalar"].contains(&document["profile"].as_str().unwrap()));
    assert_eq!(document["runs"]["store_bytes"], 1000);
    assert_eq!(document["runs"]["feature_bytes"], 0);
    assert_eq!(document["runs"]["count"], 0);
    assert_eq!(document["cuda"]["built"], cfg!(feature = "cuda"));
}

#[test]
fn completions_know_the_commands_and_are_no_json() {
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(defrost(&["completions", shell]).stdout).unwrap();
        assert!(script.contains("validate"), "{shell}");
    }
    let refused = defrost(&["completions", "bash", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(document["error"]["message"].as_str().unwrap().contains("not JSON"));
}

/// One page for each command, with its options, its example and no clock.
#[test]
fn man_pages_say_what_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let written = defrost(&["man", pages.to_str().unwrap(), "--json"]);
    assert!(written.status.success());
    let document: Value = serde_json::from_slice(&written.stdout).unwrap();
    let help = String::from_utf8(defrost(&["--help"]).stdout).unwrap();
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<&str> =
        commands.into_iter().filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(commands.contains(&"run") && commands.contains(&"man"), "{commands:?}");
    assert_eq!(document["files"].as_array().unwrap().len(), commands.len() + 1);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    for command in &commands {
        let page = page(&format!("defrost-{command}.1"));
        assert!(page.contains(&format!(".TH defrost-{command} 1")), "{page}");
    }
    assert!(page("defrost.1").contains("defrost\\-run(1)"));
    let run = page("defrost-run.1");
    assert!(run.contains("\\-\\-from") && run.contains("\\-\\-json") && run.contains("Example"), "{run}");
    let again = folder.path().join("again");
    defrost(&["man", again.to_str().unwrap()]);
    for file in std::fs::read_dir(&again).unwrap().map(|entry| entry.unwrap()) {
        assert_eq!(std::fs::read(file.path()).unwrap(), std::fs::read(pages.join(file.file_name())).unwrap());
    }
}
