//! `variant` of a model: weights of networks that share their tensors, and differ in padding and eps.

use std::fs;

use serde_json::Value;

use crate::project::{Project, document};

/// Random weights of a network in a file under timm's names, and a pipeline that evaluates them.
fn project(arch: &str, variant: &str) -> Project {
    let project = Project::new();
    let text = project.text();
    let (head, _) = text.split_once("[stage.frozen]").unwrap();
    let head = head.replace("efficientnet_lite0", arch).replace(", dropout = 0.2", "");
    let head = head.replace("\nhead = {", &format!("\n{variant}\nhead = {{"));
    project.write(&format!("{head}[stage.test]\nkind = \"evaluate\"\nfrom = \"start\"\n"));
    project
}

#[test]
fn variants_compute_differently_and_are_exported_under_their_names() {
    for (arch, variant, network) in [
        ("efficientnet_b0", "tensorflow", "tf_efficientnet_b0"),
        ("mobilenet_v3_small", "timm", "mobilenetv3_small_100"),
        ("mobilenet_v3_small", "tensorflow", "tf_mobilenetv3_small_100"),
    ] {
        let usual = project(arch, "");
        let other = project(arch, &format!("variant = \"{variant}\""));
        let (a, b) = (usual.run(&[]), other.run(&[]));
        let loss = |metrics: &Value| metrics["loss"].as_f64().unwrap();
        assert_ne!(loss(a.metrics("test")), loss(b.metrics("test")), "{arch} {variant}");
        // It is part of the recipe.
        let recipe = |project: &Project| project.plan(&[])["stages"][1]["recipe"].clone();
        assert_ne!(recipe(&usual), recipe(&other));

        // The same weights from a file: loaded, trained and exported for timm.
        let read = "[stage.read]\nkind = \"load_weights\"\nfile = \"timm/model.safetensors\"\n\n[stage.fit]\nkind = \
                    \"train\"\nfrom = \"read\"\ntrain = [\"@head\"]\nepochs = 1\noptimizer = { kind = \"sgd\", lr = 1e-9 }\n";
        let train =
            read.replace("[stage.read]\nkind = \"load_weights\"\nfile = \"timm/model.safetensors\"\n\n", "");
        other.write(&format!("{}\n{}", other.text(), train.replace("\"read\"", "\"start\"")));
        other.run(&[]);
        let arguments = ["export", "colours", "--format", "timm", "--out", "timm"];
        let output = other.defrost(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config = fs::read_to_string(other.path().join("timm/config.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["architecture"], network);
        let text = other.text();
        let (head, _) = text.split_once("[stage.start]").unwrap();
        other.write(&format!("{head}{read}\n[stage.again]\nkind = \"evaluate\"\nfrom = \"read\"\n"));
        let again = other.run(&[]);
        assert!((loss(again.metrics("again")) - loss(b.metrics("test"))).abs() < 1e-4, "{arch} {variant}");

        // As torchvision's network, they would be another.
        other.edit(&format!("variant = \"{variant}\""), "");
        let output = other.defrost(&["validate", "colours.toml"]);
        let said = String::from_utf8(output.stderr).unwrap();
        match arch {
            "mobilenet_v3_small" => {
                assert!(said.contains("timm's network is another than torchvision's"), "{said}");
                assert!(said.contains("set `variant = \"timm\"` or `variant = \"tensorflow\"`"), "{said}");
            }
            _ => assert!(output.status.success(), "no name says which: {said}"),
        }
    }
}

#[test]
fn names_of_weights_say_which_variant_they_need() {
    let project = project("efficientnet_b0", "");
    let start = "[stage.start]\nkind = \"init_weights\"\n";
    let named = |file: &str| {
        let text = project.text();
        project.edit(
            start,
            &format!("[stage.start]\nkind = \"load_weights\"\nfile = \"{file}\"\nreinit = [\"@head\"]\n"),
        );
        let output = project.defrost(&["validate", "colours.toml"]);
        project.write(&text);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = named("hf://timm/tf_efficientnet_b0.ns_jft_in1k");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("set `variant = \"tensorflow\"` in the model") && said.contains("other-network"),
        "{said}"
    );
    assert_eq!(named("hf://timm/efficientnet_b0.ra_in1k").0, Some(0));
    project.edit("efficientnet_b0", "efficientnet_lite0");
    assert_eq!(named("hf://timm/tf_efficientnet_lite0.in1k").0, Some(0));
    let (code, said) = named("hf://timm/efficientnet_lite0.ra_in1k");
    assert!(code == Some(2) && said.contains("use the weights of timm's `tf_efficientnet_lite0`"), "{said}");
}

#[test]
fn init_and_the_list_of_weights_name_the_variant() {
    let project = Project::new();
    for (weights, arch, variant) in [
        ("hf://timm/tf_efficientnet_b0.ns_jft_in1k", "efficientnet_b0", "tensorflow"),
        ("hf://timm/mobilenetv3_large_100.ra_in1k", "mobilenet_v3_large", "timm"),
        ("hf://timm/tf_efficientnetv2_s.in21k_ft_in1k", "efficientnet_v2_s", "tensorflow"),
    ] {
        let folder = format!("new-{arch}");
        let output = project.defrost(&["init", &folder, "--data", "photos", "--weights", weights]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let written = fs::read_dir(project.path().join(&folder)).unwrap().flatten();
        let file = written
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "toml"))
            .unwrap();
        let text = fs::read_to_string(file).unwrap();
        let setting = |key: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(key));
            line.and_then(|line| line.split('"').nth(1)).unwrap_or_default().to_owned()
        };
        assert_eq!((setting("arch"), setting("variant")), (arch.to_owned(), variant.to_owned()), "{text}");
    }
    let listed = document(&project.defrost(&["weights", "--arch", "mobilenet_v3_large", "--json"]));
    let variants: Vec<&str> =
        listed["weights"].as_array().unwrap().iter().filter_map(|known| known["variant"].as_str()).collect();
    assert_eq!(variants, ["timm", "timm", "timm", "timm", "tensorflow"]);
}
