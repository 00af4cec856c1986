//! Which provider a model's name means, and how that is written here.

use super::yaml::Table;
use super::{Notes, secret};

/// One `[providers.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Keys and their values as texts.
    pub(super) fields: Vec<(&'static str, String)>,
}

/// How a prefix is understood.
struct Vendor {
    prefix: &'static str,
    kind: &'static str,
    /// Empty: that of the kind, or none.
    base_url: &'static str,
    /// Where its key is when nothing is said. Empty: it needs none.
    variable: &'static str,
}

const fn vendor(
    prefix: &'static str,
    kind: &'static str,
    base_url: &'static str,
    variable: &'static str,
) -> Vendor {
    Vendor { prefix, kind, base_url, variable }
}

const VENDORS: [Vendor; 21] = [
    vendor("openai", "openai", "", "OPENAI_API_KEY"),
    vendor("azure", "azure", "", "AZURE_API_KEY"),
    vendor("anthropic", "anthropic", "", "ANTHROPIC_API_KEY"),
    vendor("bedrock", "bedrock", "", ""),
    vendor("gemini", "gemini", "", "GEMINI_API_KEY"),
    vendor("ollama", "ollama", "", ""),
    vendor("ollama_chat", "ollama", "", ""),
    vendor("groq", "openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    vendor("mistral", "openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    vendor("deepseek", "openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    vendor("xai", "openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    vendor("openrouter", "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    vendor("together_ai", "openai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    vendor("fireworks_ai", "openai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    vendor("perplexity", "openai", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    vendor("cerebras", "openai", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    vendor("nvidia_nim", "openai", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    vendor("hosted_vllm", "openai", "", ""),
    vendor("lm_studio", "openai", "", ""),
    vendor("llamafile", "openai", "", ""),
    vendor("litellm_proxy", "openai", "", "LITELLM_PROXY_API_KEY"),
];

/// The provider that `params` mean, under a name to be found, and its name for the model.
pub(super) fn understand(
    params: &mut Table,
    notes: &mut Notes,
) -> Result<(Provider, String), String> {
    let Some(model) = params.text("model") else {
        return Err("it names no `model`".to_owned());
    };
    let custom = params.text("custom_llm_provider");
    let api_base = params.text("api_base").or_else(|| params.text("base_url"));
    let (prefix, model) = split(&model, custom.as_deref(), api_base.is_some())?;
    let Some(vendor) = VENDORS.iter().find(|vendor| vendor.prefix == prefix) else {
        return Err(format!("there is no counterpart of the provider `{prefix}`"));
    };
    if model.contains('*') {
        return Err("names with `*` have no counterpart: name each model".to_owned());
    }
    let model = match vendor.kind {
        "bedrock" => model.trim_start_matches("converse/").to_owned(),
        _ => model,
    };
    let mut fields = Vec::new();
    if vendor.kind == "bedrock" {
        bedrock(params, &mut fields, notes);
    } else {
        place(vendor, params, api_base, &mut fields, notes)?;
    }
    Ok((Provider { name: vendor.prefix.to_owned(), kind: vendor.kind, fields }, model))
}

/// The vendor's prefix, and the rest. Without one, well-known names say whose they are.
fn split(
    model: &str,
    custom: Option<&str>,
    is_elsewhere: bool,
) -> Result<(String, String), String> {
    if let Some(custom) = custom {
        let model =
            model.strip_prefix(custom).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
        return Ok((custom.to_owned(), model.to_owned()));
    }
    if let Some((prefix, rest)) = model.split_once('/') {
        return Ok((prefix.to_owned(), rest.to_owned()));
    }
    let known = [
        ("claude", "anthropic"),
        ("gpt-", "openai"),
        ("o1", "openai"),
        ("o3", "openai"),
        ("o4", "openai"),
        ("chatgpt", "openai"),
        ("text-embedding", "openai"),
        ("gemini", "gemini"),
    ];
    match known.iter().find(|(begin, _)| model.starts_with(begin)) {
        Some((_, vendor)) => Ok(((*vendor).to_owned(), model.to_owned())),
        None if is_elsewhere => Ok(("openai".to_owned(), model.to_owned())),
        None => Err(format!("`{model}` does not say whose model it is")),
    }
}

fn place(
    vendor: &Vendor,
    params: &mut Table,
    api_base: Option<String>,
    fields: &mut Vec<(&'static str, String)>,
    notes: &mut Notes,
) -> Result<(), String> {
    let path = params.path().to_owned();
    let is_elsewhere = api_base.is_some();
    match api_base {
        Some(named) if named.starts_with("os.environ/") => {
            let variable = named.trim_start_matches("os.environ/");
            return Err(format!(
                "an address is written out here, not named: put what {variable} says into `base_url`"
            ));
        }
        Some(written) => fields.push(("base_url", written.trim_end_matches('/').to_owned())),
        None if !vendor.base_url.is_empty() => {
            fields.push(("base_url", vendor.base_url.to_owned()));
        }
        None if vendor.kind == "azure"
            || (vendor.kind == "openai" && vendor.variable.is_empty()) =>
        {
            return Err("it has no `api_base`, and so no address".to_owned());
        }
        None => {}
    }
    match params.text("api_key").filter(|key| !matches!(key.as_str(), "None" | "none" | "")) {
        Some(key) => {
            let variable = if vendor.variable.is_empty() { "LLM_API_KEY" } else { vendor.variable };
            fields.push(("api_key", secret(&key, variable, &format!("{path}.api_key"), notes)));
        }
        // A server of one's own may know no keys.
        None if is_elsewhere && vendor.kind != "azure" => {}
        None if vendor.variable.is_empty() => {}
        None => fields.push(("api_key", format!("env:{}", vendor.variable))),
    }
    if let Some(version) = params.text("api_version") {
        match vendor.kind {
            "azure" => fields.push(("api_version", version)),
            _ => notes.push(format!("{path}.api_version"), "only Azure has versions"),
        }
    }
    Ok(())
}

fn bedrock(params: &mut Table, fields: &mut Vec<(&'static str, String)>, notes: &mut Notes) {
    let path = params.path().to_owned();
    let region = params.text("aws_region_name").filter(|region| !region.starts_with("os.environ/"));
    let region = region.unwrap_or_else(|| {
        notes.push(
            format!("{path}.aws_region_name"),
            "a region is written out here: us-east-1 was assumed",
        );
        "us-east-1".to_owned()
    });
    fields.push(("region", region));
    if let Some(url) = params.text("aws_bedrock_runtime_endpoint") {
        fields.push(("base_url", url.trim_end_matches('/').to_owned()));
    }
    if let Some(key) = params.text("api_key") {
        let key = secret(&key, "AWS_BEARER_TOKEN_BEDROCK", &format!("{path}.api_key"), notes);
        fields.push(("api_key", key));
        return;
    }
    let mut named = |key: &str, variable: &str, notes: &mut Notes| {
        let written = params.text(key).unwrap_or_else(|| format!("os.environ/{variable}"));
        secret(&written, variable, &format!("{path}.{key}"), notes)
    };
    fields.push(("access_key_id", named("aws_access_key_id", "AWS_ACCESS_KEY_ID", notes)));
    let secret_key = named("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", notes);
    fields.push(("secret_access_key", secret_key));
    if let Some(token) = params.text("aws_session_token") {
        let token =
            secret(&token, "AWS_SESSION_TOKEN", &format!("{path}.aws_session_token"), notes);
        fields.push(("session_token", token));
    }
}
