//! `[openai]`: a language model service with OpenAI's interface.

use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAi {
    /// Empty: not used.
    pub base_url: String,
    /// Proves who we are.
    pub auth_token: Secret,
    /// The model that writes text.
    pub chat_completion: ChatCompletion,
    /// The model that makes vectors of text.
    pub embedding: Embedding,
    /// Empty: prompts and answers are not written down.
    pub log_file: String,
}

/// The model that writes text.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatCompletion {
    /// Empty: not used.
    pub model: String,
    /// Most requests per minute.
    pub requests_per_minute: Option<u64>,
    /// Most tokens per minute.
    pub tokens_per_minute: Option<u64>,
}

/// The model that makes vectors of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Empty: not used.
    pub model: String,
    /// 0: as many as the model has.
    pub dimensions: u64,
    /// Most requests per minute.
    pub requests_per_minute: Option<u64>,
    /// Most tokens per minute.
    pub tokens_per_minute: Option<u64>,
}

impl OpenAi {
    pub(crate) fn resolve(written: &written::OpenAi, checks: &mut Checks<'_>) -> Self {
        Self {
            base_url: checks.text("openai.base_url", &written.base_url),
            auth_token: checks.secret("openai.auth_token", &written.auth_token),
            chat_completion: ChatCompletion {
                model: checks.text("openai.chat_completion_model", &written.chat_completion_model),
                requests_per_minute: checks.limit("openai.chat_completion_rpm", &written.chat_completion_rpm),
                tokens_per_minute: checks.limit("openai.chat_completion_tpm", &written.chat_completion_tpm),
            },
            embedding: Embedding {
                model: checks.text("openai.embedding_model", &written.embedding_model),
                dimensions: checks.integer(
                    "openai.embedding_dimensions",
                    &written.embedding_dimensions,
                    0..=i64::MAX,
                ),
                requests_per_minute: checks.limit("openai.embedding_rpm", &written.embedding_rpm),
                tokens_per_minute: checks.limit("openai.embedding_tpm", &written.embedding_tpm),
            },
            log_file: checks.text("openai.log_file", &written.log_file),
        }
    }
}
