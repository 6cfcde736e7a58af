//! The warmup that most schedules may begin with.

/// A rise of the learning rate over the first steps of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Warmup {
    /// How long it takes; 0 where there is none.
    pub epochs: f64,
    /// The share of the learning rate that it begins above.
    pub start: f64,
}

impl Warmup {
    /// Whether something that comes so many epochs after the warmup comes after the stage.
    pub fn outlasts(self, duration: u32, epochs: u32) -> bool {
        self.epochs + f64::from(duration) >= f64::from(epochs)
    }
}

/// Adds the settings of a warmup to those of a schedule.
macro_rules! with_warmup {
    ($(#[$about:meta])* pub struct $name:ident { $($settings:tt)* }) => {
        $(#[$about])*
        pub struct $name {
            $($settings)*
            /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
            #[serde(default)]
            #[schemars(range(min = 0))]
            pub warmup_epochs: f64,
            /// Where the warmup starts, as a fraction of the full learning rate.
            #[serde(default, skip_serializing_if = "crate::pipeline::schedule::warmup::is_zero")]
            #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
            pub warmup_start: f64,
        }

        impl $name {
            fn own_warmup(&self) -> $crate::pipeline::schedule::warmup::Warmup {
                $crate::pipeline::schedule::warmup::Warmup {
                    epochs: self.warmup_epochs,
                    start: self.warmup_start,
                }
            }
        }
    };
}

pub(super) use with_warmup;

/// Whether recipes, which are older than the setting, leave it out.
pub fn is_zero(number: &f64) -> bool {
    *number == 0.0
}
