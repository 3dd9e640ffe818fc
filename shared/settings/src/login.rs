//! `[oidc]`: login of the dashboard by OpenID Connect.

use serde_json::json;

use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Oidc {
    /// Whether it is on.
    pub enable: bool,
    /// Address of the provider.
    pub issuer: String,
    /// Who we are to the provider.
    pub client_id: String,
    /// Proves it.
    pub client_secret: Secret,
    /// Empty, or ends with `/callback/oauth2`.
    pub redirect_url: String,
}

impl Oidc {
    pub(crate) fn resolve(written: &written::Oidc, checks: &mut Checks<'_>) -> Self {
        const PATH: &str = "/callback/oauth2";
        let redirect_url = checks.text("oidc.redirect_url", &written.redirect_url);
        if !redirect_url.is_empty() && !redirect_url.ends_with(PATH) {
            let expected = format!("nothing, or an address that ends with {PATH}");
            checks.problem("oidc.redirect_url", &json!(redirect_url), expected);
        }
        Self {
            enable: checks.flag("oidc.enable", &written.enable),
            issuer: checks.text("oidc.issuer", &written.issuer),
            client_id: checks.text("oidc.client_id", &written.client_id),
            client_secret: checks.secret("oidc.client_secret", &written.client_secret),
            redirect_url,
        }
    }
}
