//! The same learning rate throughout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleSettings, ScheduleStep};

with_warmup! {
    /// The same learning rate throughout, after the warmup.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Constant {
    }
}

impl ScheduleSettings for Constant {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn factor(&self, _: ScheduleStep) -> f64 {
        1.0
    }

    fn is_original(&self) -> bool {
        true
    }
}
