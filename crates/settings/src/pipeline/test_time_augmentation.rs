//! Test-time augmentation, as written in an evaluate stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unchecked::UncheckedPipeline;

/// Each image is also predicted flipped and turned. The predictions of all its versions become one: probabilities are
/// averaged, and boxes are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestTimeAugmentation {
    /// Mirrors left and right: two versions of each image.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// Mirrors top and bottom: two versions, or four together with `horizontal_flip`.
    #[serde(default)]
    pub vertical_flip: bool,
    /// Turns by 90, 180 and 270 degrees: four versions, or all eight of a square together with a flip.
    #[serde(default)]
    pub quarter_turns: bool,
}

impl TestTimeAugmentation {
    /// Whether there is only the image itself.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Refuses a table without an enabled version, and evaluations that compare embeddings.
pub(super) fn check(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.tta");
    if draft.get(&at).is_none() {
        return;
    }
    if let Some(key) = draft.embedding_comparison(path) {
        let message = format!("`tta` merges predictions, but `{key}` compares embeddings");
        draft.report(draft.key_span(&at), "conflict", message, format!("remove `tta`, or `{key}`"));
    } else if draft.read::<TestTimeAugmentation>(&at).is_some_and(|tta| tta.is_empty()) {
        let message = "`tta` without an enabled version has no effect".to_owned();
        let help = "write `tta = { horizontal_flip = true }`, or remove it".to_owned();
        draft.report(draft.key_span(&at), "no-effect", message, help);
    }
}
