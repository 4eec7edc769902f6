//! Whose credentials a place is reached with: its own, those of the machine's role, or those of the environment.
//!
//! A place with credentials of its own takes nothing from the environment: keys of one service with the token, region or
//! endpoint of another help nobody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ini::Ini;

use super::super::secret::{Secret, remember, variable};
use super::{Scheme, SourceOptions};

/// Largest file of credentials that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// What a setting of a client is called that is a credential, or a part of one.
const CREDENTIALS: [&str; 8] =
    ["access_key", "account_key", "secret", "token", "sas", "service_account", "client_id", "credential"];

/// Variables by which a machine's role is found.
const ROLE: [&str; 9] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_METADATA_ENDPOINT",
];

/// The settings of a place's client, credentials included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// True where the client also takes what the environment has.
    pub from_environment: bool,
    /// Settings by their names in object_store.
    pub settings: BTreeMap<String, String>,
}

impl SourceOptions {
    /// The settings of the client for a place of this kind, secrets revealed.
    ///
    /// # Errors
    /// One sentence: a variable that is not set, a file that cannot be read, options that exclude one another.
    pub fn client(&self, scheme: Scheme) -> Result<ClientSettings, String> {
        let mut settings = self.profile(scheme)?;
        for (name, value) in &self.extra {
            settings.insert(name.clone(), value.reveal().map_err(|error| format!("{name}: {error}"))?);
        }
        let own =
            self.profile.is_some() || self.credentials_file.is_some() || self.extra.keys().any(|n| is_credential(n));
        if [own, self.instance_role, self.anonymous].into_iter().filter(|is| *is).count() > 1 {
            return Err("keys of its own, instance-role and anonymous exclude one another: give one of them".to_owned());
        }
        if self.instance_role {
            if scheme != Scheme::S3 {
                return Err("instance-role is for buckets of S3".to_owned());
            }
            for name in ROLE {
                settings.extend(variable(name).map(|value| (name.to_ascii_lowercase(), value)));
            }
        }
        Ok(ClientSettings { from_environment: !own && !self.instance_role, settings })
    }

    /// The credentials of a profile.
    fn profile(&self, scheme: Scheme) -> Result<BTreeMap<String, String>, String> {
        let (file, profile) = (self.credentials_file.as_deref(), self.profile.as_deref());
        if file.is_none() && profile.is_none() {
            return Ok(BTreeMap::new());
        }
        match scheme {
            Scheme::Gcs if profile.is_none() => {
                let path = file.map(|path| path.display().to_string()).unwrap_or_default();
                return Ok(BTreeMap::from([("google_service_account".to_owned(), path)]));
            }
            Scheme::S3 | Scheme::Azure => {}
            _ => return Err("profile and credentials-file are for buckets".to_owned()),
        }
        let path = match file {
            Some(path) => path.to_owned(),
            None => shared_file().ok_or("no file of credentials is known: set credentials-file")?,
        };
        read(&path, profile.unwrap_or("default"))
    }

    /// Names of the secrets that stand in these options themselves, and not the place where to find them.
    #[must_use]
    pub fn plain_secrets(&self) -> Vec<&str> {
        let plain = |(name, value): (&'_ String, &Secret)| is_credential(name) && value.is_plain();
        self.extra.iter().filter(|pair| plain(*pair)).map(|(name, _)| name.as_str()).collect()
    }
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|part| name.contains(part))
}

/// The file of profiles that the tools of S3 share.
fn shared_file() -> Option<PathBuf> {
    let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    named.or_else(|| Some(Path::new(&variable("HOME")?).join(".aws/credentials")))
}

