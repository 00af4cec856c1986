//! Where each kind of request goes.

use agentry_core::model::ModelError;
use http::Uri;

use crate::drive;
use crate::drive::Misconfigured;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Responses,
    Embeddings,
}

#[derive(Debug)]
pub(super) enum Urls {
    /// The model is named in the body.
    Fixed(Box<Fixed>),
    /// The model is a deployment, and named in the path.
    Deployments { base_url: String, api_version: String },
}

#[derive(Debug)]
pub(super) struct Fixed {
    chat: Uri,
    responses: Uri,
    embeddings: Uri,
}

impl Urls {
    pub(super) fn fixed(base_url: &str) -> Result<Self, Misconfigured> {
        Ok(Self::Fixed(Box::new(Fixed {
            chat: drive::url(base_url, "/chat/completions")?,
            responses: drive::url(base_url, "/responses")?,
            embeddings: drive::url(base_url, "/embeddings")?,
        })))
    }

    pub(super) fn deployments(base_url: &str, api_version: &str) -> Result<Self, Misconfigured> {
        let (base_url, api_version) = (base_url.to_owned(), api_version.to_owned());
        let urls = Self::Deployments { base_url, api_version };
        urls.build(Endpoint::Chat, "m")?;
        Ok(urls)
    }

    pub(super) fn of(&self, endpoint: Endpoint, model: &str) -> Result<Uri, ModelError> {
        self.build(endpoint, model).map_err(|error| {
            let message = format!("its name does not fit into a path: {error}");
            ModelError::UnknownModel { model: model.to_owned(), message }
        })
    }

    fn build(&self, endpoint: Endpoint, model: &str) -> Result<Uri, Misconfigured> {
        match (self, endpoint) {
            (Self::Fixed(urls), Endpoint::Chat) => Ok(urls.chat.clone()),
            (Self::Fixed(urls), Endpoint::Responses) => Ok(urls.responses.clone()),
            (Self::Fixed(urls), Endpoint::Embeddings) => Ok(urls.embeddings.clone()),
            (Self::Deployments { base_url, api_version }, _) => {
                let path = match endpoint {
                    Endpoint::Chat => format!("/openai/deployments/{model}/chat/completions"),
                    Endpoint::Responses => "/openai/responses".to_owned(),
                    Endpoint::Embeddings => format!("/openai/deployments/{model}/embeddings"),
                };
                drive::url(base_url, &format!("{path}?api-version={api_version}"))
            }
        }
    }
}
