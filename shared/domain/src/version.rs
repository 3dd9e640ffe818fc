//! The place of the command that made a value.

use serde::{Deserialize, Serialize};

/// Orders the states that a value went through: the greater one is newer, whatever the order in which they are heard
/// of. A value that no log brought, such as an imported one, has the version zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The epoch of the log; no two logs of a deployment share one.
    pub epoch: u64,
    /// The position within the log.
    pub position: u64,
}

impl Version {
    /// The version of values that no log brought.
    pub const ZERO: Self = Self { epoch: 0, position: 0 };

    /// The version of a command at `position` of a log in `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, position: u64) -> Self {
        Self { epoch, position }
    }

    /// A version older than this one and not older than any other that is; zero stays zero.
    #[must_use]
    pub const fn before(self) -> Self {
        match self.position.checked_sub(1) {
            Some(position) => Self { epoch: self.epoch, position },
            None => Self {
                epoch: self.epoch.saturating_sub(1),
                position: if self.epoch == 0 { 0 } else { u64::MAX },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_epoch_is_newer_whatever_the_position() {
        assert!(Version::new(2, 1) > Version::new(1, 100));
        assert!(Version::new(2, 2) > Version::new(2, 1));
        assert!(Version::ZERO < Version::new(0, 1));
    }

    #[test]
    fn nothing_lies_between_a_version_and_the_one_before() {
        assert_eq!(Version::new(2, 7).before(), Version::new(2, 6));
        assert_eq!(Version::new(2, 0).before(), Version::new(1, u64::MAX));
        assert_eq!(Version::ZERO.before(), Version::ZERO);
    }
}
