//! `defrost doctor` and `defrost completions`.

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