fn read(path: &Path, profile: &str) -> Result<BTreeMap<String, String>, String> {
    let place = path.display();
    let unreadable = |error: &dyn std::fmt::Display| format!("the credentials file {place} cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > LARGEST {
        return Err(unreadable(&format!("it has {size} bytes, more than such a file may have")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    // The parser's own words would quote the line.
    let file = Ini::load_from_str_noescape(&text)
        .map_err(|error| unreadable(&format!("line {} is not `key = value`", error.line)))?;
    let section = file.section(Some(profile)).ok_or_else(|| {
        let known: Vec<&str> = file.sections().flatten().collect();
        format!("the credentials file {place} has no profile {profile:?}; it has {}", known.join(", "))
    })?;
    let settings: BTreeMap<String, String> =
        section.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let settings: BTreeMap<String, String> = settings.into_iter().filter(|(name, _)| is_credential(name)).collect();
    settings.values().for_each(|value| remember(value));
    if settings.is_empty() {
        return Err(format!("the profile {profile:?} of {place} has no key"));
    }
    Ok(settings)
}

/// True where others than its owner may read a file.
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> SourceOptions {
        let extra = pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        SourceOptions { extra, ..SourceOptions::default() }
    }

    #[test]
    fn keys_of_its_own_leave_the_environment_out() {
        let client = |options: &SourceOptions| options.client(Scheme::S3);
        assert!(client(&SourceOptions::default()).unwrap().from_environment);
        assert!(client(&options(&[("aws_imdsv1_fallback", "true")])).unwrap().from_environment);
        let own = client(&options(&[("aws_access_key_id", "a"), ("aws_secret_access_key", "b")])).unwrap();
        assert!(!own.from_environment);
        assert_eq!(own.settings["aws_secret_access_key"], "b");
        let error = client(&options(&[("aws_secret_access_key", "${NO_SUCH_VARIABLE_OF_S2ICE}")])).unwrap_err();
        assert_eq!(error, "aws_secret_access_key: the environment variable NO_SUCH_VARIABLE_OF_S2ICE is not set");
        let both = SourceOptions { instance_role: true, ..options(&[("aws_access_key_id", "a")]) };
        assert!(client(&both).unwrap_err().contains("exclude one another"));
        let role = SourceOptions { instance_role: true, ..SourceOptions::default() };
        assert!(!client(&role).unwrap().from_environment);
    }

    #[test]
    fn profiles_are_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(
            &path,
            "[default]\naws_access_key_id = one\naws_secret_access_key = a#b=\\c\n\n[cdse]\nAWS_ACCESS_KEY_ID=two\n\
             aws_secret_access_key=secret-of-two\nregion = eu\n[empty]\nregion = eu\n",
        )
        .unwrap();
        let of = |profile: Option<&str>| SourceOptions {
            credentials_file: Some(path.clone()),
            profile: profile.map(str::to_owned),
            ..SourceOptions::default()
        };
        let first = of(None).client(Scheme::S3).unwrap();
        assert_eq!((first.settings["aws_access_key_id"].as_str(), first.from_environment), ("one", false));
        assert_eq!(first.settings["aws_secret_access_key"], "a#b=\\c");
        let second = of(Some("cdse")).client(Scheme::S3).unwrap().settings;
        let keys: Vec<&str> = second.keys().map(String::as_str).collect();
        assert_eq!(keys, ["aws_access_key_id", "aws_secret_access_key"]);
        let error = of(Some("none")).client(Scheme::S3).unwrap_err();
        assert!(error.contains("no profile \"none\"; it has default, cdse, empty"), "{error}");
        assert!(of(Some("empty")).client(Scheme::S3).unwrap_err().contains("has no key"));
        assert!(of(None).client(Scheme::Https).is_err());
        std::fs::write(&path, "[x\nsecret-line-of-a-file\n").unwrap();
        let error = of(None).client(Scheme::S3).unwrap_err();
        assert!(error.contains("cannot be read") && !error.contains("secret-line"), "{error}");
    }

    #[test]
    fn plain_keys_are_told() {
        let options = options(&[("aws_access_key_id", "AK"), ("aws_secret_access_key", "${S}"), ("timeout", "5 s")]);
        assert_eq!(options.plain_secrets(), ["aws_access_key_id"]);
    }
}
