//! `[blob]`: where fitted models are kept.

use serde_json::json;

use crate::given::Given;
use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    /// None: a directory in the data directory, see [`crate::Settings::blob_uri`].
    pub uri: Option<String>,
    /// For `s3://`.
    pub s3: S3,
    /// For `gs://`.
    pub gcs: Gcs,
    /// For `az://`.
    pub azure: Azure,
}

/// `[blob.s3]`
#[derive(Clone, Debug, PartialEq)]
pub struct S3 {
    /// Address of the service.
    pub endpoint: String,
    /// Who we are.
    pub access_key_id: String,
    /// Proves it.
    pub secret_access_key: Secret,
}

/// `[blob.gcs]`
#[derive(Clone, Debug, PartialEq)]
pub struct Gcs {
    /// A file of the machine.
    pub credentials_file: String,
}

/// `[blob.azure]`
#[derive(Clone, Debug, PartialEq)]
pub struct Azure {
    /// Address of the service.
    pub endpoint: String,
    /// Who we are.
    pub account_name: String,
    /// Proves it.
    pub account_key: Secret,
    /// Wins over name and key.
    pub connection_string: Secret,
}

impl Blob {
    pub(crate) fn resolve(written: &written::Blob, checks: &mut Checks<'_>) -> Self {
        Self {
            uri: uri(&written.uri, checks),
            s3: S3 {
                endpoint: checks.text("blob.s3.endpoint", &written.s3.endpoint),
                access_key_id: checks.text("blob.s3.access_key_id", &written.s3.access_key_id),
                secret_access_key: checks.secret("blob.s3.secret_access_key", &written.s3.secret_access_key),
            },
            gcs: Gcs {
                credentials_file: checks.text("blob.gcs.credentials_file", &written.gcs.credentials_file),
            },
            azure: Azure {
                endpoint: checks.text("blob.azure.endpoint", &written.azure.endpoint),
                account_name: checks.text("blob.azure.account_name", &written.azure.account_name),
                account_key: checks.secret("blob.azure.account_key", &written.azure.account_key),
                connection_string: checks
                    .secret("blob.azure.connection_string", &written.azure.connection_string),
            },
        }
    }
}

fn uri(given: &Given<String>, checks: &mut Checks<'_>) -> Option<String> {
    let uri = checks.optional("blob.uri", given)?;
    let known = uri.split_once("://").is_none_or(|(scheme, _)| ["s3", "gs", "az"].contains(&scheme));
    if uri.is_empty() || !known {
        let expected = "a path, or an address that begins with one of s3:// gs:// az://";
        checks.problem("blob.uri", &json!(uri), expected);
    }
    Some(uri)
}
