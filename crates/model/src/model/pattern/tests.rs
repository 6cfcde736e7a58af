use regex::Regex;

use super::*;

/// Every pattern that the docs and the schema show means something in some architecture.
#[test]
fn patterns_of_the_docs_match() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut shown: Vec<(String, String)> = Vec::new();
    let list = Regex::new(
        r"(?:freeze|train|match|no_decay|reinit|allow_missing|allow_unexpected|allow_mismatched)`?\s*=\s*\[([^\]]*)\]",
    )
    .unwrap();
    let said = Regex::new("(?s)```text.*?```").unwrap();
    let quoted = Regex::new(r#"'([^']*)'|\\?"([^"\\]*)\\?""#).unwrap();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let texts = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in texts.chain(["README.md", "schemas/pipeline.schema.json"].map(|name| root.join(name))) {
        let text = std::fs::read_to_string(&path).unwrap();
        // What the program says of a mistake shows that mistake.
        let text = said.replace_all(&text, "");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for setting in list.captures_iter(&text) {
            let patterns = quoted.captures_iter(setting.get(1).unwrap().as_str());
            let text = |found: regex::Captures| found.get(1).or(found.get(2)).unwrap().as_str().to_owned();
            shown.extend(patterns.map(|found| (name.clone(), text(found))));
        }
        // The table of who trains.
        let rows = text.split("| pattern | matches |\n").nth(1).unwrap_or_default();
        for row in rows.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let cell = row.split('|').nth(1).unwrap();
            shown
                .extend(cell.split('`').skip(1).step_by(2).map(|pattern| (name.clone(), pattern.to_owned())));
        }
    }
    assert!(shown.len() > 20, "{shown:?}");
    let archs =
        ["resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_lite0", "convnext_tiny", "vit_s_16"];
    let settings = archs.map(|arch| format!("arch = \"{arch}\""));
    let detector = "arch = \"yolo11n\"\nhead = { kind = \"detect\" }".to_owned();
    let build =
        |settings: String| crate::model::Model::build(&toml::from_str(&settings).unwrap(), 3).description;
    let mut descriptions: Vec<Description> = settings.into_iter().chain([detector]).map(build).collect();
    let transformer = || crate::model::Model::build(&toml::from_str("arch = \"vit_s_16\"").unwrap(), 3);
    let adapter = toml::from_str("match = [\"encoder\"]\nrank = 1").unwrap();
    let adapter = transformer().resolve_adapter(&adapter).unwrap();
    descriptions.push(transformer().with_adapters(Some(&adapter)).description);
    for (name, text) in shown {
        let pattern = Pattern::parse(&text).unwrap();
        let matches = |description: &Description| {
            (0..description.tensors.len()).any(|id| description.matches(&pattern, id))
        };
        assert!(descriptions.iter().any(matches), "{name} shows `{text}`, which matches nothing");
    }
}
