//! The kernel's version, for features that cannot be found by trying.

use crate::sys::machine;

/// Major and minor number of the running kernel; zeros where it does not say.
pub fn version() -> (u32, u32) {
    machine::kernel_release().map_or((0, 0), |release| parse(&release))
}

/// `6.12.9-cloud-amd64` is 6.12.
fn parse(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_kernels() {
        assert_eq!(parse("6.12.9-cloud-amd64"), (6, 12));
        assert_eq!(parse("6.12-rc3"), (6, 12));
        assert_eq!(parse("5.10+"), (5, 10));
        assert_eq!(parse("7"), (7, 0));
        assert_eq!(parse("next"), (0, 0));
        assert!(version() >= (3, 0));
    }
}
