//! Platforms, with the rules of containerd's package `platforms`.

use crate::content::Platform;

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?} is not OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64")]
pub struct ParsePlatformError(String);

impl crate::error::Classify for ParsePlatformError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

/// The platform that `os/arch[/variant]` names, normalised.
///
/// # Errors
///
/// [`ParsePlatformError`] for anything of another form.
pub fn parse_platform(text: &str) -> Result<Platform, ParsePlatformError> {
    let bad = || ParsePlatformError(text.to_owned());
    let parts: Vec<&str> = text.split('/').collect();
    let word = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if !parts.iter().all(|part| word(part)) {
        return Err(bad());
    }
    match parts[..] {
        [os, arch] => Ok(normalize(&platform(os, arch, None))),
        [os, arch, variant] => Ok(normalize(&platform(os, arch, Some(variant)))),
        _ => Err(bad()),
    }
}

/// The platform of this machine.
pub fn host_platform() -> Platform {
    let arch = match std::env::consts::ARCH {
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        same => same,
    };
    normalize(&platform("linux", arch, None))
}

fn platform(os: &str, arch: &str, variant: Option<&str>) -> Platform {
    Platform {
        architecture: arch.to_owned(),
        os: os.to_owned(),
        variant: variant.map(str::to_owned),
        os_version: None,
        os_features: Vec::new(),
    }
}

/// The one spelling among several of the same platform.
pub fn normalize(p: &Platform) -> Platform {
    let os = match p.os.to_lowercase().as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let arch = p.architecture.to_lowercase();
    let variant = p.variant.as_deref().unwrap_or_default().to_lowercase();
    let (arch, variant) = match (arch.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        same => same,
    };
    Platform {
        architecture: arch.to_owned(),
        os,
        variant: (!variant.is_empty()).then(|| variant.to_owned()),
        os_version: p.os_version.clone(),
        os_features: p.os_features.clone(),
    }
}

/// The platforms that a machine can run, best first (containerd's `platforms.Only`).
#[derive(Debug, Clone)]
pub struct Matcher(Vec<Platform>);

impl Matcher {
    /// What a machine of `platform` can run: older variants of its processor too, and the 32-bit
    /// processor that it includes.
    pub fn new(platform: &Platform) -> Self {
        let first = normalize(platform);
        let mut list = vec![first.clone()];
        let mut add = |arch: &str, variant: String| {
            list.push(Platform {
                architecture: arch.to_owned(),
                variant: Some(variant).filter(|v| !v.is_empty()),
                ..first.clone()
            });
        };
        let variant = first.variant.as_deref().unwrap_or_default();
        match first.architecture.as_str() {
            "amd64" => {
                older(version(variant, 1).0, 1).for_each(|v| add("amd64", v));
                add("386", String::new());
            }
            "arm" => older(version(variant, 0).0, 5).for_each(|v| add("arm", v)),
            "arm64" => {
                arm64_older(variant).into_iter().for_each(|v| add("arm64", v));
                add("arm", "v8".to_owned());
                older(8, 5).for_each(|v| add("arm", v));
            }
            _ => {}
        }
        Self(list.iter().map(normalize).collect())
    }

    /// What this machine can run.
    pub fn host() -> Self {
        Self::new(&host_platform())
    }

    /// The platform that was asked for.
    pub fn wanted(&self) -> &Platform {
        &self.0[0]
    }

    /// How good `platform` is, 0 being best; `None` where it does not run.
    pub fn rank(&self, platform: &Platform) -> Option<usize> {
        let offered = normalize(platform);
        self.0.iter().position(|p| {
            p.os == offered.os
                && p.architecture == offered.architecture
                && p.variant == offered.variant
                && offered.os_features.iter().all(|f| p.os_features.contains(f))
        })
    }
}

/// The number and the part after the dot in `v8.2`; `default` where there is no number.
fn version(variant: &str, default: u32) -> (u32, u32) {
    let (major, minor) =
        variant.strip_prefix('v').and_then(|v| v.split_once('.')).unwrap_or((variant, "0"));
    // A hostile descriptor is not to make long lists.
    let number =
        |s: &str, default| s.trim_start_matches('v').parse::<u32>().unwrap_or(default).min(99);
    (number(major, default), number(minor, 0))
}

/// The variants below `version`, newest first, down to `oldest`.
fn older(version: u32, oldest: u32) -> impl Iterator<Item = String> {
    (oldest..version).rev().map(|v| format!("v{v}"))
}

/// The variants of arm64 that one of `variant` includes. v9.0 came of v8.5, so v9.n includes
/// v8.(n+5).
fn arm64_older(variant: &str) -> Vec<String> {
    let (major, minor) = version(variant, 8);
    let below = |major: u32, end: u32| {
        let name = move |minor| match minor {
            0 => format!("v{major}"),
            minor => format!("v{major}.{minor}"),
        };
        (0..end).rev().map(name)
    };
    match major {
        8 => below(8, minor).collect(),
        9 => below(9, minor).chain(below(8, minor + 6)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Platform {
        parse_platform(text).unwrap()
    }

    fn ranked(host: &str, offers: &[&str]) -> Vec<Option<usize>> {
        let matcher = Matcher::new(&p(host));
        offers.iter().map(|o| matcher.rank(&p(o))).collect()
    }

    #[test]
    fn spellings_are_normalised() {
        for (text, arch, variant) in [
            ("linux/x86_64", "amd64", None),
            ("Linux/AMD64/v1", "amd64", None),
            ("linux/amd64/v3", "amd64", Some("v3")),
            ("linux/aarch64", "arm64", None),
            ("linux/arm64/v8", "arm64", None),
            ("linux/arm64/v9", "arm64", Some("v9")),
            ("linux/arm", "arm", Some("v7")),
            ("linux/armhf", "arm", Some("v7")),
            ("linux/armel", "arm", Some("v6")),
            ("linux/arm/6", "arm", Some("v6")),
            ("linux/i386", "386", None),
        ] {
            let got = p(text);
            assert_eq!((got.architecture.as_str(), got.variant.as_deref()), (arch, variant));
            assert_eq!(got.os, "linux");
        }
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "*/x"] {
            assert!(parse_platform(text).is_err(), "{text}");
        }
    }

    #[test]
    fn newer_processors_run_what_is_for_older_ones_but_rather_their_own() {
        assert_eq!(
            ranked("linux/amd64", &["linux/amd64", "linux/amd64/v2", "linux/386", "linux/arm64"]),
            [Some(0), None, Some(1), None]
        );
        assert_eq!(
            ranked("linux/amd64/v3", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!(
            ranked(
                "linux/arm/v7",
                &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm/v8"]
            ),
            [Some(0), Some(1), Some(2), None]
        );
        assert_eq!(
            ranked(
                "linux/arm64",
                &["linux/arm64/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm64/v9"]
            ),
            [Some(0), Some(1), Some(2), None]
        );
        let v92 = ["linux/arm64/v9.2", "linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.7"];
        assert_eq!(ranked("linux/arm64/v9.2", &v92), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(ranked("linux/arm64/v9.2", &["linux/arm64/v8.8"]), [None]);
    }

    #[test]
    fn another_system_or_an_unknown_feature_does_not_match() {
        assert_eq!(ranked("linux/amd64", &["windows/amd64", "unknown/unknown"]), [None, None]);
        let mut offer = p("linux/amd64");
        offer.os_features.push("erofs".into());
        assert_eq!(Matcher::new(&p("linux/amd64")).rank(&offer), None);
    }

    #[test]
    fn this_machine_matches_itself() {
        assert_eq!(Matcher::host().rank(&host_platform()), Some(0));
    }
}
